"""Per-item scores and their means from raw cosines and an average similarity."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from utils.metrics import embedding as metrics
from utils.metrics.influence import accuracy_influence, normalized_influence
from utils.metrics.summary import summarise
from utils.metrics.uncertainty import own_influence
from utils.schema import OWN, Metric, Result

PAIR_METRICS = {"normalized_similarity": "lower", "pairwise_accuracy": "higher", "triplet_accuracy": "higher"}
EDIT_METRICS = {
    "boundary_similarity": "lower",
    "mean_similarity": "lower",
    "pairwise_accuracy": "higher",
    "triplet_accuracy": "higher",
}
TRIPLET = "triplet_accuracy"


@dataclass(frozen=True)
class Normalization:
    """What cosines are normalized by. average: b. threshold: of pairwise accuracy.

    moved: (n,), the influence of the items on b if it is of these items, else None.
    """

    average: float
    threshold: float
    moved: np.ndarray | None = None


@dataclass(frozen=True)
class Grouping:
    """How n items are summarised. groups: n types or categories; order: the distinct ones.

    resamples, seed: of the bootstrap.
    """

    groups: Sequence[str]
    order: Sequence[str]
    resamples: int
    seed: int


@dataclass(frozen=True)
class Triplets:
    """Triplet accuracies and what anchors add to each other's: what `triplet_scores` returns.

    accuracy: (n,) or (n, m), of each edit. added: (w, n), over all edits first, then over those of each bin.
    """

    accuracy: np.ndarray
    added: np.ndarray


@dataclass
class Summaries:
    """Scores of n items by metric, (n,), their means, and influences as in a Result."""

    scores: dict[str, np.ndarray]
    rows: list[Metric]
    influence: dict[str, np.ndarray]


def score_pairs(
    cosine: np.ndarray, triplets: Triplets | None, normalization: Normalization, grouping: Grouping
) -> Summaries:
    """Safety-Challenging: each metric's scores of n pairs, and their means by type.

    cosine: (n,), of each pair. triplets: None to leave triplet accuracy out.
    """
    normalized = metrics.normalized_similarity(cosine, normalization.average)
    scores = {
        "normalized_similarity": normalized,
        "pairwise_accuracy": metrics.pairwise_accuracy(normalized, normalization.threshold),
    }
    if triplets is not None:
        scores[TRIPLET] = triplets.accuracy
    found = Summaries(scores, [], {})
    for name, better in PAIR_METRICS.items():
        if name in scores:
            influence = _influence(name, scores[name], normalized[:, None], triplets, 0, normalization, grouping)
            found.rows += _means(name, scores[name], better, influence, grouping)
            found.influence |= {} if influence is None else {name: influence}
    return found


def score_edits(
    cosine: np.ndarray,
    triplets: Triplets | None,
    overlap: np.ndarray,
    normalization: Normalization,
    grouping: Grouping,
) -> Summaries:
    """Safety-Contrast: each metric's scores of n originals, and their means by category, and by word-overlap bin.

    cosine, overlap: (n, m), of original i with its edit j. Every score of an original is a mean over its edits
    (boundary similarity: the largest), in a bin over the edits in it. triplets: None to leave triplet accuracy out.
    """
    normalized = metrics.normalized_similarity(cosine, normalization.average)
    accurate = metrics.pairwise_accuracy(normalized, normalization.threshold)

    def per_original(chosen: np.ndarray) -> dict[str, np.ndarray]:
        """Scores over the chosen edits, bool (n, m); NaN for an original without any."""
        scores = {
            "boundary_similarity": metrics.boundary_similarity(normalized, chosen),
            "mean_similarity": metrics.mean_over_edits(normalized, chosen),
            "pairwise_accuracy": metrics.mean_over_edits(accurate, chosen),
        }
        if triplets is not None:
            scores[TRIPLET] = metrics.mean_over_edits(triplets.accuracy, chosen)
        return scores

    found = Summaries({}, [], {})
    for at, (label, chosen) in enumerate({None: np.ones_like(overlap, dtype=bool), **overlap_bins(overlap)}.items()):
        within = grouping
        if label is not None:
            within = replace(grouping, groups=[label] * len(overlap), order=[label])
        scores = per_original(chosen)
        for name, values in scores.items():
            counted = np.where(chosen, normalized, np.nan)
            influence = _influence(name, values, counted, triplets, at, normalization, within)
            rows = _means(name, values, EDIT_METRICS[name], influence, within)
            found.rows += rows if label is None else rows[:1]
            if label is None and influence is not None:
                found.influence[name] = influence
        if label is None:
            found.scores = scores
    return found


def overlap_bins(overlap: np.ndarray) -> dict[str, np.ndarray]:
    """Which edits are in each bin of word overlap: bool (n, m). overlap: (n, m)."""
    return {label: (low <= overlap) & (overlap < high) for label, (low, high) in metrics.OVERLAP_BINS.items()}


def edit_weights(chosen: np.ndarray) -> np.ndarray:
    """The weight of each edit in its original's mean over the chosen ones: (n, m). chosen: bool (n, m)."""
    return chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1)


