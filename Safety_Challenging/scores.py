"""The scores of Safety-Challenging's pairs, from their cosines."""

import numpy as np

from utils.metrics.embedding import Triplets, mean_over_edits
from utils.results.normalization import Grouping, Normalization, Summaries, score_twins


def score_pairs(
    cosine: np.ndarray, triplets: Triplets | None, normalization: Normalization, grouping: Grouping
) -> Summaries:
    """Each metric's scores of n pairs, and their means by type.

    cosine: (n,), of each pair. triplets: None to leave triplet accuracy out.
    """
    similarities = {"normalized_similarity": mean_over_edits}  # of a single safe twin
    return score_twins(cosine[:, None], triplets, similarities, normalization, grouping)


def rescored(items: dict[str, list], normalization: Normalization, grouping: Grouping) -> Summaries:
    """The scores that depend on the average similarity, from the cosines in a result's items."""
    return score_pairs(np.array(items["cosine"]), None, normalization, grouping)
