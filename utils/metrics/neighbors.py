"""Exact nearest neighbours by cosine, in bounded memory.

Where there are many rows, nearly all the work is a float32 matrix product, which is used as a sieve: its rounding error
has a bound that no order of summation exceeds, so what falls below a row's k-th best by more than twice that bound
can't be among its k nearest. What passes is scored again in float64, and only those scores decide.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from utils.metrics.embedding import dot_products, is_sparse, unit_rows

BLOCK_BYTES = 256 * 2**20
# Up to so many rows, computing everything in float64 is fast enough.
DIRECT_UP_TO = 4096
# Beyond so many neighbours, candidates would take too much memory.
SIEVE_UP_TO_K = 256
# Rows whose float32 similarities with all rows are computed at once, and the threads that do so.
BLOCK_ROWS, MOST_THREADS = 128, 16
# One row of so many is a sample whose k nearest give every row its limit: about so many times k others reach it.
SAMPLED = 6
# Candidates beyond k. A row with more (a text that occurs hundreds of times) is done in float64.
SPARE = 128


def nearest_neighbors(embeddings: np.ndarray, k: int, block_bytes: int = BLOCK_BYTES) -> np.ndarray:
    """Indices of each row's k most similar other rows, most similar first.

    embeddings: (n, d), an array or a sparse CSR matrix, any scale; rows must be finite and non-zero.
    block_bytes: the most memory of a block of similarities; no n x n matrix is ever computed.
    Returns int64 (n, k). Row i never contains i itself; ties go to the lower index.
    Similarities are compared as float64 rounded to 12 decimals, so that equal texts tie whatever the order of a sum.
    Raises ValueError if k is not in 1..n-1.
    Time grows as n^2 d, memory as n d, n k and block_bytes.
    """
    n = embeddings.shape[0]
    if not 1 <= k <= n - 1:
        raise ValueError(f"k must be in 1..{n - 1}, got {k}")
    rows = unit_rows(embeddings)
    if n <= DIRECT_UP_TO or k > SIEVE_UP_TO_K:
        return _direct(rows, np.arange(n), k, block_bytes)
    return _sieved(rows, k, min(BLOCK_ROWS, max(1, block_bytes // (8 * n * _threads()))), block_bytes)


def nearest_of_first(embeddings: np.ndarray, first: int, k: int, block_bytes: int = BLOCK_BYTES) -> np.ndarray:
    """Indices of the k most similar other rows of each of the `first` rows: int64 (first, k).

    The rest is as in `nearest_neighbors`; time grows as first x n x d. Raises ValueError if k is not in 1..n-1.
    """
    n = embeddings.shape[0]
    if not 1 <= k <= n - 1:
        raise ValueError(f"k must be in 1..{n - 1}, got {k}")
    return _direct(unit_rows(embeddings), np.arange(first), k, block_bytes)


def _direct(rows: np.ndarray, chosen: np.ndarray, k: int, block_bytes: int) -> np.ndarray:
    """The neighbours of the rows `chosen`, (c, k), from their float64 similarities with all rows."""
    neighbors = np.empty((len(chosen), k), dtype=np.int64)
    step = max(1, block_bytes // (rows.shape[0] * rows.dtype.itemsize * 3))
    for start in range(0, len(chosen), step):
        block = chosen[start : start + step]
        similarities = np.round(dot_products(rows[block], rows), 12)  # (block, n)
        similarities[np.arange(len(block)), block] = -np.inf
        neighbors[start : start + step] = largest_columns(similarities, k)
    return neighbors


def largest_columns(similarities: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k largest of each row of similarities (n, m): int64 (n, k), largest first, ties to the lower."""
    kth = -np.partition(-similarities, k - 1, axis=1)[:, k - 1]
    chosen = np.empty((len(similarities), k), dtype=np.int64)
    for row, (values, limit) in enumerate(zip(similarities, kth, strict=True)):
        above = np.flatnonzero(values > limit)
        tied = np.flatnonzero(values == limit)[: k - len(above)]
        columns = np.concatenate([above, tied])
        chosen[row] = columns[np.lexsort((columns, -values[columns]))]
    return chosen


