"""Triples to tune on: an unsafe prompt, an unsafe one of the same hazard from another set, and a safe one near it."""

from dataclasses import dataclass

import numpy as np

from Safety_Tuning.training_side import TrainingSide
from utils.metrics.neighbors import largest_columns

# How many of the nearest safe prompts are negatives, and how many of the nearest unsafe prompts of other sets are
# positives of a prompt without a hazard.
NEGATIVES, POSITIVES = 8, 10
# Rows whose similarities to all others are in memory at once.
_BLOCK_ROWS = 512


@dataclass(frozen=True)
class Batch:
    """What one step is taken on: indices of prompts of the training side.

    anchors, positives, negatives: (t,) each, the unsafe prompt, its positive and its negative. ordinary: (p,), prompts
    whose similarities to each other are to stay as they are.
    """

    anchors: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    ordinary: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """All of them, in this order: (3 t + p,)."""
        return np.concatenate([self.anchors, self.positives, self.negatives, self.ordinary])


class Triples:
    """The candidates of every anchor, by the cosines of the base.

    hazards: int (n,), the number of each prompt's hazard, -1 if it has none.
    """

    def __init__(self, side: TrainingSide, base: np.ndarray, rows: np.ndarray) -> None:
        """base: float32 (n, d), the base's vectors of length 1 of the side's prompts. rows: those that are tuned on."""
        names = sorted(set(filter(None, side.hazards)))
        number = {name: place for place, name in enumerate(names)}
        self.hazards = np.array([number.get(hazard, -1) for hazard in side.hazards])
        unsafe, safe = rows[side.labels[rows] == 1], rows[side.labels[rows] == 0]
        _, sets = np.unique(side.sets, return_inverse=True)
        negatives, positives, anchors = [], [], []
        for start in range(0, len(unsafe), _BLOCK_ROWS):
            block = unsafe[start : start + _BLOCK_ROWS]
            near_safe = safe[largest_columns(base[block] @ base[safe].T, min(NEGATIVES, len(safe)))]
            to_unsafe = base[block] @ base[unsafe].T
            for anchor, negative, cosines in zip(block, near_safe, to_unsafe, strict=True):
                elsewhere = sets[unsafe] != sets[anchor]
                if self.hazards[anchor] >= 0:
                    candidates = unsafe[elsewhere & (self.hazards[unsafe] == self.hazards[anchor])]
                elif elsewhere.any():
                    most = min(POSITIVES, int(elsewhere.sum()))
                    candidates = unsafe[elsewhere][largest_columns(cosines[None, elsewhere], most)[0]]
                else:
                    continue
                if len(candidates):
                    anchors.append(anchor)
                    positives.append(candidates)
                    negatives.append(negative)
        self.anchors, self.positives, self.negatives = np.array(anchors, dtype=int), positives, negatives
        # Sets are drawn in proportion to the square root of their size, as detectors weigh them.
        _, of, sizes = np.unique(sets[self.anchors], return_inverse=True, return_counts=True)
        weights = 1 / np.sqrt(sizes[of])
        self.shares = weights / weights.sum()
        self.ordinary = np.union1d(rows[side.ordinary[rows]], np.concatenate([*negatives, np.array([], dtype=int)]))

    def batch(self, drawn: np.random.Generator, triples: int, ordinary: int) -> Batch:
        """A batch of random triples and ordinary prompts."""
        places = drawn.choice(len(self.anchors), triples, p=self.shares)
        return Batch(
            anchors=self.anchors[places],
            positives=np.array([drawn.choice(self.positives[place]) for place in places]),
            negatives=np.array([drawn.choice(self.negatives[place]) for place in places]),
            ordinary=drawn.choice(self.ordinary, min(ordinary, len(self.ordinary)), replace=False),
        )


def drawn_evenly(side: TrainingSide, rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Of these rows at most so many of each set and class, drawn at random, in order."""
    drawn, kinds = np.random.default_rng(seed), [(side.sets[row], int(side.labels[row])) for row in rows]
    chosen = []
    for kind in dict.fromkeys(kinds):
        of_kind = rows[[one == kind for one in kinds]]
        chosen.append(of_kind if len(of_kind) <= most else drawn.choice(of_kind, most, replace=False))
    return np.sort(np.concatenate(chosen))
