"""The scores of Safety-Contrast's originals and edits, from their cosines."""

import numpy as np

from utils.metrics import embedding as metrics
from utils.results.normalization import Grouping, Normalization, Summaries, score_twins


def score_edits(
    cosine: np.ndarray,
    triplets: metrics.Triplets | None,
    overlap: np.ndarray,
    normalization: Normalization,
    grouping: Grouping,
) -> Summaries:
    """Each metric's scores of n originals, and their means by category, and by word-overlap bin.

    cosine, overlap: (n, m), of original i with its edit j. Every score of an original is a mean over its edits
    (boundary similarity: the largest), in a bin over the edits in it. triplets: None to leave triplet accuracy out.
    """
    similarities = {"boundary_similarity": metrics.boundary_similarity, "mean_similarity": metrics.mean_over_edits}
    return score_twins(cosine, triplets, similarities, normalization, grouping, overlap_bins(overlap))


def overlap_bins(overlap: np.ndarray) -> dict[str, np.ndarray]:
    """Which edits are in each bin of word overlap: bool (n, m). overlap: (n, m)."""
    return {label: (low <= overlap) & (overlap < high) for label, (low, high) in metrics.OVERLAP_BINS.items()}


def edit_weights(chosen: np.ndarray) -> np.ndarray:
    """The weight of each edit in its original's mean over the chosen ones: (n, m). chosen: bool (n, m)."""
    return chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1)


def by_edit(name: str, values: np.ndarray) -> dict[str, list[float]]:
    """The columns `<name>_1` to `<name>_m` of the items, from an array (n, m) with a column for each edit."""
    return {f"{name}_{j}": column for j, column in enumerate(values.T.tolist(), 1)}


def rescored(items: dict[str, list], normalization: Normalization, grouping: Grouping) -> Summaries:
    """The scores that depend on the average similarity, from the cosines in a result's items."""
    edits = range(1, 1 + sum(name.startswith("cosine_") for name in items))
    cosine, overlap = (np.stack([items[f"{name}_{j}"] for j in edits], axis=1) for name in ("cosine", "word_overlap"))
    return score_edits(cosine, None, overlap, normalization, grouping)
