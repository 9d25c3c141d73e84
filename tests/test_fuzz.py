"""Broken files through every command: a result or one line that says what is wrong, and nothing left behind."""

import json
import random

import numpy as np
import pytest
from doubles import StandIn

from Safety_Challenging.evaluate import TASK as CHALLENGING
from Safety_Contrast import build_data
from Safety_Contrast.evaluate import TASK as CONTRAST
from Safety_Detection import fit, score
from Safety_Detection.sets import labelled_sets
from Safety_Taxonomy.evaluate import TASK as TAXONOMY
from utils.embed import __main__ as embed_main
from utils.encoders import loading
from utils.evaluation.run import evaluate

SEED = 0
LONGEST_LINE = 600
PROMPT = "zebra"  # in every prompt, in no error
WORDS = ["stone", "river", "bread", "wheel", "garden", "letter", "window", "market", "ferry", "island", "lamp", "paper"]
EDITS = [f"prompt_#{j}" for j in range(1, 6)]
GROUPS = ["type", "types_of_harm", "category"]
TEXTS = ["prompt", "question", "unsafe_prompt", "safe_prompt", "original_prompt", *EDITS]


def cells_of(i):
    """Row i of a file that every command takes, from column to cell."""
    texts = {c: f"how {PROMPT} {c[-3:]} {' '.join(WORDS[(i + j) % 12] for j in range(4))}" for c in TEXTS}
    groups = dict.fromkeys(GROUPS, "first" if i % 2 else "second")
    answer = json.dumps({column: texts[column] for column in EDITS})
    return {"id": str(i), "label": str(i // 2 % 2), **groups, **texts, "contrasts": answer}


def table(form):
    """The cells as they are written in a file of that form, row by row; a CSV file's heading first."""
    rows = [cells_of(i) for i in range(14)]
    if form == "jsonl":
        return [{column: json.dumps(cell) for column, cell in row.items()} for row in rows]
    quoted = [{column: '"{}"'.format(cell.replace('"', '""')) for column, cell in row.items()} for row in rows]
    return [dict(zip(rows[0], rows[0], strict=True)), *quoted]


def written(form, rows):
    if form == "csv":
        return "\n".join(",".join(row.values()) for row in rows).encode() + b"\n"
    lines = ("{" + ", ".join(f'"{column}": {cell}' for column, cell in row.items()) + "}" for row in rows)
    return "\n".join(lines).encode() + b"\n"


# The columns that get a fault together: no command reads them all.
PLACES = {"ids": ["id"], "texts": [*TEXTS, "contrasts"], "groups": [*GROUPS, "label"]}
# What a cell may hold, as it is written.
CELLS = {
    "nested": "[" * 100_000 + "]" * 100_000,
    "nested in a text": '"' + "[" * 100_000 + '"',
    "null": "null",
    "fraction": "-0.5",
    "long number": "9" * 5000,
    "infinite": "1e999",
    "true": "true",
    "list": '["a", 1]',
    "half a character": r'"a \ud800 b"',
    "NUL escaped": r'"a \u0000 b"',
    "line separator": '"a \u2028 b\u0085 c"',
    "no text": '""',
    "open quote": '"never closed',
    "comma": "one, two",
    "two lines": '"one\ntwo"',
    "long": '"' + "word " * 30_000 + '"',  # longer than Python's reader of CSV takes by itself
}
OF_CSV = ("no text", "open quote", "comma", "two lines", "long", "long number")


def inserted(what):
    """A fault that puts bytes somewhere into the file."""

    def change(content, draw):
        at = draw.randrange(len(content))
        return content[:at] + what + content[at:]

    return change


def at_a_line(change):
    """A fault that `change` makes of one line but the first."""

    def changed(content, draw):
        lines = content.split(b"\n")
        at = draw.randrange(1, len(lines) - 1)
        return b"\n".join([*lines[:at], *change(lines[at]), *lines[at + 1 :]])

    return changed


BYTES = {
    "cut off": lambda content, draw: content[: draw.randrange(len(content))],
    "empty": lambda content, draw: b"",
    "first line only": lambda content, draw: content[: content.index(b"\n") + 1],
    "NUL": inserted(b"\0"),
    "not UTF-8": inserted(b"\xff"),
    "surrogate in bytes": inserted(b"\xed\xa0\x80"),
    "byte order mark": lambda content, draw: b"\xef\xbb\xbf" + content,
    "UTF-16": lambda content, draw: content.decode().encode("utf-16"),
    "CRLF": lambda content, draw: content.replace(b"\n", b"\r\n"),
    "CR": lambda content, draw: content.replace(b"\n", b"\r"),
    "blank lines": lambda content, draw: b"\n\n" + content.replace(b"\n", b"\n\n"),
    "extra cells": at_a_line(lambda line: [line + b",more,and more"]),
    "ids again": at_a_line(lambda line: [line, line]),
    "a line of nothing but brackets": at_a_line(lambda line: [line, b"[" * 100_000]),
    "noise": lambda content, draw: draw.randbytes(3000),
}
FAULTS = [
    *(("jsonl", name, place) for name in CELLS for place in PLACES),
    *(("csv", name, place) for name in OF_CSV for place in PLACES),
    *((("csv", "jsonl")[i % 2], name, "anywhere") for i, name in enumerate(BYTES)),
]


def broken(form, name, place):
    draw, rows = random.Random(f"{SEED} {form} {name} {place}"), table(form)
    if name in BYTES:
        return BYTES[name](written(form, rows), draw)
    draw.choice(rows[form == "csv" :]).update(dict.fromkeys(PLACES[place], CELLS[name]))
    return written(form, rows)


def faults_of(command, path, out, capsys):
    """What is wrong with how a command ends that reads `path` and may write into the folder `out`; [] if nothing is."""
    before = path.read_bytes()
    beside = {*path.parent.rglob("*")}
    found, status = [], None
    capsys.readouterr()
    try:
        status = command(path, out)
    except (Exception, SystemExit) as error:
        found.append(f"{type(error).__name__} gets out")
    said = capsys.readouterr().err.splitlines()
    errors = [line for line in said if line.startswith("error: ")]
    left = [file.name for file in {*path.parent.rglob("*")} - beside if file.is_file()]
    if status not in (0, 2, 3, None):
        found.append(f"status {status}")
    if len(errors) > 1 or (status == 2 and not errors):
        found.append(f"status {status} with {len(errors)} error lines")
    if any(len(line) > LONGEST_LINE for line in said):
        found.append("a line that is too long")
    if any("Traceback" in line for line in said):
        found.append("a traceback")
    if any(PROMPT in line for line in said):
        found.append("the text of a prompt")
    if left and status not in (0, 3):
        found.append(f"left {sorted(left)}")
    elif any(name.startswith(".") for name in left):
        found.append("left a temporary file")
    if not path.is_file() or path.read_bytes() != before:
        found.append("the input is changed")
    return found


class Lengths(StandIn):
    dimension = 2

    def encode(self, texts):
        return np.array([[1, len(text)] for text in texts], dtype=np.float32)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    assert fit.main(["--data", "sample", "--model", "tfidf", "--no-cache", "--quiet", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def commands(detector, monkeypatch):
    """By name, every command that reads a file, as a function of the file and of a folder to write into."""
    monkeypatch.setattr(labelled_sets, "PUBLISHED", {})
    monkeypatch.setattr(loading, "load", lambda spec: Lengths())

    def flags(path, out, *more):
        return ["--data", str(path), "--out", str(out), "--model", "tfidf", "--no-cache", "--quiet", *more]

    def of_task(task):
        more = ["--top-k", "2"] if task.uses_top_k else []
        return lambda path, out: evaluate(task, flags(path, out, "--bootstrap", "0", *more))

    def to(program, *more):
        return lambda path, out: program.main(["--input", str(path), "--output", f"{out}/output", "--quiet", *more])

    return {
        "challenging": of_task(CHALLENGING),
        "taxonomy": of_task(TAXONOMY),
        "contrast": of_task(CONTRAST),
        "fit": lambda path, out: fit.main(flags(path, out, "--detector", "centroid_difference")),
        "score": to(score, "--detector", str(detector)),
        "embed": to(embed_main, "--model", "all-minilm-l6-v2"),
        "check": lambda path, out: build_data.check([str(path), "--out", str(out)]),
        "parse": lambda path, out: build_data.parse([str(path), "--out", f"{out}/parsed.jsonl"]),
    }


@pytest.mark.parametrize(("form", "name", "place"), FAULTS)
def test_a_broken_file_ends_in_a_result_or_in_one_line(tmp_path, commands, capsys, form, name, place):
    path = tmp_path / f"broken.{form}"
    path.write_bytes(broken(form, name, place))
    found = {command: faults_of(run, path, tmp_path / command, capsys) for command, run in commands.items()}
    assert {command: faults for command, faults in found.items() if faults} == {}


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_the_file_that_is_broken_is_one_that_every_command_takes(tmp_path, commands, form):
    path = tmp_path / f"whole.{form}"
    path.write_bytes(written(form, table(form)))
    found = {name: command(path, tmp_path / name) for name, command in commands.items()}
    # Raw answers are JSON lines only.
    assert found == dict.fromkeys(commands, 0) | {"parse": 2 if form == "csv" else 0}