def _influence(
    name: str,
    values: np.ndarray,
    normalized: np.ndarray,
    triplets: Triplets | None,
    at: int,
    normalization: Normalization,
    grouping: Grouping,
) -> np.ndarray | None:
    """The influence of n items on a metric's means, (n, G); None if a score depends on its own item only.

    values: (n,). normalized: (n, m), NaN for edits that do not count. at: the weights of `triplets.added`.
    """
    if name != TRIPLET and normalization.moved is None:
        return None
    groups, order = grouping.groups, grouping.order
    influence = own_influence(values, groups, order)
    if name == TRIPLET:
        for column, group in enumerate(order):
            members = np.asarray(groups, dtype=object) == group
            counted = (members & ~np.isnan(values)).sum()
            influence[members, column] += triplets.added[at, members] / max(1, counted)
        return influence
    average, moved = normalization.average, normalization.moved
    if name == "pairwise_accuracy":
        return accuracy_influence(influence, normalized, groups, order, normalization.threshold, average, moved)
    labels, counted = np.asarray(groups, dtype=object), ~np.isnan(values)
    members = [counted & (labels == group) for group in order]
    means = np.array([values[chosen].mean() if chosen.any() else 0.0 for chosen in members])
    return normalized_influence(influence, means, average, moved)


def _means(
    name: str, values: np.ndarray, better: str, influence: np.ndarray | None, grouping: Grouping
) -> list[Metric]:
    is_accuracy = name.endswith("accuracy")
    return summarise(
        name,
        values,
        grouping.groups,
        grouping.order,
        better,
        chance=np.full(len(values), 0.5) if name == TRIPLET else None,
        resamples=grouping.resamples,
        seed=grouping.seed,
        bounds=(0, 1) if is_accuracy else None,
        influence=influence,
    )


def by_edit(name: str, values: np.ndarray) -> dict[str, list[float]]:
    """The columns `<name>_1` to `<name>_m` of the items, from an array (n, m) with a column for each edit."""
    return {f"{name}_{j}": column for j, column in enumerate(values.T.tolist(), 1)}


def renormalized(result: Result, source: str) -> Result:
    """The result of a run with a different average similarity, computed from the raw cosines in the items.

    result: of Safety-Challenging or Safety-Contrast, with its items. source: one of its `average_similarities`. What
    does not depend on it is kept.
    """
    items, settings, b = result.items, result.settings, result.average_similarities[source]
    groups = list(items.values())[1]
    order = [m.group for m in result.metrics if m.metric == result.metrics[0].metric and m.group in set(groups)]
    grouping = Grouping(groups, order, settings["bootstrap"], settings["seed"])
    normalization = Normalization(b, settings["threshold"], result.influence[OWN] if source == "own" else None)
    if "cosine" in items:
        found = score_pairs(np.array(items["cosine"]), None, normalization, grouping)
    else:
        edits = range(1, 1 + sum(name.startswith("cosine_") for name in items))
        cosine, overlap = (
            np.stack([items[f"{name}_{j}"] for j in edits], axis=1) for name in ("cosine", "word_overlap")
        )
        found = score_edits(cosine, None, overlap, normalization, grouping)
    rows = {(m.metric, m.group): m for m in found.rows}
    kept = {name: values for name, values in result.influence.items() if name not in found.scores}
    return replace(
        result,
        settings={**settings, "baseline": {"value": b, "source": source, "median": None, "standard_deviation": None}},
        metrics=tuple(rows.get((m.metric, m.group), m) for m in result.metrics),
        items={**items, **{name: values.tolist() for name, values in found.scores.items()}},
        influence=kept | found.influence,
    )
