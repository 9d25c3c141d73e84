"""The two methods of tuning: a linear layer on the base's vectors, or the top layers of a transformer."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from Safety_Tuning import layers as tuned_layers
from Safety_Tuning import linear
from Safety_Tuning.choice import Candidate, Progress
from Safety_Tuning.training_side import TrainingSide
from Safety_Tuning.triples import Triples
from Safety_Tuning.tuned_folder import add_layer


class Linear:
    """One linear layer. base: float32 (n, d), the base's vectors of length 1 of the side's prompts."""

    def __init__(self, side: TrainingSide, base: np.ndarray, how: linear.Training) -> None:
        self._side, self._base, self._how, self.steps = side, base, how, how.steps

    def trained(self, rows: np.ndarray, seed: int, progress: Progress) -> np.ndarray:
        triples = Triples(self._side.only(rows), self._base[rows])
        return linear.trained(triples, self._base[rows], self._how, seed, progress)

    def mean(self, trained: Sequence[np.ndarray]) -> np.ndarray:
        return np.mean(trained, axis=0)

    def vectors(self, trained: np.ndarray, share: float, rows: np.ndarray) -> np.ndarray:
        tuned = self._base[rows] @ linear.between(trained, share).T
        return tuned / np.linalg.norm(tuned, axis=1, keepdims=True)

    def put(self, model: Any, trained: np.ndarray, chosen: Candidate, vectors: np.ndarray) -> Any:
        matrix = linear.between(trained, chosen.share)
        if chosen.exponent:
            matrix = linear.scaled_rotation(vectors, chosen.exponent) @ matrix
        return matrix if model is None else add_layer(model, matrix)


class Layers:
    """The top layers of a transformer. split: the base, cut below them."""

    def __init__(
        self, side: TrainingSide, base: np.ndarray, how: tuned_layers.Training, split: tuned_layers.Split
    ) -> None:
        self._side, self._base, self._how, self._split, self.steps = side, base, how, split, how.steps

    def trained(self, rows: np.ndarray, seed: int, progress: Progress) -> Any:
        part = self._side.only(rows)
        triples = Triples(part, self._base[rows])
        return self._split.trained(part.prompts, triples, self._base[rows], self._how, seed, progress)

    def mean(self, trained: Sequence[Any]) -> Any:
        return self._split.mean(trained)

    def vectors(self, trained: Any, share: float, rows: np.ndarray) -> np.ndarray:
        return self._split.encode(self._split.between(trained, share), [self._side.prompts[row] for row in rows])

    def put(self, model: Any, trained: Any, chosen: Candidate, vectors: np.ndarray) -> Any:
        self._split.put(self._split.between(trained, chosen.share))
        return add_layer(model, linear.scaled_rotation(vectors, chosen.exponent)) if chosen.exponent else model
