"""Per-item scores are summarised by group, with intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from utils.metrics.uncertainty import bootstrap_intervals
from utils.schema import Metric


def summarise(  # noqa: PLR0913 (most are keywords with defaults)
    metric: str,
    values: ArrayLike,
    groups: Sequence[str] | np.ndarray,
    group_order: Sequence[str],
    better: str,
    chance: ArrayLike | None = None,
    ceiling: ArrayLike | None = None,
    resamples: int = 0,
    seed: int = 42,
    bounds: tuple[float, float] | None = None,
    influence: np.ndarray | None = None,
) -> list[Metric]:
    """Means of per-item scores: one for each group, then `average` (mean over groups) and `overall` (mean over items).

    values, groups, chance, ceiling: n each; items whose value is NaN (not defined for them) are left out.
    better: `lower` or `higher`. resamples: of the bootstrap that gives the 95 % intervals, 0 for none. bounds: the
    smallest and largest possible value, if there are such. influence: (n, groups in order), how much each item moves
    the mean of each group; None if a score depends on its own item only.
    """
    scores, strata = np.asarray(values, dtype=np.float64), np.asarray(groups, dtype=object)
    defined = ~np.isnan(scores)
    if not defined.any():
        return []

    def over(chosen: np.ndarray, column: ArrayLike | None) -> float | None:
        return None if column is None else float(np.asarray(column, dtype=np.float64)[chosen].mean())

    rows: list[tuple] = []
    present = [group for group in group_order if (defined & (strata == group)).any()]
    for group in present:
        chosen = defined & (strata == group)
        means = (over(chosen, scores), over(chosen, chance), over(chosen, ceiling))
        rows.append((group, int(chosen.sum()), *means))

    def mean_of_groups(column: int) -> float | None:
        return None if rows[0][column] is None else float(np.mean([row[column] for row in rows]))

    n = int(defined.sum())
    rows.append(("average", n, mean_of_groups(2), mean_of_groups(3), mean_of_groups(4)))
    rows.append(("overall", n, over(defined, scores), over(defined, chance), over(defined, ceiling)))
    intervals: Mapping[str, tuple[float | None, float | None]] = {}
    if resamples:
        if influence is not None:
            influence = influence[:, [list(group_order).index(group) for group in present]]
        intervals = bootstrap_intervals(scores, strata, present, resamples, seed, bounds, influence)
    return [
        Metric(metric, group, value, n, better, *intervals.get(group, (None, None)), chance=by_chance, ceiling=at_most)
        for group, n, value, by_chance, at_most in rows
    ]
