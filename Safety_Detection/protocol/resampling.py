"""Prompts resampled in whole groups, and numbers with their values in the resamples."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from utils.metrics import detection as dm
from utils.metrics.detection import OF_CURVE
from utils.metrics.uncertainty import grouped_difference, grouped_interval
from utils.schema import Difference


@dataclass(frozen=True)
class Drawn:
    """A number, and what it is in each of the resamples, (resamples,). groups: how many it is of."""

    value: float
    replicates: np.ndarray
    groups: int

    def interval(self, bounds: tuple[float, float] = (0.0, 1.0)) -> tuple[float, float] | tuple[None, None]:
        """The 95 % interval; (None, None) without resamples and for one group. bounds: of the number."""
        if not len(self.replicates) or self.groups < 2:
            return None, None
        return grouped_interval(self.value, self.replicates, self.groups, bounds)

    def less(self, other: "Drawn") -> Difference:
        """The difference from another number of the same prompts in the same resamples."""
        if not len(self.replicates):
            return Difference(self.value - other.value)
        return grouped_difference(self.value - other.value, self.replicates - other.replicates, self.groups)


def mean_of(numbers: Sequence[Drawn], groups: int) -> Drawn:
    """The mean of numbers, drawn together where they are of the same prompts. groups: of all their prompts."""
    value = float(np.mean([one.value for one in numbers]))
    return Drawn(value, np.mean([one.replicates for one in numbers], axis=0), groups)


def groups_of(labels: np.ndarray, clusters: np.ndarray) -> int:
    """The number of groups of the class that has fewer, of those that are there. labels, clusters: (n,)."""
    return min(len(np.unique(clusters[labels == label])) for label in np.unique(labels))


@dataclass(frozen=True)
class Resampling:
    """n prompts, resampled in whole groups: the same resamples for every detector.

    labels, clusters: (n,). weights: (resamples, n), what each of the prompts counts in each resample. once: (n,), what
    each counts in the prompts themselves, 1 if None.
    """

    labels: np.ndarray
    clusters: np.ndarray
    weights: np.ndarray
    once: np.ndarray | None = None

    def only(self, chosen: np.ndarray) -> "Resampling":
        """The chosen ones of the prompts."""
        once = None if self.once is None else self.once[chosen]
        return Resampling(self.labels[chosen], self.clusters[chosen], self.weights[:, chosen], once)

    def beside(self, other: "Resampling") -> "Resampling":
        """These prompts, then those of another set, each in its own resamples."""
        labels, clusters = np.append(self.labels, other.labels), np.append(self.clusters, other.clusters)
        return Resampling(labels, clusters, np.hstack([self.weights, other.weights]))

    @functools.cached_property
    def groups(self) -> int:
        """The number of groups of the class that has fewer, of those that are there."""
        return groups_of(self.labels, self.clusters)

    def of_curve(self, scores: np.ndarray, names: Iterable[str] = tuple(OF_CURVE)) -> dict[str, Drawn]:
        """The named metrics of OF_CURVE."""
        ranking = dm.Ranking(self.labels, scores)
        once, drawn = ranking.curve(), ranking.curve(self.weights)
        values = {name: OF_CURVE[name][1] for name in names}
        return {name: Drawn(float(of(once)), of(drawn).astype(np.float64), self.groups) for name, of in values.items()}

    def share(self, flags: np.ndarray) -> Drawn:
        """The share of the prompts that are flagged; in resamples that have any of them."""
        weights = self.weights.astype(np.float64)
        totals = weights.sum(axis=1)
        drawn = (weights[totals > 0] @ flags) / totals[totals > 0]
        return Drawn(float(np.average(flags, weights=self.once)), drawn, self.groups)

    def f1(self, flags: np.ndarray) -> Drawn:
        """The harmonic mean of precision and recall of the flags."""
        unsafe = self.labels == 1

        def of(weights: np.ndarray) -> np.ndarray:
            return 2 * (weights @ (flags & unsafe)) / (weights @ flags + weights @ unsafe)

        return Drawn(float(of(np.ones(len(flags)))), of(self.weights.astype(np.float64)), self.groups)
