"""How far a tuned encoder goes from its base: a share of the way, and then a scaled rotation."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, order=True)
class Candidate:
    """How far to go. share: of the way from the base to what was trained. exponent: of the scaled rotation."""

    share: float
    exponent: float


BASE = Candidate(0.0, 0.0)


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


def rotated(vectors: np.ndarray, exponent: float) -> np.ndarray:
    """Vectors after the scaled rotation that is fitted on them, of length 1 again."""
    if not exponent:
        return vectors
    turned = vectors @ scaled_rotation(vectors, exponent).T
    return turned / np.linalg.norm(turned, axis=1, keepdims=True)
