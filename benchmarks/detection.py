"""Time and memory of detection over all published sets, and how much is gained by what its training sides share.

    python benchmarks/detection.py [--model NAME] [--data DATA] [--sides N]

First evaluates the encoder and TF-IDF with their vectors stored, in a process of its own: seconds and highest resident
memory. Then, for N training sides without two families, the same scores one side at a time: nearest prompts by the
similarities of each side (ours picks them from one pass over all prompts), logistic regression at every strength from
nothing, one side after the other (ours starts each strength from the one before, and fits sides beside each other); and
for one set the areas of 1,000 resamples by their curves (ours counts pairs of groups once).
"""

import itertools
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import finished
from utils import cli


def main() -> None:
    flags = cli.Parser(description=__doc__.splitlines()[0])
    flags.add_argument("--model", metavar="NAME", default="all-minilm-l6-v2")
    flags.add_argument("--data", metavar="DATA", default="paper")
    flags.add_argument("--sides", metavar="N", default="8")
    settings = flags.parse_args()
    number = cli.whole_number(settings.sides, "--sides", least=1)
    evaluated(settings.model, settings.data)
    shared(settings.model, settings.data, number)


def evaluated(model: str, data: str) -> None:
    """Prints what an evaluation takes when the vectors are stored and its scores are not."""
    with tempfile.TemporaryDirectory() as scratch:
        cache = {"SAFE_EMBED_CACHE_DIR": str(Path(scratch) / "cache")}
        command = ["-m", "Safety_Detection.evaluate", "--model", f"{model},tfidf", "--data", data]
        command += ["--out", scratch, "--quiet"]
        finished(*command, "--detectors", "centroid_difference", "--bootstrap", "0", **cache)
        start = time.perf_counter()
        finished(*command, **cache)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of the first run or the second
        print(f"{model} and tfidf on {data}: {seconds:.0f} s, {peak:.0f} MiB at the peak, vectors stored", flush=True)


def shared(model: str, data: str, number: int) -> None:
    """Prints what single steps take beside the plain way of doing them."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    from Safety_Detection.detectors import neighbors
    from Safety_Detection.detectors.kinds import STRENGTHS
    from Safety_Detection.protocol import evaluation
    from Safety_Detection.sets import labelled_sets
    from utils.embed.embedder import Embedder
    from utils.encoders import registry
    from utils.metrics import detection as dm
    from utils.metrics.uncertainty import cluster_resamples
    from utils.store.embeddings import EmbeddingStore, default_path

    dataset, _ = labelled_sets.load(data)
    embedder = Embedder(registry.resolve(model), EmbeddingStore(default_path()), False, lambda sentence: None)
    vectors = evaluation.EncoderVectors(embedder.embed(dataset.texts["prompt"], list(dataset.ids)).matrix)
    of = evaluation.Sides(dataset)
    families = list(dict.fromkeys(of.families))
    pairs = list(map(frozenset, itertools.combinations(families, 2)))
    pairs = [pair for pair in pairs if of.trainable(of.without(pair))][:number]
    of.trains(dataset.group_order[0])  # near-duplicates are found before time is taken

    def trial(kind: str) -> float:
        run = evaluation.Trial(of, vectors, [kind])
        for pair in pairs:
            rows = of.without(pair)
            run.jobs[pair] = evaluation.Job(rows, of.of_families(pair), of.weights(rows), pair)
        start = time.perf_counter()
        run.run()
        return time.perf_counter() - start

    def each(work) -> float:
        start = time.perf_counter()
        for pair in pairs:
            rows = of.without(pair)
            seen, asked = vectors(rows, of.of_families(pair))
            work(seen, asked, of.labels[rows], of.weights(rows))
        return time.perf_counter() - start

    def regressions(seen, asked, labels, weights) -> None:
        for strength in STRENGTHS:
            model = LogisticRegression(C=strength, solver="newton-cholesky", max_iter=2000)
            model.fit(seen, labels, sample_weight=weights.astype(np.float32)).decision_function(asked)

    plain = each(lambda seen, asked, labels, weights: neighbors.scores(seen, asked, labels, 10, weights))
    told(f"nearest prompts, {len(pairs)} sides", plain, trial("knn_vote"))
    with threadpool_limits(os.cpu_count()):
        told(f"logistic regression, {len(pairs)} sides", each(regressions), trial("logistic_regression"))
    name = dataset.of_kind("two")[0]
    rows = dataset.rows(name)
    labels, clusters = of.labels[rows], np.unique(of.clusters[rows], return_inverse=True)[1]
    counts = cluster_resamples(clusters, labels, 1000)
    scores = np.random.default_rng(0).normal(size=len(rows))
    start = time.perf_counter()
    dm.auroc(dm.curve(labels, scores, counts[:, clusters].astype(float)))
    plain = time.perf_counter() - start
    start = time.perf_counter()
    dm.resampled_auroc(labels, scores, clusters, counts)
    told(f"1,000 resampled areas on {name}", plain, time.perf_counter() - start)


def told(what: str, plain: float, ours: float) -> None:
    print(f"{what}: {plain:.2f} s the plain way, {ours:.2f} s here, {plain / ours:.1f} times as fast")


if __name__ == "__main__":
    sys.exit(cli.run(main))
