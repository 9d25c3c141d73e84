"""How much each prompt moves a score whose items depend on each other.

A score of neighbours, of rivals or of a whole set varies with all prompts that it is made of, not only with the one
that it is of. Each function returns influences: to first order, by how much a score rises for a unit of weight more on
a prompt (Hampel 1974, J. Am. Stat. Assoc. 69; Efron and Stein 1981, Ann. Statist. 9(3)). Their stratified sum of
squares is the score's variance (utils/metrics/uncertainty.py). benchmarks/intervals.py prints the coverage.
"""

from collections.abc import Sequence

import numpy as np

from utils.metrics.embedding import category_sums, dot_products, unit_rows
from utils.metrics.uncertainty import own_influence

# The share of the variance of a prompt's own purity by its neighbours that is in their influence twice.
TOSSES = 0.25


def neighbor_influence(
    same: np.ndarray, units: np.ndarray, categories: Sequence[str] | np.ndarray, order: Sequence[str], k: int
) -> np.ndarray:
    """The influence of n prompts on the mean purity of each category.

    same: bool (n, m), whether each of a prompt's m nearest neighbours counts; m is 2 k, or fewer if there are no more.
    units: int (n, m), the prompt that each neighbour belongs to. categories: n labels. order: the G distinct ones.
    Returns (n, G).

    A neighbour counts in place of the next one: that has the mean of the 2 k places around the k-th, because a single
    next neighbour is a toss that a prompt's influence does not depend on. A prompt's own purity varies by which
    neighbours happen to be there too, which is in their influence already: a quarter of that variance is taken out,
    the share with which intervals of averages cover 93 to 97 % in simulations (benchmarks/intervals.py). Without both,
    as if each prompt were left out in turn, standard errors are 1.1 to 1.6 times too large there.
    """
    boundary, purity = same.mean(axis=1), same[:, :k].mean(axis=1)
    tosses = _tosses(same, units, k, boundary)
    labels = np.asarray(categories, dtype=object)
    groups = [labels == name for name in order if (labels == name).sum() > 1]
    whole = sum(purity[group].var(ddof=1) for group in groups)
    tossed = sum(tosses[group].mean() for group in groups)
    kept = np.sqrt(max(0.0, 1 - TOSSES * tossed / whole)) if whole > 0 else 1.0
    received = received_influence(same, units, categories, order, k, boundary)
    return kept * own_influence(purity, categories, order) + received


def _tosses(same: np.ndarray, units: np.ndarray, k: int, boundary: np.ndarray) -> np.ndarray:
    """The variance of each prompt's purity by the prompts that its k nearest belong to: (n,)."""
    gains, owners = _gains(same, units, k, boundary), units[:, :k]
    tosses = np.zeros(len(gains))
    for place in range(k):  # neighbours that belong to one prompt are there together
        together = np.where(owners == owners[:, place, None], gains, 0.0).sum(axis=1)
        tosses += gains[:, place] * together
    return tosses


def _gains(same: np.ndarray, units: np.ndarray, k: int, boundary: np.ndarray) -> np.ndarray:
    """By how much each of the k nearest raises a prompt's purity: (n, k); 0 for a prompt's own, which go with it."""
    of_others = units[:, :k] != np.arange(len(units))[:, None]
    return np.where(of_others, same[:, :k] - boundary[:, None], 0.0) / k


def received_influence(
    same: np.ndarray,
    units: np.ndarray,
    categories: Sequence[str] | np.ndarray,
    order: Sequence[str],
    k: int,
    boundary: np.ndarray,
) -> np.ndarray:
    """The influence of n prompts on the mean purity of each category as neighbours of others: (n, G).

    boundary: (n,), in [0, 1], what takes the place of a neighbour. If it is whether the neighbour k + 1 counts, this is
    by how much the mean over the other prompts falls when a prompt is left out. Other parameters are as in
    `neighbor_influence`.
    """
    from scipy.sparse import csr_array

    group_of = _places(categories, order)
    sizes = np.bincount(group_of, minlength=len(order))
    gains = _gains(same, units, k, boundary) / sizes[group_of][:, None]
    rows, columns = units[:, :k].ravel(), np.repeat(group_of, k)
    return csr_array((gains.ravel(), (rows, columns)), shape=(len(units), len(order))).toarray()


def _places(categories: Sequence[str] | np.ndarray, order: Sequence[str]) -> np.ndarray:
    """The place of each category in `order`: int (n,)."""
    places = {name: i for i, name in enumerate(order)}
    return np.array([places[name] for name in categories])


