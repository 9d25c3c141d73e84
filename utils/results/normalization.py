"""Per-item scores and their means from raw cosines and an average similarity."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from utils.metrics import embedding as metrics
from utils.metrics.summary import summarise
from utils.schema import Metric, Result

PAIR_METRICS = {"normalized_similarity": "lower", "pairwise_accuracy": "higher", "triplet_accuracy": "higher"}
EDIT_METRICS = {
    "boundary_similarity": "lower",
    "mean_similarity": "lower",
    "pairwise_accuracy": "higher",
    "triplet_accuracy": "higher",
}


def score_pairs(
    cosine: np.ndarray,
    triplet: np.ndarray,
    groups: Sequence[str],
    order: Sequence[str],
    b: float,
    threshold: float,
    resamples: int,
    seed: int,
) -> tuple[dict[str, np.ndarray], list[Metric]]:
    """Safety-Challenging: each metric's scores of n pairs, (n,), and their means by type.

    cosine, triplet: (n,), the pairs' cosines and triplet accuracies. groups: n types; order: the distinct ones.
    b: the average similarity. threshold: of pairwise accuracy. resamples, seed: of the bootstrap.
    """
    normalized = metrics.normalized_similarity(cosine, b)
    accurate = metrics.pairwise_accuracy(normalized, threshold)
    scores = dict(zip(PAIR_METRICS, (normalized, accurate, triplet), strict=True))
    rows = []
    for name, better in PAIR_METRICS.items():
        rows += summarise(name, scores[name], groups, order, better, **_drawn(name, len(groups), resamples, seed))
    return scores, rows


def score_edits(
    cosine: np.ndarray,
    triplet: np.ndarray,
    overlap: np.ndarray,
    groups: Sequence[str],
    order: Sequence[str],
    b: float,
    threshold: float,
    resamples: int,
    seed: int,
) -> tuple[dict[str, np.ndarray], list[Metric]]:
    """Safety-Contrast: each metric's scores of n originals, (n,), their means by category, and by word-overlap bin.

    cosine, triplet, overlap: (n, m), of original i with its edit j. Every score of an original is a mean over its
    edits (boundary similarity: the largest), in a bin over the edits in it. Other parameters are as in `score_pairs`.
    """
    normalized = metrics.normalized_similarity(cosine, b)
    accurate = metrics.pairwise_accuracy(normalized, threshold)

    def per_original(chosen: np.ndarray) -> dict[str, np.ndarray]:
        """Scores over the chosen edits, bool (n, m); NaN for an original without any."""
        means = [metrics.mean_over_edits(values, chosen) for values in (normalized, accurate, triplet)]
        return dict(zip(EDIT_METRICS, (metrics.boundary_similarity(normalized, chosen), *means), strict=True))

    n = len(groups)
    scores = per_original(np.ones_like(normalized, dtype=bool))
    rows: list[Metric] = []
    for name, better in EDIT_METRICS.items():
        rows += summarise(name, scores[name], groups, order, better, **_drawn(name, n, resamples, seed))
    for label, (low, high) in metrics.OVERLAP_BINS.items():
        within = per_original((low <= overlap) & (overlap < high))
        for name, better in EDIT_METRICS.items():
            rows += summarise(name, within[name], [label] * n, [label], better, **_drawn(name, n, resamples, seed))[:1]
    return scores, rows


def _drawn(metric: str, n: int, resamples: int, seed: int) -> dict:
    """The arguments with which `summarise` draws a metric's intervals."""
    return {
        "chance": np.full(n, 0.5) if metric == "triplet_accuracy" else None,
        "resamples": resamples,
        "seed": seed,
        "bounds": (0, 1) if metric.endswith("accuracy") else None,
    }


def by_edit(name: str, values: np.ndarray) -> dict[str, list[float]]:
    """The columns `<name>_1` to `<name>_m` of the items, from an array (n, m) with a column for each edit."""
    return {f"{name}_{j}": column for j, column in enumerate(values.T.tolist(), 1)}


def renormalized(result: Result, source: str) -> Result:
    """The result of a run with a different average similarity, computed from the raw cosines in the items.

    result: of Safety-Challenging or Safety-Contrast, with its items. source: one of its `average_similarities`.
    """
    items, settings, b = result.items, result.settings, result.average_similarities[source]
    groups = list(items.values())[1]
    chosen = {"threshold": settings["threshold"], "resamples": settings["bootstrap"], "seed": settings["seed"]}
    order = [m.group for m in result.metrics if m.metric == result.metrics[0].metric and m.group in set(groups)]
    if "cosine" in items:
        raw = [_numbers(items[name]) for name in ("cosine", "triplet_accuracy")]
        scores, rows = score_pairs(*raw, groups, order, b, **chosen)
    else:
        edits = range(1, 1 + sum(name.startswith("cosine_") for name in items))
        raw = [
            np.stack([_numbers(items[f"{name}_{j}"]) for j in edits], axis=1)
            for name in ("cosine", "triplet_accuracy", "word_overlap")
        ]
        scores, rows = score_edits(*raw, groups, order, b, **chosen)
    return replace(
        result,
        settings={**settings, "baseline": {"value": b, "source": source, "median": None, "standard_deviation": None}},
        metrics=tuple(rows),
        items={**items, **{name: values.tolist() for name, values in scores.items()}},
    )


def _numbers(column: Sequence) -> np.ndarray:
    """A column of the items as numbers, float (n,); '' becomes NaN."""
    return np.array([float("nan") if value == "" else float(value) for value in column])
