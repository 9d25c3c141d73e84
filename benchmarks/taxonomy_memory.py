"""Time and memory of an evaluation of Safety-Taxonomy on many made-up prompts, step by step.

    python benchmarks/taxonomy_memory.py [--prompts 100000] [--bootstrap 10000]

Twice, each in a process of its own: with 384-dimensional embeddings that are all in the store, and with a stand-in
encoder (a BERT of 16 dimensions) that has to compute them. Prints for each step its seconds, how often it was taken,
and the highest resident memory of the process so far.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from utils import cli  # noqa: E402
from utils.encoders import registry  # noqa: E402

# The evaluation, with time and memory of its steps.
EVALUATION = """
import functools, importlib, sys, time
start = time.perf_counter()
from benchmarks.neighbors import peak_mib
from utils.data import loading
from utils.embed.embedder import Embedder
from utils.evaluation import run
from utils.metrics import embedding as metrics
from utils.results import result_file

module = importlib.import_module("Safety_Taxonomy.task")
steps = {}

def account(owner, name, step):
    done = getattr(owner, name)

    @functools.wraps(done)
    def counted(*arguments, **more):
        begun = time.perf_counter()
        value = done(*arguments, **more)
        seconds, times, _ = steps.get(step, (0, 0, 0))
        steps[step] = (seconds + time.perf_counter() - begun, times + 1, peak_mib())
        return value

    setattr(owner, name, counted)

account(loading, "load", "load the file")
account(Embedder, "embed", "embed")
account(module, "nearest_neighbors", "nearest neighbours")
account(module, "summarise", "means and intervals")
account(metrics, "silhouette", "silhouette")
account(metrics, "normalized_mutual_information", "k-means and NMI")
account(result_file, "write_result", "write the result")
status = run.evaluate(module.TASK, sys.argv[1:])
steps["all"] = (time.perf_counter() - start, 1, peak_mib())
for step, (seconds, times, peak) in steps.items():
    print(f"{step:20} {seconds:8.1f} s {times:3} x {peak:7.0f} MiB", file=sys.stderr)
sys.exit(status)
"""


def main() -> int:
    flags = cli.Parser(description=__doc__.splitlines()[0])
    flags.add_argument("--prompts", metavar="N", default="100000")
    flags.add_argument("--bootstrap", metavar="N", default="10000")
    settings = flags.parse_args()
    prompts = cli.whole_number(settings.prompts, "--prompts", least=24)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        texts = write_prompts(folder / "prompts.csv", prompts)
        fill_store(folder / "cache", texts)
        from checkpoints import sentence_bert

        model = str(sentence_bert(folder / "stand-in"))
        for title, encoder in (("every embedding stored", "all-minilm-l6-v2"), ("every embedding computed", model)):
            print(f"\n{prompts} prompts, {title}", flush=True)
            command = [sys.executable, "-c", EVALUATION, encoder, "--data", str(folder / "prompts.csv")]
            command += ["--out", str(folder / "out"), "--bootstrap", settings.bootstrap]
            environment = {**os.environ, "SAFE_EMBED_CACHE_DIR": str(folder / "cache")}
            run = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
            if run.returncode:
                return run.returncode
    return 0


def write_prompts(path: Path, n: int) -> list[str]:
    """A CSV file of n different prompts of ten words in the twelve categories; returns the prompts."""
    from utils.data.catalogue import CATEGORIES

    rng, names = np.random.default_rng(0), list(CATEGORIES)
    words = np.array(["".join(rng.choice(list("aeioulnrst"), 5)) for _ in range(20_000)])
    texts = [" ".join(row) for row in words[(rng.zipf(1.3, (n, 10)) - 1) % len(words)]]
    texts = [f"{text} {i}" for i, text in enumerate(texts)]
    rows = (f'{i},"{names[i % len(names)]}",{text}\n' for i, text in enumerate(texts))
    path.write_text("id,types_of_harm,question\n" + "".join(rows))
    return texts


def fill_store(cache: Path, texts: list[str]) -> None:
    """Puts made-up embeddings of the default encoder into a store."""
    from benchmarks.neighbors import embeddings
    from utils.store import embeddings as store

    spec = registry.resolve("all-minilm-l6-v2")
    kept = store.EmbeddingStore(cache / store.FILE_NAME)
    kept.put_encoder_info(spec.info(dimension=384, max_tokens=256))
    vectors = embeddings(len(texts), 384)
    for start in range(0, len(texts), 10_000):
        kept.put(spec.fingerprint, texts[start : start + 10_000], vectors[start : start + 10_000])


if __name__ == "__main__":
    sys.exit(cli.run(main))