def _terms(rows: np.ndarray) -> int:
    """The most products in a dot product of two rows."""
    return int(np.diff(rows.indptr).max()) if is_sparse(rows) else rows.shape[1]


def _slack(dimension: int) -> np.float32:
    """The most that one of a row's k nearest can be below its k-th best float32 similarity: twice the error of one.

    A float32 product of unit rows is off by gamma = m u / (1 - m u) at most, m = d + 2 roundings, u = 2^-24, in any
    order of summation, with fused operations or without (Higham 2002, section 3.1). Rounding to 12 decimals and
    float64's own error are less than 1e-12; the last term is the rounding of the limit itself.
    """
    roundings = (dimension + 2) * 2.0**-24
    return np.float32(2 * (roundings / (1 - roundings) + 1e-12) + 2.0**-22)


def _threads() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_THREADS)


def _sieved(rows: np.ndarray, k: int, block_rows: int, block_bytes: int) -> np.ndarray:
    """All rows' neighbours.

    Blocks are distributed to as many threads as there are cores, each with single-threaded products, because the work
    after a product takes a third of the time and would leave the other cores idle.
    """
    from threadpoolctl import threadpool_limits

    n = rows.shape[0]
    low, slack = rows.astype(np.float32), _slack(_terms(rows))
    sampled = max(1, min(SAMPLED, (n - 1) // k))
    neighbors = np.empty((n, k), dtype=np.int64)

    def decide(start: int) -> np.ndarray:
        """Finds the neighbours of a block's rows, and returns those rows that have too many candidates."""
        block = np.arange(start, min(start + block_rows, n))
        similarities = dot_products(low[block], low)  # (block, n)
        similarities[np.arange(len(block)), block] = -np.inf
        limit = np.partition(similarities[:, ::sampled], -k, axis=1)[:, -k] - slack
        row, column = np.divmod(np.flatnonzero(similarities >= limit[:, None]), n)
        counts = np.bincount(row, minlength=len(block))
        # The candidates of each row side by side, (block, width), and the columns that they are of.
        values = np.full((len(block), max(k, counts.max())), -np.inf, dtype=np.float32)
        columns = np.zeros(values.shape, dtype=np.int64)
        places = row, np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        values[places], columns[places] = similarities[row, column], column
        close = (values >= np.partition(values, -k, axis=1)[:, -k, None] - slack).sum(axis=1)
        crowded = close > k + SPARE
        nearest = np.argsort(-values, axis=1)[:, : max(k, close[~crowded].max(initial=k))]
        values, columns = (np.take_along_axis(table, nearest, axis=1) for table in (values, columns))
        exact = np.where(np.isinf(values), -np.inf, np.round(_with_each(rows, block, columns), 12))
        order = np.lexsort((columns, -exact))[:, :k]
        neighbors[block] = np.take_along_axis(columns, order, axis=1)
        return block[crowded]

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(_threads()) as pool:
        crowded = np.concatenate(list(pool.map(decide, range(0, n, block_rows))))
    if len(crowded):
        neighbors[crowded] = _direct(rows, crowded, k, block_bytes)
    return neighbors


def _with_each(rows: np.ndarray, chosen: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The dot product of each row of `chosen` (c,) with each of its `columns`, (c, width).

    Not a matrix product: each sum has the same order, so that equal rows give equal bits.
    """
    products = np.empty(columns.shape)
    # A sparse product needs three matrices in memory, with an index for each number.
    cell = 3 * 12 if is_sparse(rows) else rows.itemsize
    step = max(1, 2**24 // (columns.shape[1] * _terms(rows) * cell))
    for start in range(0, len(chosen), step):
        part = slice(start, start + step)
        if is_sparse(rows):
            repeated = rows[np.repeat(chosen[part], columns.shape[1])]
            products[part] = (repeated * rows[columns[part].ravel()]).sum(axis=1).reshape(-1, columns.shape[1])
        else:
            products[part] = np.einsum("rd,rcd->rc", rows[chosen[part]], rows[columns[part]])
    return products
