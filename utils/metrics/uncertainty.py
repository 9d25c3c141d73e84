"""How sure a mean is, and whether two encoders differ: intervals, paired tests, correction for many of them."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from utils.schema import PValue

CONFIDENCE = 0.95
# Up to so many items all sign flips are tried (2^16); beyond, they are drawn at random.
EXACT_UP_TO = 16
# The most resampled items, or signs, in memory at once.
_CHUNK = 4_000_000


def bootstrap_intervals(
    values: np.ndarray,
    strata: Sequence[str],
    order: Sequence[str],
    resamples: int,
    seed: int = 42,
    bounds: tuple[float, float] | None = None,
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the mean of each stratum, and of `average` (mean of those) and `overall` (mean of all items).

    values: n finite numbers, one for each item. strata: n names; items are resampled within each. order: the strata in
    the order of the random draws. bounds: the smallest and largest possible value, if there are such.
    Returns (low, high) by stratum name, `average` and `overall`. A stratum of one item has no interval, and then
    `average` and `overall` have none either.

    Expanded percentile intervals (Hesterberg 2015, arXiv 1411.5279): the percentile bootstrap of a mean of n items is
    too narrow by sqrt((n - 1) / n), and because it uses quantiles of the normal distribution instead of Student's.
    Both are corrected, with Satterthwaite's degrees of freedom for means over strata. In simulations at n = 25 the
    percentile interval covers 93 % and this one 95 % (tests/metrics/test_uncertainty.py). If all values of a stratum
    are at the same bound, no resample differs, and the exact binomial limit is used instead.
    """
    values = np.asarray(values, dtype=np.float64)
    strata = np.asarray(strata, dtype=object)
    means, sizes, variances, replicates, intervals = [], [], [], [], {}
    complete = True
    for position, name in enumerate(order):
        group = values[strata == name]
        n = len(group)
        if n < 2:
            complete = False
            continue
        mean, variance = group.mean(), group.var(ddof=1) / n
        deviations = _resampled_means(group - mean, resamples, seed, position) * np.sqrt(n / (n - 1))
        intervals[name] = _expanded(mean, deviations, n - 1, group, bounds)
        means.append(mean)
        sizes.append(n)
        variances.append(variance)
        replicates.append(deviations)
    if complete and means:
        sizes = np.array(sizes, dtype=np.float64)
        for name, weights in (("average", np.full(len(means), 1 / len(means))), ("overall", sizes / sizes.sum())):
            parts = weights**2 * np.array(variances)
            freedom = parts.sum() ** 2 / (parts**2 / (sizes - 1)).sum() if parts.any() else sizes.sum() - len(sizes)
            intervals[name] = _expanded(
                float(weights @ means),
                sum(w * r for w, r in zip(weights, replicates, strict=True)),
                freedom,
                values,
                bounds,
            )
    return intervals


def _resampled_means(values: np.ndarray, resamples: int, seed: int, stratum: int) -> np.ndarray:
    n = len(values)
    rows = max(1, _CHUNK // n)
    # The chunks of many items would replace each other in the cache before they are used again.
    counted = _kept_counts if rows >= resamples else _resample_counts
    parts = []
    for chunk, start in enumerate(range(0, resamples, rows)):
        counts = counted(n, min(rows, resamples - start), seed, stratum, chunk)
        parts.append(counts.astype(np.float32) @ values.astype(np.float32) / n)
    return np.concatenate(parts)  # (resamples,)


def _resample_counts(n: int, resamples: int, seed: int, stratum: int, chunk: int) -> np.ndarray:
    """How often each item occurs in each resample: (resamples, n). The same for every metric of the same items."""
    drawn = np.random.default_rng([seed, stratum, chunk]).integers(0, n, (resamples, n))
    drawn += np.arange(resamples)[:, None] * n
    return np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.uint16)


# The strata of a task: 19 MB on the paper's data, at most 128 MB.
_kept_counts = functools.lru_cache(maxsize=16)(_resample_counts)


def _expanded(
    mean: float, deviations: np.ndarray, freedom: float, values: np.ndarray, bounds: tuple[float, float] | None
) -> tuple[float, float]:
    from scipy.special import ndtr, stdtrit

    tail = (1 - CONFIDENCE) / 2
    if bounds is not None and values.min() == values.max() and values[0] in bounds:
        # With all n values at a bound, the share of different values is below 1 - tail^(1/n) at this confidence, and
        # each differs by at most the whole range.
        reach = (1 - tail ** (1 / len(values))) * (bounds[1] - bounds[0])
        return (mean - reach, mean) if values[0] == bounds[1] else (mean, mean + reach)
    share = ndtr(stdtrit(freedom, tail))
    low, high = mean + np.quantile(deviations, [share, 1 - share])
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return float(low), float(high)


def grouped_resamples(
    clusters: Sequence[int], labels: Sequence[int], resamples: int, seed: int | Sequence[int] = 42
) -> Iterator[np.ndarray]:
    """How often each of n items occurs in each resample of whole clusters: parts of (resamples, n), uint16.

    The arguments are those of `cluster_resamples`.
    """
    members = np.unique(np.asarray(clusters), return_inverse=True)[1]
    for counts in cluster_resamples(clusters, labels, resamples, seed):
        yield counts[:, members]


