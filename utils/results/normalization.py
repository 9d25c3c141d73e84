"""Per-item scores and their means from raw cosines and an average similarity."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from utils.metrics.embedding import Triplets, mean_over_edits, normalized_similarity, pairwise_accuracy
from utils.metrics.influence import accuracy_influence, normalized_influence
from utils.metrics.summary import summarise
from utils.metrics.uncertainty import own_influence
from utils.results.paired import groups_of
from utils.schema import OWN, Metric, Result
from utils.tasks import TASKS

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

    resamples, seed: of the bootstrap. wanted: the metrics that means are of, all if None.
    """

    groups: Sequence[str]
    order: Sequence[str]
    resamples: int
    seed: int
    wanted: Collection[str] | None = None

    def wants(self, metric: str) -> bool:
        """Whether means of a metric are asked for."""
        return self.wanted is None or metric in self.wanted


@dataclass
class Summaries:
    """Scores of n items by metric, (n,), their means, and influences as in a Result."""

    scores: dict[str, np.ndarray]
    rows: list[Metric]
    influence: dict[str, np.ndarray]


def score_twins(
    cosine: np.ndarray,
    triplets: Triplets | None,
    similarities: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]],
    normalization: Normalization,
    grouping: Grouping,
    bins: Mapping[str, np.ndarray] | None = None,
) -> Summaries:
    """Each metric's scores of n unsafe prompts over the m safe twins of each, and their means by group, and by bin.

    cosine: (n, m), of each prompt with its twins. triplets: weighted by all twins first, then by those of each bin;
    None to leave triplet accuracy out. similarities: metric to
    a function of normalized similarities and of which of them count, both (n, m), to scores (n,). bins: name to the
    twins in it, bool (n, m); their means are over all prompts with such twins.
    """
    normalized = normalized_similarity(cosine, normalization.average)
    accurate = pairwise_accuracy(normalized, normalization.threshold)
    found = Summaries({}, [], {})
    everything = np.ones(cosine.shape, dtype=bool)
    for at, (label, chosen) in enumerate([(None, everything), *(bins or {}).items()]):
        scores = {name: similarity(normalized, chosen) for name, similarity in similarities.items()}
        scores["pairwise_accuracy"] = mean_over_edits(accurate, chosen)
        if triplets is not None:
            scores[TRIPLET] = mean_over_edits(triplets.accuracy.reshape(cosine.shape), chosen)
        within = grouping if label is None else replace(grouping, groups=[label] * len(cosine), order=[label])
        counted = np.where(chosen, normalized, np.nan)
        for name, values in scores.items():
            if not grouping.wants(name):
                continue
            added = triplets.added[at] if name == TRIPLET and triplets is not None else None
            influence = influence_of(name, values, counted, added, normalization, within)
            is_accuracy = name not in similarities
            rows = summarise(
                name,
                values,
                within.groups,
                within.order,
                "higher" if is_accuracy else "lower",
                chance=np.full(len(values), 0.5) if name == TRIPLET else None,
                resamples=within.resamples,
                seed=within.seed,
                bounds=(0, 1) if is_accuracy else None,
                influence=influence,
            )
            found.rows += rows if label is None else rows[:1]
            if label is None and influence is not None:
                found.influence[name] = influence
        if label is None:
            found.scores = scores
    return found


def influence_of(
    name: str,
    values: np.ndarray,
    normalized: np.ndarray,
    added: np.ndarray | None,
    normalization: Normalization,
    grouping: Grouping,
) -> np.ndarray | None:
    """The influence of n items on a metric's means, (n, G); None if a score depends on its own item only.

    values: (n,). normalized: (n, m), NaN for edits that do not count. added: (n,), what anchors add to each other's
    triplet accuracies; None for the other metrics.
    """
    average, moved = normalization.average, normalization.moved
    groups, order = grouping.groups, grouping.order
    labels, counted = np.asarray(groups, dtype=object), ~np.isnan(values)
    influence = own_influence(values, groups, order)
    if added is not None:
        for column, group in enumerate(order):
            members = labels == group
            influence[members, column] += added[members] / max(1, (members & counted).sum())
        return influence
    if moved is None:
        return None
    if name == "pairwise_accuracy":
        return accuracy_influence(influence, normalized, groups, order, normalization.threshold, average, moved)
    chosen = [counted & (labels == group) for group in order]
    means = np.array([values[members].mean() if members.any() else 0.0 for members in chosen])
    return normalized_influence(influence, means, average, moved)


def renormalized(result: Result, source: str) -> Result:
    """The result of a run with a different average similarity, computed from the raw cosines in the items.

    result: with its items. source: one of its `average_similarities`. What does not
    depend on it is kept, and of the rest means are taken of the metrics that the result has.
    """
    items, settings, b = result.items, result.settings, result.average_similarities[source]
    order, wanted = groups_of(result, result.metrics[0].metric), {metric.metric for metric in result.metrics}
    grouping = Grouping(result.groups, order, settings["bootstrap"], settings["seed"], wanted)
    normalization = Normalization(b, settings["threshold"], result.influence[OWN] if source == "own" else None)
    rescored = TASKS[result.task].rescored
    if rescored is None:  # nothing depends on it
        return result
    found = rescored(items, normalization, grouping)
    rows = {(m.metric, m.group): m for m in found.rows}
    kept = {name: values for name, values in result.influence.items() if name not in found.scores}
    return replace(
        result,
        settings={**settings, "baseline": {"value": b, "source": source, "median": None, "standard_deviation": None}},
        metrics=tuple(rows.get((m.metric, m.group), m) for m in result.metrics),
        items={**items, **{name: values.tolist() for name, values in found.scores.items()}},
        influence=kept | found.influence,
    )
