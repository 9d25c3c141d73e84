"""The control that knows nothing: a vector for each distinct text, drawn at random."""

import hashlib
from collections.abc import Sequence

import numpy as np

from utils.encoders.loaders import LocalEncoder
from utils.schema import EncoderSpec

# That of a small encoder's vectors; encoders.yaml names it too.
DIMENSION = 384


def random_vectors(texts: Sequence[str]) -> np.ndarray:
    """Standard normal coordinates of a generator seeded with the SHA-256 of each text's UTF-8 bytes: float32 (n, d).

    Equal texts have equal vectors, and a vector depends on no other text and on no order. The cosine of two different
    texts has mean 0 and standard deviation 1 / sqrt(d).
    """
    rows = np.empty((len(texts), DIMENSION), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        np.random.default_rng(np.frombuffer(digest, "<u4")).standard_normal(dtype=np.float32, out=row)
    return rows


class RandomEncoder(LocalEncoder):
    """Random vectors, as an encoder."""

    device, dimension, token_budget = "cpu", DIMENSION, 4096
    max_tokens = None

    def __init__(self, spec: EncoderSpec) -> None:
        self.name = spec.name

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """1 for each text, because texts of every length take the same time: int (n,)."""
        return np.ones(len(texts), dtype=np.int64)

    def plan(self, token_counts: np.ndarray) -> str:
        """A sentence that describes what is about to be done."""
        return f"drawing a random vector for each of {len(token_counts)} distinct texts"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """One batch of texts to a float32 array (n, d)."""
        return random_vectors(texts)