def cluster_resamples(
    clusters: Sequence[int], labels: Sequence[int], resamples: int, seed: int | Sequence[int] = 42
) -> Iterator[np.ndarray]:
    """How often each cluster, in ascending order, occurs in each resample: parts of (resamples, clusters), uint16.

    clusters: n; items of a cluster are drawn together. labels: n; clusters are resampled among those with items of the
    same labels, so that no resample lacks a class. seed: different for each of several sets, as sets of the same size
    would be resampled alike.
    """
    members = np.unique(np.asarray(clusters), return_inverse=True)[1]
    labels = np.asarray(labels)
    has = np.zeros((members.max() + 1, 2), dtype=bool)
    has[members, labels] = True
    strata = [np.flatnonzero((has == wanted).all(axis=1)) for wanted in ((True, False), (False, True), (True, True))]
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK // len(members))
    for start in range(0, resamples, rows):
        part = min(rows, resamples - start)
        counts = np.zeros((part, len(has)), dtype=np.uint16)
        for stratum in filter(len, strata):
            drawn = generator.integers(0, len(stratum), (part, len(stratum)))
            drawn += np.arange(part)[:, None] * len(stratum)
            counts[:, stratum] = np.bincount(drawn.ravel(), minlength=part * len(stratum)).reshape(part, -1)
        yield counts


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


def resampled_p_value(difference: float, replicates: np.ndarray) -> PValue:
    """Two-sided p-value that a paired difference is 0, from its values in resamples of the same items.

    replicates: (resamples,). The share of replicates at least as far from the difference as it is from 0, the
    difference itself counted once.
    """
    distance = np.abs(np.asarray(replicates) - difference)
    beyond = int((distance >= abs(difference) - 1e-12).sum())
    return PValue((1 + beyond) / (1 + len(distance)), least=beyond == 0)


def sign_flip_p_values(
    differences: np.ndarray, weights: np.ndarray | None = None, flips: int = 100_000, seed: int = 42
) -> list[PValue]:
    """Two-sided p-values of paired permutation tests that positive and negative differences are equally likely.

    differences: (tests, n), one encoder's scores of n items minus another's, for each test. weights: n, of each item in
    the mean (1/n if None). The statistic is the absolute weighted mean; its distribution is that over all 2^n choices
    of signs, all of them up to 16 items, else `flips` drawn at random, the observed one among them. The tests share
    the choices.
    """
    differences = np.asarray(differences, dtype=np.float64)
    n = differences.shape[1]
    weighted = differences * (1 / n if weights is None else np.asarray(weights, dtype=np.float64))  # (tests, n)
    # Sums in a different order differ by rounding, which must not count as a difference.
    observed = np.abs(weighted.sum(axis=1)) - 1e-12 * np.abs(weighted).sum(axis=1)
    extreme, tried = np.zeros(len(weighted), dtype=np.int64), 0
    for signs in _signs(n, flips, seed):
        extreme += (np.abs(signs @ weighted.T) >= observed).sum(axis=0)
        tried += len(signs)
    if n <= EXACT_UP_TO:
        # An item without a difference doubles the choices that are as extreme.
        least = 2 * 2.0 ** (weighted == 0).sum(axis=1)
    else:
        extreme, tried, least = extreme + 1, tried + 1, np.ones(len(weighted))
    return [
        PValue(float(count / tried), bool(count <= fewest < tried))
        for count, fewest in zip(extreme, least, strict=True)
    ]


def _signs(n: int, flips: int, seed: int) -> Iterator[np.ndarray]:
    """Choices of signs of n items, in parts of (choices, n): all if there are few items, else so many at random."""
    if n <= EXACT_UP_TO:
        yield 1.0 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return
    generator, chunk = np.random.default_rng(seed), max(1, _CHUNK // n)
    for start in range(0, flips, chunk):
        yield 1.0 - 2 * generator.integers(0, 2, (min(chunk, flips - start), n), dtype=np.int8)


def effect_size(differences: np.ndarray) -> float:
    """Cohen's d of paired differences: their mean over their standard deviation; 0 if all are 0.

    differences: n, at least 2. Infinite if all are equal and not 0.
    """
    differences = np.asarray(differences, dtype=np.float64)
    mean, deviation = differences.mean(), differences.std(ddof=1)
    if deviation == 0:
        return 0.0 if mean == 0 else float(np.copysign(np.inf, mean))
    return float(mean / deviation)


def holm(p_values: Sequence[PValue]) -> list[PValue]:
    """The p-values corrected by Holm's step-down method, in the given order; each at most 1.

    Calling those of 0.05 or less different makes an error in at most 5 % of families. Holm 1979.
    """
    p = np.array([one.value for one in p_values], dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1)
    return [PValue(value, one.least) for one, value in zip(p_values, corrected.tolist(), strict=True)]
