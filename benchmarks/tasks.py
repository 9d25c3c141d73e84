"""All three tasks against their naive twin (benchmarks/naive.py): time, peak memory and numbers, in one run.

    python benchmarks/tasks.py [--data paper] [--repeats 3]

Prints, for MiniLM on the CPU: the seconds and the peak memory of the naive twin, of ours from nothing and of ours
again, all without figures, with ratios; the seconds of imports and encoding alone, of the whole from nothing, and of
the whole with its figures, each the least of several runs in turn, and a ratio; the largest difference of a number;
encoding alone against a bare SentenceTransformer.encode of the same distinct texts; bfloat16 against float32, in time
and in the largest change of a metric; the share of intervals and significance tests; and `--help`. The average
similarity is taken from 1,000 unrelated texts, 500 x 500, as over BeaverTails, but of made-up texts of the same length,
because that set can't be had everywhere.
"""

import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import ROOT, finished, refuse_failure
from benchmarks.naive import STEPS
from utils import cli, tasks
from utils.data import loading
from utils.schema import InputError

TASKS = ("Safety_Challenging", "Safety_Contrast", "Safety_Taxonomy")
NUMBERS = {
    "safety_challenging": ("pairs", "normalized_similarity"),
    "safety_contrast": ("contrast", "boundary_similarity", "mean_similarity"),
    "safety_taxonomy": ("taxonomy", "categorical_purity"),
}
# The evaluation as all.sh runs it, with made-up texts instead of BeaverTails, and a line on whether torch was imported.
# NO_INFLUENCE leaves out what is computed for the intervals and tests only, beside the resamples.
EVALUATION = """
import importlib, json, os, sys
if "NO_INFLUENCE" in os.environ:
    import numpy as np
    from utils.metrics import embedding, influence
    from utils.results import normalization
    for name in ("neighbor_influence", "silhouette_influence", "average_similarity_influence"):
        setattr(influence, name, lambda *arguments: np.zeros((0, 0)))
    normalization.influence_of = lambda *arguments: None
    scores = embedding.triplet_scores
    def triplet_scores(*arguments):
        found = scores(*arguments[:4], [])
        return found._replace(added=np.zeros((len(arguments[4]), len(found.accuracy))))
    embedding.triplet_scores = triplet_scores
from utils.embed import average_similarity
from utils.evaluation.run import evaluate_all
texts = json.load(open(os.environ["UNRELATED"]))
average_similarity.beavertails_head_and_tail = lambda: (texts["head"], texts["tail"])
tasks = [importlib.import_module(name + ".task").TASK for name in sys.argv[1].split(",")]
status = evaluate_all(tasks, "scripts.all_tasks", sys.argv[2:])
print("torch" in sys.modules, file=sys.stderr)
sys.exit(status)
"""
# The least work of a run from nothing: the imports, the model, and the vectors of every text.
ALONE = """
import json, sys
from utils.embed.embedder import Embedder
from utils.encoders.registry import resolve
from utils.schema import EncoderOptions
texts = json.load(open(sys.argv[1]))
Embedder(resolve("all-minilm-l6-v2", EncoderOptions(device="cpu"))).embed(texts, texts)
"""
ENCODING = """
import json, sys, time
from utils.embed.embedder import Embedder
from utils.encoders.registry import resolve
from utils.schema import EncoderOptions
texts = json.load(open(sys.argv[1]))
spec = resolve("all-minilm-l6-v2", EncoderOptions(device="cpu", dtype=sys.argv[2]))
embedder = Embedder(spec)
embedder.embed(texts[:64], texts[:64])
bare, ours = [], []
for _ in range(int(sys.argv[3])):
    start = time.perf_counter()
    embedder._encoder.model.encode(texts)
    bare.append(time.perf_counter() - start)
    start = time.perf_counter()
    embedder.embed(texts, texts)
    ours.append(time.perf_counter() - start)
print(json.dumps([min(bare), min(ours)]))
"""


