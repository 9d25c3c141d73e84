"""How sure a score is, and whether two encoders differ: intervals, paired tests, correction for many of them.

Everything here is of influences: how much each item moves a score. Of a mean of scores that depend on one item only,
that is an item's own deviation; where neighbours or the average similarity are made of items too, their part is added
(utils/metrics/influence.py).
"""

import functools
from collections.abc import Sequence

import numpy as np

from utils.schema import Difference

CONFIDENCE = 0.95
# A difference is called one if its p-value is below this: if its interval at CONFIDENCE leaves out 0.
ALPHA = 0.05
# The most resampled items in memory at once.
_CHUNK = 4_000_000


def own_influence(
    values: Sequence[float] | np.ndarray, strata: Sequence[str] | np.ndarray, order: Sequence[str]
) -> np.ndarray:
    """How much each item moves the mean of each stratum by its own score: its deviation over the stratum's size.

    values: n, one for each item; NaN where it is not defined. strata: n names. order: G of them.
    Returns (n, G); 0 for other strata and for undefined items.
    """
    values = np.asarray(values, dtype=np.float64)
    stratum = np.asarray(strata, dtype=object)
    influence = np.zeros((len(values), len(order)))
    for column, name in enumerate(order):
        chosen = (stratum == name) & ~np.isnan(values)
        if chosen.any():
            influence[chosen, column] = (values[chosen] - values[chosen].mean()) / chosen.sum()
    return influence


