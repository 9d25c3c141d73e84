"""Seconds until a single text is scored, by one thread and by all, on a machine that others use too.

    python benchmarks/latency.py [--detector FOLDER] [--texts 200] [--busy LIST]

Made-up texts of 3 to 60 words, one at a time: each by a guard as it is by default, which gives a single text one
thread, then by one with as many threads as there are processors. Meanwhile processes of this script keep some of them
busy, none and then all by default. Prints the share of the processors that was in use before, the median and the 95th
percentile of both, their ratios, and how far the scores are apart. Before that, the seconds that a new process takes
to score its first text. Without --detector one is fitted on the sample. Fails if a score is more than 1e-4 away.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import finished
from benchmarks.corpus import made_up
from benchmarks.serve import FURTHEST, detector_of
from utils import cli

STARTS = 3


def main() -> int:
    processors = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else psutil.cpu_count()
    flags = cli.Parser(description=__doc__.splitlines()[0])
    flags.add_argument("--detector", metavar="FOLDER", help="what fit wrote")
    flags.add_argument("--texts", metavar="N", default="200")
    flags.add_argument("--busy", metavar="LIST", default=f"0,{processors}", help="processors that others keep busy")
    settings = flags.parse_args()
    count = cli.whole_number(settings.texts, "--texts", least=1)
    busy = [cli.whole_number(one.strip(), "--busy", least=0) for one in settings.busy.split(",")]
    from Safety_Detection.guardrail.saved import load_detector

    texts = made_up(count)
    with tempfile.TemporaryDirectory() as scratch:
        folder = detector_of(settings.detector, scratch)
        prompt = Path(scratch) / "one.txt"
        prompt.write_text("What is bread?\n")
        command = ["-m", "Safety_Detection.score", "--detector", folder, "--input", prompt, "--quiet"]
        starts = [seconds_of(lambda: finished(*command)) for _ in range(STARTS)]
        print(f"start, and one text scored: {np.median(starts):.1f} s, the median of {STARTS}\n")
        one, every = load_detector(folder), load_detector(folder, threads=processors)
        for guard in (one, every):
            guard.score(texts[:1])  # threads started
        print(f"                     1 thread, ms     {processors:3} threads, ms       ratios of both")
        print("busy  used before   median    95 %    median    95 %    median    95 %    apart", flush=True)
        furthest = 0.0
        for number in busy:
            used = psutil.cpu_percent(interval=1)
            taken, scores = np.empty((2, count)), np.empty((2, count))
            with kept_busy(number):
                for i, text in enumerate(texts):
                    for which, guard in enumerate((one, every)):  # in turn, so that both meet the same machine
                        start = time.perf_counter()
                        scores[which, i] = guard.score([text])[0].score
                        taken[which, i] = time.perf_counter() - start
            (median, high), (median_all, high_all) = 1000 * np.quantile(taken, [0.5, 0.95], axis=1).T
            apart = float(np.abs(scores[0] - scores[1]).max())
            print(
                f"{number:4} {used:10.0f} % {median:8.1f} {high:7.1f} {median_all:9.1f} {high_all:7.1f} "
                f"{median_all / median:9.2f} {high_all / high:7.2f} {apart:8.1e}",
                flush=True,
            )
            furthest = max(furthest, apart)
    return 0 if furthest <= FURTHEST else 1


def seconds_of(work) -> float:
    """The seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextlib.contextmanager
def kept_busy(number: int) -> Iterator[None]:
    """Meanwhile so many processes count without end."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


if __name__ == "__main__":
    sys.exit(cli.run(main))
