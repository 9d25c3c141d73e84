"""The scores of Safety-Challenging's pairs, from their cosines."""

import numpy as np

from utils.metrics import embedding as metrics
from utils.results.normalization import (
    TRIPLET,
    Grouping,
    Normalization,
    Summaries,
    Triplets,
    influence_of,
    means_of,
)

PAIR_METRICS = {"normalized_similarity": "lower", "pairwise_accuracy": "higher", "triplet_accuracy": "higher"}


def score_pairs(
    cosine: np.ndarray, triplets: Triplets | None, normalization: Normalization, grouping: Grouping
) -> Summaries:
    """Each metric's scores of n pairs, and their means by type.

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
        if name in scores and grouping.wants(name):
            influence = influence_of(name, scores[name], normalized[:, None], triplets, 0, normalization, grouping)
            found.rows += means_of(name, scores[name], better, influence, grouping)
            found.influence |= {} if influence is None else {name: influence}
    return found


def rescored(items: dict[str, list], normalization: Normalization, grouping: Grouping) -> Summaries:
    """The scores that depend on the average similarity, from the cosines in a result's items."""
    return score_pairs(np.array(items["cosine"]), None, normalization, grouping)