class _Strata:
    """Items by stratum, and what the means over strata are made of.

    members: indices of the items of each stratum. sizes: int (G,), how many of them count. weights: (G, G + 2), of each
    stratum in its own mean, in `average` (mean of strata) and in `overall` (mean of items).
    """

    def __init__(self, strata: Sequence[str] | np.ndarray, order: Sequence[str], counted: np.ndarray) -> None:
        stratum = np.asarray(strata, dtype=object)
        self.members = [np.flatnonzero(stratum == name) for name in order]
        self.sizes = np.array([counted[members].sum() for members in self.members])
        shares = [np.full(len(order), 1 / len(order)), self.sizes / self.sizes.sum()]
        self.weights = np.column_stack([np.eye(len(order)), *shares])

    def errors(self, influence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Standard errors and Satterthwaite's degrees of freedom, (G + 2,) each, of the means of every stratum, of
        `average` and of `overall`.

        influence: (n, G). NaN for a mean that depends on the own score of a stratum of one item.
        """
        moved = influence @ self.weights  # (n, G + 2)
        parts = np.zeros((len(self.members), moved.shape[1]))
        for part, members, size in zip(parts, self.members, self.sizes, strict=True):
            if size > 1:
                part[:] = size / (size - 1) * ((moved[members] - moved[members].mean(axis=0)) ** 2).sum(axis=0)
        variances = parts.sum(axis=0)
        freedom = np.maximum(self.sizes - 1, 1)
        tiny = np.finfo(np.float64).tiny
        freedom = np.where(
            variances > 0,
            variances**2 / np.maximum((parts**2 / freedom[:, None]).sum(axis=0), tiny),
            self.weights.astype(bool).T @ freedom,
        )
        known = ~(self.weights.astype(bool).T @ (self.sizes < 2))
        return np.where(known, np.sqrt(variances), np.nan), freedom

    def deviations(self, influence: np.ndarray, resamples: int, seed: int) -> np.ndarray:
        """How far resampled means are from the mean itself: (G + 2, resamples)."""
        moved = (influence @ self.weights).astype(np.float32)
        found = np.zeros((moved.shape[1], resamples))
        for position, (members, size) in enumerate(zip(self.members, self.sizes, strict=True)):
            if size > 1:
                columns = np.flatnonzero(moved[members].any(axis=0))
                centred = moved[np.ix_(members, columns)]
                # Single precision throughout: a scalar of double precision would double the time of the product.
                centred = (centred - centred.mean(axis=0)) * np.float32(np.sqrt(size / (size - 1)))
                found[columns] += _resampled_sums(centred, resamples, seed, position).T
        return found


def bootstrap_intervals(
    values: np.ndarray,
    strata: Sequence[str] | np.ndarray,
    order: Sequence[str],
    resamples: int,
    seed: int = 42,
    bounds: tuple[float, float] | None = None,
    influence: np.ndarray | None = None,
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the mean of each stratum, and of `average` (mean of those) and `overall` (mean of all items).

    values: n, one for each item, NaN where it is not defined. strata: n names; items are resampled within each. order:
    the G strata in the order of the random draws; each has a defined value. bounds: the smallest and largest possible
    value, if there are such. influence: (n, G), how much each item moves the mean of each stratum; `own_influence` if
    None, which is right if a score depends on its own item only.
    Returns (low, high) by stratum name, `average` and `overall`. A stratum of one item has no interval, and then
    `average` and `overall` have none either.

    Expanded percentile intervals (Hesterberg 2015, arXiv 1411.5279) of the mean's linear expansion in its items, which
    for scores of one item is the mean itself: the percentile bootstrap of a mean of n items is too narrow by
    sqrt((n - 1) / n), and because it uses quantiles of the normal distribution instead of Student's. Both are
    corrected, with Satterthwaite's degrees of freedom over strata. benchmarks/intervals.py prints the coverage. If all
    values of a stratum are at the same bound, the exact binomial limit is used instead.
    """
    from scipy.special import ndtr, stdtrit

    values = np.asarray(values, dtype=np.float64)
    counted = ~np.isnan(values)
    of = _Strata(strata, order, counted)
    influence = own_influence(values, strata, order) if influence is None else influence
    errors, freedom = of.errors(influence)
    deviations = of.deviations(influence, resamples, seed)
    means = np.array([values[members][counted[members]].mean() for members in of.members]) @ of.weights
    tail = (1 - CONFIDENCE) / 2
    shares = ndtr(stdtrit(freedom, tail))
    intervals = {}
    for column, name in enumerate((*order, "average", "overall")):
        if np.isnan(errors[column]):
            continue
        chosen = np.concatenate([of.members[i] for i in np.flatnonzero(of.weights[:, column])])
        chosen = values[chosen][counted[chosen]]
        mean = means[column]
        if bounds is not None and chosen.min() == chosen.max() and chosen[0] in bounds:
            # With all n values at a bound, the share of different values is below 1 - tail^(1/n) at this confidence,
            # and each differs by at most the whole range.
            reach = (1 - tail ** (1 / len(chosen))) * (bounds[1] - bounds[0])
            low, high = (mean - reach, mean) if chosen[0] == bounds[1] else (mean, mean + reach)
        else:
            low, high = mean + np.quantile(deviations[column], [shares[column], 1 - shares[column]])
            if bounds is not None:
                low, high = max(low, bounds[0]), min(high, bounds[1])
        intervals[name] = float(low), float(high)
    return intervals


def _resampled_sums(values: np.ndarray, resamples: int, seed: int, stratum: int) -> np.ndarray:
    """The sums over resampled items: (resamples, columns). values: float32 (n, columns)."""
    n = len(values)
    rows = max(1, _CHUNK // n)
    # The chunks of many items would replace each other in the cache before they are used again.
    counted = _kept_counts if 4 * rows >= resamples else _resample_counts
    parts = []
    for chunk, start in enumerate(range(0, resamples, rows)):
        counts = counted(n, min(rows, resamples - start), seed, stratum, chunk)
        parts.append(counts @ values)
    return np.concatenate(parts)


def _resample_counts(n: int, resamples: int, seed: int, stratum: int, chunk: int) -> np.ndarray:
    """How often each item occurs in each resample: float32 (resamples, n), the same for every metric of these items."""
    drawn = np.random.default_rng([seed, stratum, chunk]).integers(0, n, (resamples, n))
    drawn += np.arange(resamples)[:, None] * n
    return np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float32)


# The strata of all tasks, which every encoder needs again: 86 MB on the paper's data, at most 480 MB.
_kept_counts = functools.lru_cache(maxsize=30)(_resample_counts)


def tested_difference(value: float, error: float, freedom: float, items: int) -> Difference:
    """The difference `value` with its interval and p-value. error: its standard error, NaN if there is none.

    freedom: Student's degrees of freedom. items: how many it is of. If it does not vary, p is 1 for no difference, else
    2 / 2^items, as of a sign test, and the interval is that for as many items that all are on one side.
    """
    from scipy.special import stdtr, stdtrit

    if np.isnan(error):
        return Difference(float(value))
    tail = (1 - CONFIDENCE) / 2
    if error <= 1e-6 * max(abs(value), 1e-3):
        if abs(value) < 1e-9:
            return Difference(0.0, 0.0, 0.0, 1.0)
        reach, p = 2 * abs(value) * (1 - tail ** (1 / items)), 2 * 0.5**items
    else:
        reach, p = -error * stdtrit(freedom, tail), 2 * stdtr(freedom, -abs(value) / error)
    return Difference(float(value), float(value - reach), float(value + reach), float(min(p, 1)))


def paired_differences(
    differences: np.ndarray, influence: np.ndarray, strata: Sequence[str] | np.ndarray, order: Sequence[str]
) -> dict[str, Difference]:
    """The differences of two encoders' means in each stratum, of `average` and of `overall`.

    differences: n, one encoder's scores of n items minus the other's. influence: (n, G), that of the first minus that
    of the second: items are paired, and stratified as in `bootstrap_intervals`.
    """
    of = _Strata(strata, order, np.ones(len(differences), dtype=bool))
    means = np.array([differences[members].mean() for members in of.members]) @ of.weights
    errors, freedom = of.errors(influence)
    items = of.weights.astype(bool).T @ of.sizes
    names = (*order, "average", "overall")
    return dict(zip(names, map(tested_difference, means, errors, freedom, items), strict=True))


def grouped_resamples(
    clusters: Sequence[int] | np.ndarray,
    labels: Sequence[int] | np.ndarray,
    resamples: int,
    seed: int | Sequence[int] = 42,
) -> np.ndarray:
    """How often each of n items occurs in each resample of whole clusters: uint16 (resamples, n).

    The arguments are those of `cluster_resamples`.
    """
    members = np.unique(np.asarray(clusters), return_inverse=True)[1]
    return cluster_resamples(clusters, labels, resamples, seed)[:, members]


def cluster_resamples(
    clusters: Sequence[int] | np.ndarray,
    labels: Sequence[int] | np.ndarray,
    resamples: int,
    seed: int | Sequence[int] = 42,
) -> np.ndarray:
    """How often each cluster, in ascending order, occurs in each resample: uint16 (resamples, clusters).

    clusters: n; items of a cluster are drawn together. labels: n, from 0; clusters are resampled among those with items
    of the same labels, so that no resample lacks a class. seed: different for each of several sets, as sets of the same
    size would be resampled alike.
    """
    members = np.unique(np.asarray(clusters), return_inverse=True)[1]
    has = np.zeros((members.max() + 1, np.max(labels) + 1), dtype=int)
    has[members, np.asarray(labels)] = 1
    kinds = has @ (1 << np.arange(has.shape[1]))  # which labels a cluster has, as bits
    strata = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK // len(members))
    counts = np.empty((resamples, len(has)), dtype=np.uint16)
    for start in range(0, resamples, rows):
        part = min(rows, resamples - start)
        for stratum in strata:
            drawn = generator.integers(0, len(stratum), (part, len(stratum)))
            drawn += np.arange(part)[:, None] * len(stratum)
            found = np.bincount(drawn.ravel(), minlength=part * len(stratum)).reshape(part, -1)
            counts[start : start + part, stratum] = found
    return counts


def grouped_interval(
    value: float, replicates: np.ndarray, clusters: int, bounds: tuple[float, float] = (0.0, 1.0)
) -> tuple[float, float]:
    """The 95 % interval of a number from its values in resamples of whole clusters.

    value: the number itself. replicates: (resamples,). clusters: the number of clusters, at least 2; of the rarer class
    if there are two. An expanded percentile interval, as in bootstrap_intervals; if no resample differs and the number
    is at a bound, the exact binomial limit for so many clusters.
    """
    from scipy.special import ndtr, stdtrit

    tail = (1 - CONFIDENCE) / 2
    at = np.abs(np.array(bounds) - value) < 1e-9  # areas of resamples may differ by rounding
    if at.any() and np.ptp(replicates) < 1e-9:
        reach = (1 - tail ** (1 / clusters)) * (bounds[1] - bounds[0])
        return (bounds[0], bounds[0] + reach) if at[0] else (bounds[1] - reach, bounds[1])
    wider = np.sqrt(clusters / (clusters - 1))
    share = ndtr(stdtrit(clusters - 1, tail))
    low, high = value + (np.quantile(replicates, [share, 1 - share]) - value) * wider
    return float(max(low, bounds[0])), float(min(high, bounds[1]))


def exact_interval(share: float, items: float) -> tuple[float, float]:
    """The exact 95 % interval of a share of independent items (Clopper and Pearson 1934).

    share: in [0, 1]. items: how many it is of; need not be whole, as an effective size is not. It holds too for the
    share of all that a threshold flags which was chosen to flag this share of the items: that share is the one of an
    order statistic, whose distribution is between the two betas that the limits are of.
    """
    from scipy.special import betaincinv

    tail, flagged = (1 - CONFIDENCE) / 2, share * items
    low = betaincinv(flagged, items - flagged + 1, tail) if flagged > 0 else 0.0
    high = betaincinv(flagged + 1, items - flagged, 1 - tail) if flagged < items else 1.0
    return float(low), float(high)


def grouped_difference(value: float, replicates: np.ndarray, clusters: int) -> Difference:
    """A difference from its values in resamples of whole clusters: (resamples,). clusters: as in `grouped_interval`."""
    if clusters < 2:
        return Difference(float(value))
    error = float(np.std(replicates, ddof=1)) * np.sqrt(clusters / (clusters - 1))
    return tested_difference(value, error, clusters - 1, clusters)


def effect_size(differences: np.ndarray) -> float:
    """Cohen's d of paired differences: their mean over their standard deviation; 0 if all are 0.

    differences: n, at least 2. Infinite if all are equal and not 0.
    """
    differences = np.asarray(differences, dtype=np.float64)
    mean, deviation = differences.mean(), differences.std(ddof=1)
    if deviation == 0:
        return 0.0 if mean == 0 else float(np.copysign(np.inf, mean))
    return float(mean / deviation)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p-values corrected by Holm's step-down method, in the given order; each at most 1. None stays, uncounted.

    Calling those below 0.05 different makes an error in at most 5 % of families. Holm 1979.
    """
    there = [i for i, p in enumerate(p_values) if p is not None]
    p = np.array([p_values[i] for i in there], dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected: list[float | None] = [None] * len(p_values)
    for at, value in zip(order, np.minimum(stepped, 1).tolist(), strict=True):
        corrected[there[at]] = value
    return corrected
