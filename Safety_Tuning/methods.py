"""Tunes modules of an encoder on triples: what both methods share, and the first, a linear layer on its vectors."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from Safety_Tuning.candidate import Candidate, scaled_rotation
from Safety_Tuning.losses import total_loss
from Safety_Tuning.training_side import TrainingSide
from Safety_Tuning.triples import Triples
from Safety_Tuning.tuned_folder import add_layer


@dataclass(frozen=True)
class Training:
    """How modules are trained.

    weights: of the losses, supervised contrastive, twins and distillation. learning_rate: the highest. triples,
    ordinary: prompts of a batch. warm_up: steps after which the highest rate is reached, from which it falls to 0; with
    0 the rate stays. clip: the largest norm of a gradient; 0 is no limit.
    """

    weights: tuple[float, float, float]
    learning_rate: float
    steps: int
    triples: int
    ordinary: int
    warm_up: int = 0
    clip: float = 0.0

    def share_of_rate(self, step: int) -> float:
        """The share of the highest learning rate at a step, counted from 0."""
        return min(1, (step + 1) / self.warm_up) * (1 - step / self.steps) if self.warm_up else 1.0


LINEAR = Training(weights=(0, 1, 10), learning_rate=1e-3, steps=300, triples=192, ordinary=128)


class Method(ABC):
    """A way of tuning, which trains modules of torch from those of the base.

    Rows are indices of prompts of the training side, in order.
    """

    def __init__(self, side: TrainingSide, base: np.ndarray, how: Training, own: Module) -> None:
        """base: float32 (n, d), the base's vectors of length 1 of the side's prompts. own: the base's modules."""
        self.side, self.base, self.how, self.own = side, base, how, own

    @abstractmethod
    def through(self, modules: Module, rows: np.ndarray) -> Tensor:
        """Vectors (r, d), of length 1, of the prompts of these rows, with these modules in the place of the base's."""

    @abstractmethod
    def put(self, model: Any, modules: Module, chosen: Candidate) -> Any:
        """A sentence-transformers model, tuned; of None, which is an API, the matrix of its layer."""

    def trained(
        self, rows: np.ndarray, seed: int, progress: Callable[[dict[str, float]], object] = lambda losses: None
    ) -> Module:
        """The modules after training on the prompts of these rows. progress: called after each step with the losses."""
        torch.manual_seed(seed)
        drawn, triples = np.random.default_rng(seed), Triples(self.side, self.base, rows)
        modules = copy.deepcopy(self.own).eval()  # without dropout
        parameters = [parameter.requires_grad_(True) for parameter in modules.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=self.how.learning_rate, weight_decay=0.01)
        rates = torch.optim.lr_scheduler.LambdaLR(optimizer, self.how.share_of_rate)
        for _ in range(self.how.steps):
            batch = triples.batch(drawn, self.how.triples, self.how.ordinary)
            loss, parts = total_loss(self.through(modules, batch.rows), batch, triples, self.base, self.how.weights)
            optimizer.zero_grad()
            loss.backward()
            if self.how.clip:
                torch.nn.utils.clip_grad_norm_(parameters, self.how.clip)
            optimizer.step()
            rates.step()
            progress(parts)
        return modules.requires_grad_(False)

    def mean(self, several: Sequence[Module]) -> Module:
        """Modules whose weights are the means of several."""
        mean = copy.deepcopy(several[0])
        for weight, *those in zip(mean.parameters(), *(one.parameters() for one in several), strict=True):
            weight.data.copy_(torch.stack(those).mean(dim=0))
        return mean

    def between(self, modules: Module, share: float) -> Module:
        """Modules with weights base + share (modules - base), so that 0 is the base and 1 is what was trained."""
        mixed = copy.deepcopy(modules)
        for weight, own in zip(mixed.parameters(), self.own.parameters(), strict=True):
            weight.data.copy_(own + share * (weight - own))
        return mixed

    def vectors(self, modules: Module, share: float, rows: np.ndarray) -> np.ndarray:
        """Vectors of length 1, float32 (r, d), at this share of the way from the base to what was trained."""
        with torch.no_grad():
            return self.through(self.between(modules, share), rows).cpu().numpy()

    def rotation(self, modules: Module, chosen: Candidate) -> np.ndarray:
        """The scaled rotation of the vectors of all prompts at the chosen share: float32 (d, d)."""
        return scaled_rotation(self.vectors(modules, chosen.share, np.arange(len(self.side))), chosen.exponent)


class Linear(Method):
    """One linear layer, from the identity, on vectors that do not change, so that no text is embedded again."""

    def __init__(self, side: TrainingSide, base: np.ndarray, how: Training | None = None) -> None:
        layer = torch.nn.Linear(base.shape[1], base.shape[1], bias=False).requires_grad_(False)
        torch.nn.init.eye_(layer.weight)
        super().__init__(side, base, how or LINEAR, layer)

    def through(self, modules: Module, rows: np.ndarray) -> Tensor:
        return torch.nn.functional.normalize(modules(torch.from_numpy(self.base[rows])), dim=1)

    def put(self, model: Any, modules: Module, chosen: Candidate) -> Any:
        matrix = self.between(modules, chosen.share).weight.numpy()
        if chosen.exponent:
            matrix = self.rotation(modules, chosen) @ matrix
        return matrix if model is None else add_layer(model, matrix)
