"""Seconds that `score --vectors` takes for a million vectors, beside numpy's bare matrix product of the same numbers.

    python benchmarks/score.py [--rows 1000000] [--detector logistic_regression] [--data sample] [--explain N]

The vectors are made up, as shards of 10,000 rows; the detector is fitted on MiniLM. The product is of the same vectors,
2,000 rows at once, read from memory and their largest value kept, with what the detector compares them to: one
direction, or the vectors of prompts. Prints the ratio of both and the highest resident memory of the scoring.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import ROOT, finished, refuse_failure
from Safety_Detection.guardrail import saved
from utils import cli

SHARD_ROWS, BLOCK_ROWS, DIMENSION = 10_000, 2_000, 384


def main() -> None:
    flags = cli.Parser(description=__doc__.splitlines()[0])
    flags.add_argument("--rows", metavar="N", default="1000000")
    flags.add_argument("--detector", metavar="KIND", default="logistic_regression")
    flags.add_argument("--data", metavar="DATA", default="sample")
    flags.add_argument("--explain", metavar="N")
    settings = flags.parse_args()
    count = cli.whole_number(settings.rows, "--rows", least=1)
    with tempfile.TemporaryDirectory() as scratch:
        detector, vectors, output = (Path(scratch) / name for name in ("detector", "vectors", "scores.csv"))
        fit = ["-m", "Safety_Detection.fit", "--quiet", "--read", "whole", "--detector", settings.detector]
        fit += ["--data", settings.data]
        finished(*fit, "--out", detector)
        found = saved.load(detector)
        shard = made_up(vectors, count, found.about["encoder"])
        command = ["-m", "Safety_Detection.score", "--quiet", "--detector", detector, "--vectors", vectors]
        command += ["--output", output, *(["--explain", settings.explain] if settings.explain else [])]
        start = time.perf_counter()
        peak = measured(*command)
        seconds = time.perf_counter() - start
        bare = product(found, shard, count)
        written = sum(1 for _ in output.open()) - 1
    per_million = 1e6 / count
    print(f"{settings.detector}, {written} vectors of {DIMENSION} dimensions")
    print(f"score: {seconds * per_million:.1f} s a million, {peak / 1024:.0f} MiB at the peak")
    print(f"numpy: {bare * per_million:.1f} s a million, {seconds / bare:.1f} times as fast as score")


def made_up(folder: Path, count: int, encoder: dict) -> np.ndarray:
    """Writes random vectors as utils.embed does, every shard the same ones; returns those of a shard."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    shard = np.random.default_rng(0).normal(size=(SHARD_ROWS, DIMENSION)).astype(np.float32)
    for start in range(0, count, SHARD_ROWS):
        n = min(SHARD_ROWS, count - start)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(shard[:n].reshape(-1)), DIMENSION)
        columns = {"row": np.arange(start, start + n), "truncated": np.zeros(n, dtype=bool), "vector": vectors}
        path = folder / f"part-{start // SHARD_ROWS:05}.parquet"
        pq.write_table(pa.table(columns), path, compression="none", use_dictionary=False)
    manifest = {"schema": 1, "shard_rows": SHARD_ROWS, "encoder": encoder, "done": {"rows": count}}
    (folder / "_manifest.json").write_text(json.dumps(manifest))
    return shard


def measured(*command) -> int:
    """Runs Python with these arguments to its end; returns its highest resident memory in KiB."""
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, *map(str, command)],
        os.environ | {"SAFE_EMBED_CALLED_FROM_DIR": str(ROOT), "PYTHONPATH": str(ROOT)},
    )
    _, status, used = os.wait4(child, 0)
    refuse_failure(command, os.waitstatus_to_exitcode(status), "")
    return used.ru_maxrss


def product(detector: saved.SavedDetector, shard: np.ndarray, count: int) -> float:
    """The seconds that the bare product takes."""
    arrays = detector.detector.arrays
    against = next(arrays[name] for name in ("unsafe", "rows", "direction") if name in arrays)
    against = np.atleast_2d(against).astype(np.float32).T
    start = time.perf_counter()
    for i in range(0, count, BLOCK_ROWS):
        at = i % len(shard)
        (shard[at : at + min(BLOCK_ROWS, count - i)] @ against).max(axis=1)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(cli.run(main))
