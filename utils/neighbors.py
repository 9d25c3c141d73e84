"""Exact nearest neighbours by cosine, in bounded memory."""

import numpy as np

from utils.metrics import unit_rows

BLOCK_BYTES = 256 * 2**20


def nearest_neighbors(embeddings: np.ndarray, k: int, block_bytes: int = BLOCK_BYTES) -> np.ndarray:
    """Indices of each row's k most similar other rows, most similar first.

    embeddings: (n, d), any scale; rows must be finite and non-zero.
    block_bytes: the most that one block of similarities may take; no n x n matrix is ever made.
    Returns int64 (n, k). Row i never holds i itself, whatever duplicates it has; ties go to the lower index.
    Similarities are compared as float64 rounded to 12 decimals, so that equal texts tie whatever the order of a sum.
    Raises ValueError if k is not in 1..n-1.
    """
    n = len(embeddings)
    if not 1 <= k <= n - 1:
        raise ValueError(f"k must be in 1..{n - 1}, got {k}")
    rows = unit_rows(embeddings)
    neighbors = np.empty((n, k), dtype=np.int64)
    step = max(1, block_bytes // (n * rows.itemsize * 3))
    for start in range(0, n, step):
        block = slice(start, min(start + step, n))
        similarities = np.round(rows[block] @ rows.T, 12)  # (block, n)
        similarities[np.arange(block.stop - start), np.arange(start, block.stop)] = -np.inf
        neighbors[block] = _largest(similarities, k)
    return neighbors


def _largest(similarities: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k largest of each row, largest first, ties to the lower column."""
    kth = -np.partition(-similarities, k - 1, axis=1)[:, k - 1]
    chosen = np.empty((len(similarities), k), dtype=np.int64)
    for row, (values, limit) in enumerate(zip(similarities, kth, strict=True)):
        above = np.flatnonzero(values > limit)
        tied = np.flatnonzero(values == limit)[: k - len(above)]
        columns = np.concatenate([above, tied])
        chosen[row] = columns[np.lexsort((columns, -values[columns]))]
    return chosen
