"""Writes anew what the tests expect of the sample's numbers and of the registry's fingerprints.

    python tests/write_expected.py

Only for a change that is meant to move them: the diff shows which moved, and the commit says why. A number that moves
is no longer that of an earlier version, and a fingerprint that moves takes every vector that people have stored for it.
"""

import csv
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from Safety_Challenging.evaluate import TASK as CHALLENGING
from Safety_Contrast.evaluate import TASK as CONTRAST
from Safety_Detection.evaluate import TASK as DETECTION
from Safety_Taxonomy.evaluate import TASK as TAXONOMY
from utils import hub
from utils.encoders import registry
from utils.evaluation.run import evaluate
from utils.results.result_file import read_result
from utils.schema import CONTROLS

TESTS = Path(__file__).resolve().parent
ROUNDING = 1e-6


def write_numbers(path: Path) -> None:
    """Writes every metric of MiniLM and the controls on the sample, with its interval, as CSV.

    A number that differs from the one written by less than rounding does, on another machine, stays as it is.
    """
    with path.open(newline="") as stream:
        heading, *rows = csv.reader(stream)
    written = {tuple(row[:4]): row[4:] for row in rows}
    names, rows = ("all-minilm-l6-v2", *CONTROLS), []
    with tempfile.TemporaryDirectory() as folder:
        for task in (CHALLENGING, CONTRAST, TAXONOMY, DETECTION):
            flags = ["--data", "sample", "--quiet", "--bootstrap", "1000", "--no-cache", "--out", folder]
            if evaluate(task, [*flags, "--model", names[0]]):
                sys.exit(1)
            for name in names:
                result = Path(folder) / "sample" / task.name / f"{name}.json"
                for m in read_result(result).metrics if result.is_file() else ():
                    key = (task.name, name, m.name, m.group)
                    numbers = ["" if number is None else f"{number:.9f}" for number in (m.value, m.low, m.high)]
                    old = written.get(key, [None] * 3)
                    rows.append([*key, *map(settled, old, numbers)])
    with path.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([heading, *rows])


def settled(old: str | None, new: str) -> str:
    """The old number if the new one is the same but for rounding, else the new one."""
    return old if old and new and abs(float(old) - float(new)) < ROUNDING else new


def write_fingerprints(path: Path) -> None:
    """Writes the fingerprint of every encoder of the registry, each at the commit that the registry expects."""
    hub.commit = lambda repository, revision, expected="": revision if len(revision) == 40 else expected.ljust(40, "0")
    fingerprints = {name: registry.resolve(name).fingerprint for name in registry.known_encoders()}
    path.write_text(json.dumps(fingerprints, indent=1) + "\n")


if __name__ == "__main__":
    for variable in ("MODEL", "DATA", "TOP_K", "THRESHOLD", "BASELINE"):
        os.environ.pop(variable, None)
    write_fingerprints(TESTS / "encoders" / "fingerprints.json")
    write_numbers(TESTS / "evaluation" / "golden_sample.csv")
