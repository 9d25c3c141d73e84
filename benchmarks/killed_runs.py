"""Kills an evaluation with SIGKILL at random moments, starts it again each time, and counts what was computed twice.

    python benchmarks/killed_runs.py [--kills 20] [--data paper] [--seed 0]

Prints the texts encoded in all runs together, the distinct ones, and the ratio of the two; fails unless the killed runs
end in the result of an undisturbed one, with one batch at most computed again for each kill.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import ROOT, refuse_failure
from utils import cli

# The evaluation, with a line written after each encoded batch.
EVALUATION = """
import json, sys
from utils.encoders import loaders
from Safety_Contrast.evaluate import TASK, evaluate

encode = loaders.SentenceTransformerEncoder.encode

def logged(self, texts):
    rows = encode(self, texts)
    with open(sys.argv[1], "a") as log:
        log.write(f"{len(texts)}\\n")
    return rows

loaders.SentenceTransformerEncoder.encode = logged
sys.exit(evaluate(TASK, sys.argv[2:]))
"""


def main() -> int:
    flags = cli.Parser(description=__doc__.splitlines()[0])
    flags.add_argument("--kills", metavar="N", default="20")
    flags.add_argument("--data", default="paper")
    flags.add_argument("--seed", metavar="N", default="0")
    settings = flags.parse_args()
    kills = cli.whole_number(settings.kills, "--kills", least=1)
    moments = random.Random(cli.whole_number(settings.seed, "--seed", least=0))
    with tempfile.TemporaryDirectory() as scratch:
        whole, _, log = run(Path(scratch) / "whole", settings.data)
        batches, distinct = len(log), sum(log)
        print(f"undisturbed: {distinct} distinct texts in {batches} batches, the largest of {max(log)}")
        for kill in range(kills):
            # Anywhere from the first batch to the last: a run continues where the previous one ended.
            after = moments.randint(1, max(1, batches // kills))
            _, status, log = run(Path(scratch) / "killed", settings.data, batches=after, moments=moments)
            print(f"kill {kill + 1:2}: status {status}, {sum(log)} texts encoded so far in all runs", flush=True)
        killed, _, log = run(Path(scratch) / "killed", settings.data)
    again = sum(log) - distinct
    print(f"encoded {sum(log)} texts for {distinct} distinct ones: {sum(log) / distinct:.3f} times the work")
    equal = whole == killed
    print(f"the same metrics, bit for bit: {equal}")
    batches_again = len(log) - batches
    print(f"computed again: {again} texts, {batches_again} batches in {kills} kills; one for each is allowed")
    return 0 if equal and batches_again <= kills else 1


def run(
    folder: Path, data: str, batches: int | None = None, moments: random.Random | None = None
) -> tuple[list | None, int, list[int]]:
    """One evaluation; with `batches`, killed at a random moment after that many more batches.

    Returns the metrics of its result file, its status, and the sizes of all batches that were encoded in `folder`.
    Raises InputError with its message if it failed by itself.
    """
    folder.mkdir(exist_ok=True)
    log = folder / "log"
    log.touch()
    before = len(log.read_text().splitlines())
    arguments = ["--data", data, "--quiet", "--out", str(folder / "out")]
    process = subprocess.Popen(
        [sys.executable, "-c", EVALUATION, str(log), *arguments],
        cwd=ROOT,
        env={**os.environ, "SAFE_EMBED_CACHE_DIR": str(folder / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=(folder / "said").open("w"),
    )
    if batches is not None:
        while process.poll() is None and len(log.read_text().splitlines()) < before + batches:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
    status = process.wait()
    if status != -signal.SIGKILL:
        refuse_failure(["Safety_Contrast.evaluate"], status, (folder / "said").read_text())
    sizes = [int(line) for line in log.read_text().splitlines()]
    [*results] = (folder / "out").rglob("all-minilm-l6-v2.json")
    return (json.loads(results[0].read_text())["metrics"] if results else None), status, sizes


if __name__ == "__main__":
    sys.exit(cli.run(main))
