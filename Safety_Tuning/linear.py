"""Tunes one linear layer on vectors that do not change, so that no text is embedded again."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from Safety_Tuning.triples import Triples


@dataclass(frozen=True)
class Training:
    """How a linear layer is trained. weights: of the losses, supervised contrastive, twins and distillation."""

    weights: tuple[float, float, float] = (0.0, 1.0, 10.0)
    learning_rate: float = 1e-3
    steps: int = 300
    triples: int = 192
    ordinary: int = 128


def trained(
    triples: Triples, base: np.ndarray, how: Training, seed: int,
    progress: Callable[[dict[str, float]], object] = lambda losses: None,
) -> np.ndarray:  # fmt: skip
    """The matrix (d, d), applied as vectors @ matrix.T, trained from the identity.

    base: float32 (n, d), the base's vectors of length 1 of the prompts of the triples.
    progress: called after each step with the losses by name.
    """
    import torch

    from Safety_Tuning.losses import total_loss

    torch.manual_seed(seed)
    drawn, vectors = np.random.default_rng(seed), torch.from_numpy(base)
    matrix = torch.nn.Parameter(torch.eye(base.shape[1]))
    optimizer = torch.optim.AdamW([matrix], lr=how.learning_rate)
    for _ in range(how.steps):
        batch = triples.batch(drawn, how.triples, how.ordinary)
        tuned = torch.nn.functional.normalize(vectors[batch.rows] @ matrix.T, dim=1)
        loss, parts = total_loss(tuned, batch, triples, base, how.weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress(parts)
    return matrix.detach().numpy()


def between(matrix: np.ndarray, share: float) -> np.ndarray:
    """The matrix identity + share (matrix - identity), so that 0 is the base and 1 is what was trained."""
    identity = np.eye(len(matrix), dtype=matrix.dtype)
    return identity + np.float32(share) * (matrix - identity)


def scaled_rotation(vectors: np.ndarray, exponent: float) -> np.ndarray:
    """The matrix (d, d) that turns vectors to their principal components, and divides each by its spread.

    vectors: (n, d). exponent: of the standard deviation that is divided by, relative to the largest; with 0 it turns
    and no cosine changes. The components are of deviations from the mean, which is not taken off: centred vectors
    detect worse. Components without any spread are scaled like the last that has some.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    variances, components = np.linalg.eigh(centred.T @ centred / len(centred))
    variances, components = variances[::-1], components[:, ::-1]
    spread = np.sqrt(np.maximum(variances, variances[0] * 1e-6) / variances[0])
    return (components / spread**exponent).T.astype(np.float32)