@dataclass
class Cost:
    """seconds of all processes, one after the other; peak memory of the largest, in MiB."""

    seconds: float = 0.0
    peak: float = 0.0

    def run(self, command: list[str], **environment: str) -> str:
        """Runs a command, adds its cost, and returns its output."""
        start = time.perf_counter()
        with tempfile.TemporaryFile("w+") as written:
            process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=written, stderr=written)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            written.seek(0)
            output = written.read()
        refuse_failure(command[1:], process.returncode, output)
        self.seconds += time.perf_counter() - start
        unit = 1 if sys.platform == "darwin" else 1024
        self.peak = max(self.peak, usage.ru_maxrss * unit / 2**20)
        return output


def prepare(folder: Path, data: str) -> list[str]:
    """Puts the data and the unrelated texts where the naive twin reads them; returns the tasks' distinct texts."""
    texts: list[str] = []
    for task, name in (
        ("safety_challenging", "pairs.csv"),
        ("safety_contrast", "contrast.jsonl"),
        ("safety_taxonomy", "taxonomy.csv"),
    ):
        dataset, found = loading.load(tasks.TASKS[task].format, data)
        (folder / name).write_bytes(found.path.read_bytes())
        texts += [text for column in dataset.texts.values() for text in column]
    texts = list(dict.fromkeys(texts))
    draw = random.Random(0)
    words = sorted({word for text in texts for word in text.split()})
    unrelated = [" ".join(draw.choices(words, k=13)) for _ in range(1000)]
    (folder / "unrelated.json").write_text(json.dumps({"head": unrelated[:500], "tail": unrelated[500:]}))
    return texts


def main() -> None:
    flags = cli.Parser(description=__doc__.splitlines()[0])
    flags.add_argument("--data", metavar="DATA", default="paper", help="paper or sample (default paper)")
    flags.add_argument("--repeats", metavar="N", default="3", help="times that encoding is measured (default 3)")
    settings = flags.parse_args()
    if settings.data not in ("paper", "sample"):
        raise InputError(f"--data {settings.data}: give paper or sample")
    repeats = cli.whole_number(settings.repeats, "--repeats", least=1)
    with tempfile.TemporaryDirectory() as scratch:
        measure(Path(scratch), settings.data, repeats)


