"""Texts read in parts: whose vectors are whose, and which score counts."""

from collections.abc import Sequence

import numpy as np


def first_of_highest(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The first part of each text with its highest value: int (n,).

    values: (p,), of the parts of all texts, one text after the other. starts: (n,), the first part of each text.
    """
    if len(starts) == len(values):
        return starts
    best = np.maximum.reduceat(values, starts)
    hits = np.flatnonzero(values == np.repeat(best, np.diff(starts, append=len(values))))
    return hits[np.searchsorted(hits, starts)]


def highest(scores: np.ndarray, known: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The score of each text, (n,): the highest of its parts that have a known word, of the first part if none has.

    scores: (p,). known: bool (p,). starts: as of `first_of_highest`.
    """
    return scores[first_of_highest(np.where(known, scores, -np.inf), starts)]


def any_of(flags: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Whether any part of each text has a flag: bool (n,). flags: bool (p,). starts: as of `first_of_highest`."""
    return np.logical_or.reduceat(flags, starts) if len(starts) else np.zeros(0, dtype=bool)


class Parts:
    """By which vectors a prompt is scored: that of the whole prompt, and those of its parts; the highest score counts.

    The first n vectors are those of the n prompts. of: int (m,), ascending, the prompt of each further vector.
    """

    def __init__(self, prompts: int, of: Sequence[int] | np.ndarray = ()) -> None:
        self.prompts, self.of = prompts, np.asarray(of, dtype=np.int64)

    @property
    def owners(self) -> np.ndarray:
        """The prompt of each vector: int (n + m,)."""
        return np.concatenate([np.arange(self.prompts), self.of])

    def rows(self, prompts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The vectors of some prompts, one prompt after the other and the whole one first, and where each begins."""
        first, end = (np.searchsorted(self.of, prompts, side) for side in ("left", "right"))
        sizes = 1 + end - first
        starts = np.cumsum(sizes) - sizes
        place = np.arange(sizes.sum()) - np.repeat(starts, sizes)
        further = np.repeat(self.prompts + first, sizes) + place - 1
        return np.where(place == 0, np.repeat(prompts, sizes), further), starts