def silhouette_influence(
    embeddings: np.ndarray, categories: Sequence[str], order: Sequence[str], scores: np.ndarray
) -> np.ndarray:
    """The influence of n prompts on the mean silhouette of each category.

    embeddings: (n, d). categories: n labels. order: the G distinct ones. scores: (n,), from `silhouette`.
    Returns (n, G): a prompt's own score, and its part in the mean distances of others to its category.
    """
    group_of = _places(categories, order)
    rows, sizes = unit_rows(embeddings), np.bincount(group_of)
    similarities = dot_products(rows, category_sums(rows, group_of))  # (n, G)
    mine = np.arange(len(group_of)), group_of
    others = np.maximum(sizes[group_of] - 1, 1)
    squares = np.asarray((rows * rows).sum(axis=1)).ravel()
    inside = 1 - (similarities[mine] - squares) / others
    outside = 1 - similarities / sizes
    outside[mine] = np.inf
    nearest = outside.argmin(axis=1)
    outside = outside.min(axis=1)
    alone = sizes[group_of] == 1
    larger = np.where((np.maximum(inside, outside) > 1e-12) & ~alone, np.maximum(inside, outside), np.inf)
    # (outside - inside) / larger, by `inside` and by `outside`.
    by_inside = np.where(inside < outside, -1 / larger, -outside / larger**2)
    by_outside = np.where(inside < outside, inside / larger**2, 1 / larger)
    influence = own_influence(scores, categories, order)
    for group in range(len(order)):
        members = np.flatnonzero(group_of == group)
        for part, slope, distance, size in (
            (np.full(len(members), group), by_inside, inside, sizes[group] - 1),
            (nearest[members], by_outside, outside, None),
        ):
            for category in np.unique(part):
                chosen = members[part == category]
                movers = np.flatnonzero(group_of == category)
                weights = slope[chosen]
                # Sum over the chosen of slope x (their distance from a mover - their mean distance).
                towards = dot_products(rows[movers], (weights[None, :] @ rows[chosen])).ravel()
                moved = (weights * (1 - distance[chosen])).sum() - towards
                if category == group and size is not None:
                    moved += weights * distance[chosen]  # no prompt is among those that it is compared with
                influence[movers, group] += moved / max(1, sizes[category] if size is None else size) / len(members)
    return influence


def average_similarity_influence(embeddings: np.ndarray, groups: Sequence[str], units: np.ndarray) -> np.ndarray:
    """The influence of prompts, or of pairs or groups of them, on `own_average_similarity`.

    embeddings: (n, d). groups: n names. units: int (n,), from 0, what is drawn together. Returns (number of units,).
    """
    rows = unit_rows(embeddings)
    labels = np.unique(np.asarray(list(groups), dtype=str), return_inverse=True)[1]
    sizes = np.bincount(labels).astype(np.float64)
    sums = category_sums(rows, labels)
    total = sums.sum(axis=0)
    pairs = len(labels) ** 2 - (sizes**2).sum()
    average = (total @ total - (sums * sums).sum()) / pairs
    with_all = np.asarray(rows @ total).ravel()
    with_own = np.asarray((rows * sums[labels]).sum(axis=1)).ravel()
    moved = 2 * (with_all - with_own - average * (len(labels) - sizes[labels])) / pairs
    return np.bincount(units, moved)


def normalized_influence(influence: np.ndarray, means: np.ndarray, average: float, moved: np.ndarray) -> np.ndarray:
    """The influence on mean normalized similarities, whose average similarity is of the same prompts.

    influence: (n, G), on the mean normalized similarities with the average as given. means: (G,), these. average: b.
    moved: (n,), the influence on b. Returns (n, G): norm falls by (1 - norm) / (1 - b) for a unit of b.
    """
    return influence - moved[:, None] * (1 - means)[None, :] / (1 - average)


def accuracy_influence(
    influence: np.ndarray,
    normalized: np.ndarray,
    groups: Sequence[str],
    order: Sequence[str],
    threshold: float,
    average: float,
    moved: np.ndarray,
) -> np.ndarray:
    """The influence on pairwise accuracies, whose average similarity is of the same prompts.

    influence: (n, G), with the average as given. normalized: (n, m), NaN for those that do not count; each row's mean
    is taken. groups: n names. order: G. threshold: of pairwise accuracy. average, moved: as in `normalized_influence`.
    Returns (n, G): the share below the threshold rises by its density there (a Gaussian kernel of Silverman's width)
    times (1 - threshold) / (1 - b) for a unit of b.
    """
    labels, found = np.asarray(groups, dtype=object), influence.copy()
    for column, name in enumerate(order):
        values = normalized[labels == name]
        counted = ~np.isnan(values)
        shares = counted / np.maximum(counted.sum(axis=1, keepdims=True), 1)
        values, shares = values[counted], shares[counted] / max(1, counted.any(axis=1).sum())
        width = 1.06 * values.std() * len(values) ** -0.2 if len(values) else 0.0
        if width > 0:
            kernel = np.exp(-(((values - threshold) / width) ** 2) / 2) / width / np.sqrt(2 * np.pi)
            found[:, column] += moved * (kernel @ shares) * (1 - threshold) / (1 - average)
    return found