def measure(folder: Path, data: str, repeats: int) -> None:
    python = sys.executable
    texts = prepare(folder, data)
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}; {versions()}")
    print(f"{len(texts)} distinct texts of {data}, and 1000 unrelated ones\n")

    naive, by_step = Cost(), {}
    for step in STEPS:
        before = naive.seconds
        naive.run([python, "benchmarks/naive.py", step.__name__, str(folder)])
        by_step[step.__name__] = naive.seconds - before

    def ours(
        out: str,
        *more: str,
        cache: str = "cache",
        tasks: Sequence[str] = TASKS,
        figures: bool = False,
        **environment: str,
    ) -> tuple[Cost, bool]:
        cost = Cost()
        command = [python, "-c", EVALUATION, ",".join(tasks), "--data", data, "--quiet", "--device", "cpu"]
        command += ["--baseline", "auto", "--out", str(folder / out), *more]
        if not figures:
            command.append("--no-figures")
        places = {"UNRELATED": str(folder / "unrelated.json"), "SAFE_EMBED_CACHE_DIR": str(folder / cache)}
        return cost, cost.run(command, **places, **environment).splitlines()[-1] == "True"

    fresh, _ = ours("results")
    again, torch = ours("results")
    rows = [("naive twin", naive), ("ours, from nothing", fresh), ("ours, everything stored", again)]
    for name, cost in rows:
        print(f"{name:<24} {cost.seconds:7.2f} s  {cost.peak:7.0f} MiB  {naive.seconds / cost.seconds:6.1f} x")
    unrelated = json.loads((folder / "unrelated.json").read_text())
    (folder / "all.json").write_text(json.dumps([*texts, *unrelated["head"], *unrelated["tail"]]))
    wholes, alones, drawns = [fresh], [], []
    for i in range(repeats):
        alones.append(Cost())
        alones[-1].run([python, "-c", ALONE, str(folder / "all.json")])
        wholes.append(ours(f"results-{i}", cache=f"cache-{i}")[0])
        drawns.append(ours(f"drawn-{i}", cache=f"cache-drawn-{i}", figures=True)[0])
    alone, whole, drawn = (min(costs, key=lambda cost: cost.seconds) for costs in (alones, wholes, drawns))
    print(
        f"imports and encoding alone {alone.seconds:.2f} s, {alone.peak:.0f} MiB; the whole from nothing "
        f"{whole.seconds:.2f} s, {whole.peak:.0f} MiB; ratio {whole.seconds / alone.seconds:.2f}"
    )
    print(f"with the figures of the three tasks {drawn.seconds:.2f} s, {drawn.peak:.0f} MiB")
    print("naive by step: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in by_step.items()))
    print(f"torch imported when everything is stored: {'yes' if torch else 'no'}")

    worst = 0.0
    for task, (step, *metrics) in NUMBERS.items():
        theirs = json.loads((folder / f"{step}.json").read_text())
        mine = numbers(folder / "results" / data / task / "all-minilm-l6-v2.json")
        worst = max([worst, *(abs(theirs[metric] - mine[metric, "average"]) for metric in metrics)])
    print(f"largest difference of a number to the naive twin's: {worst:.1e}\n")

    # With a different seed no result is reused. The least of three, as the difference is small.
    with_intervals = min(ours("with", "--seed", str(i))[0].seconds for i in (1, 2, 3))
    without = min(
        ours("without", "--seed", str(i), "--bootstrap", "0", NO_INFLUENCE="yes")[0].seconds for i in (1, 2, 3)
    )
    intervals = with_intervals - without
    compared = Cost()
    compared.run([python, "-m", "utils.compare", "--out", str(folder / "results"), "--data", data])
    spent = max(0.0, intervals) + compared.seconds
    print(
        f"intervals {intervals:.2f} s, significance tests {compared.seconds:.2f} s with the "
        f"start of Python: {spent / (fresh.seconds + compared.seconds):.1%} of the whole from nothing"
    )
    starts = []
    for _ in range(5):
        start = time.perf_counter()
        finished("-m", "Safety_Taxonomy.evaluate", "--help")
        starts.append(time.perf_counter() - start)
    print(f"--help {statistics.median(starts):.2f} s\n")

    # bfloat16 is many times slower on a CPU without instructions for it, so only a part is measured.
    part, tasks = texts[:1000], ("Safety_Challenging", "Safety_Taxonomy")
    (folder / "texts.json").write_text(json.dumps(texts))
    (folder / "part.json").write_text(json.dumps(part))
    bare, mine = encoding(folder / "texts.json", "float32", repeats)
    print(f"encoding {len(texts)} texts: bare {bare:.2f} s, ours {mine:.2f} s, ratio {mine / bare:.3f}", flush=True)
    _, whole = encoding(folder / "part.json", "float32", repeats)
    _, half = encoding(folder / "part.json", "bfloat16", 1)
    ours("results-bfloat16", "--dtype", "bfloat16", "--bootstrap", "0", cache="cache-bfloat16", tasks=tasks)
    changed = 0.0
    for task in map(str.lower, tasks):
        [variant] = (folder / "results-bfloat16" / data / task).glob("all-minilm-l6-v2@*.json")
        base, other = numbers(folder / "results" / data / task / "all-minilm-l6-v2.json"), numbers(variant)
        changed = max([changed, *(abs(base[key] - other[key]) for key in other)])
    print(
        f"bfloat16: {len(part)} texts in {half:.2f} s, in float32 {whole:.2f} s, ratio {half / whole:.2f}; largest "
        f"change of a metric of {' and '.join(tasks)}: {changed:.4f}"
    )


def encoding(texts: Path, dtype: str, repeats: int) -> tuple[float, float]:
    """Least seconds of a bare SentenceTransformer.encode of the texts, and of ours, by one loaded model in turn."""
    output = Cost().run([sys.executable, "-c", ENCODING, str(texts), dtype, str(repeats)])
    bare, ours = json.loads(output.splitlines()[-1])
    return bare, ours


def numbers(path: Path) -> dict[tuple[str, str], float]:
    """The values of a result file by metric and group."""
    return {(m["metric"], m["group"]): m["value"] for m in json.loads(path.read_text())["metrics"]}


def versions() -> str:
    from importlib.metadata import version

    return ", ".join(f"{name} {version(name)}" for name in ("torch", "sentence-transformers", "numpy", "scikit-learn"))


if __name__ == "__main__":
    sys.exit(cli.run(main))
