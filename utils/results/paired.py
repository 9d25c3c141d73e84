"""The differences of two results of the same items."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from utils.metrics.uncertainty import own_influence, paired_differences
from utils.schema import Difference, InputError, Metric, Result


@dataclass(frozen=True)
class Scores:
    """An encoder's result, with its items, and of one metric the items' values and influences; none in detection.

    influence: (n, G), of the items on the mean of each group.
    """

    result: Result
    values: Sequence[float] = ()
    influence: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))


def groups_of(result: Result, metric: str) -> list[str]:
    """The types or categories of a result with items, in its order."""
    there = set(result.groups)
    return [m.group for m in result.by_group(metric) if m.group in there]


def item_scores(result: Result, metric: str) -> Scores:
    """The values of `metric` of a result's items, and how much each moves the mean of each group.

    Raises InputError if an item has no such number.
    """
    values = result.items[metric]
    if any(isinstance(value, str) or math.isnan(value) for value in values):
        name = f"{result.encoder.name} on {result.task}"
        raise InputError(f"{name}: '{metric}' is not a number for every item; run the task again")
    influence = result.influence.get(metric)
    if influence is None:
        influence = own_influence(values, result.groups, groups_of(result, metric))
    return Scores(result, values, influence)


def differences_by_group(one: Scores, other: Scores, metric: str) -> dict[str, Difference]:
    """The paired differences of two encoders' means in each group, of `average` and of `overall`."""
    gaps, influence = np.subtract(one.values, other.values), one.influence - other.influence
    return paired_differences(gaps, influence, one.result.groups, groups_of(one.result, metric))


def item_differences(results: Sequence[Result], of: Metric) -> list[Difference]:
    """The difference of each further result from the first in the mean that `of` is, paired by items.

    results: of one task on the same items, with them.
    """
    first, *others = (item_scores(result, of.metric) for result in results)
    return [differences_by_group(other, first, of.metric)[of.group] for other in others]
