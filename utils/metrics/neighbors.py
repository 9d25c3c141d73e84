"""Exact nearest neighbours by cosine, in bounded memory.

Where there are many rows, nearly all the work is a float32 matrix product, which is used as a sieve: its rounding error
has a bound that no order of summation exceeds, so what falls below a row's k-th best by more than twice that bound
can't be among its k nearest. What passes is scored again in float64, and only those scores decide.
"""

import itertools
import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from utils.metrics.embedding import dot_products, is_sparse, unit_rows

BLOCK_BYTES = 256 * 2**20
# Up to so many rows, computing everything in float64 is fast enough.
DIRECT_UP_TO = 4096
# Beyond so many neighbours, candidates would take too much memory.
SIEVE_UP_TO_K = 256
# Rows and columns of a tile of float32 similarities, 16 MB: large enough for a fast matrix product.
TILE = 2048
# Each thread has a tile in memory.
MOST_THREADS = 16
# One row of so many is a sample whose k nearest give every row its limit: about so many times k others reach it.
SAMPLED = 6
# Rows of the sample that may reach a row's limit beyond k. A row with more (a text that occurs hundreds of times) is
# done in float64.
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
    return _sieved(rows, k, min(TILE, max(1, math.isqrt(block_bytes // 8))), block_bytes)


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


def _sieved(rows: np.ndarray, k: int, tile: int, block_bytes: int) -> np.ndarray:
    """All rows' neighbours; the float32 product of two blocks of rows serves the rows of both.

    Tiles are distributed to as many threads as there are cores, each with single-threaded products, because the work
    after a product takes a third of the time and would leave the other cores idle.
    """
    from threadpoolctl import threadpool_limits

    n = rows.shape[0]
    low = rows.astype(np.float32)
    sample = low[::SAMPLED]
    slack = _slack(_terms(rows))
    limit = np.full(n, -np.inf, dtype=np.float32)  # the least similarity of a row's candidates
    edges = np.linspace(0, n, -(-n // tile) + 1).astype(np.int64)
    blocks = [slice(int(start), int(stop)) for start, stop in itertools.pairwise(edges)]
    passed: dict[int, list] = {block.start: [] for block in blocks}
    neighbors = np.empty((n, k), dtype=np.int64)

    def set_limit(block: slice) -> None:
        if sample.shape[0] < k:
            return
        similarities = dot_products(low[block], sample)  # (block, sample)
        sampled = np.arange(-(-block.start // SAMPLED), -(-block.stop // SAMPLED))
        similarities[sampled * SAMPLED - block.start, sampled] = -np.inf
        limit[block] = np.partition(similarities, -k, axis=1)[:, -k] - slack
        crowded = (similarities >= limit[block, None]).sum(axis=1) > k + SPARE
        limit[block][crowded & np.isfinite(limit[block])] = np.inf

    def compare(pair: tuple[slice, slice]) -> None:
        block, other = pair
        similarities = dot_products(low[block], low[other])  # (block, other)
        if block == other:
            np.fill_diagonal(similarities, -np.inf)
        else:
            places = np.flatnonzero(similarities >= limit[None, other])
            row, column = np.divmod(places, similarities.shape[1])
            cells = (other.start + column) * n + block.start + row
            passed[other.start].append((cells, similarities.ravel()[places]))
        places = np.flatnonzero(similarities >= limit[block, None])
        row, column = np.divmod(places, similarities.shape[1])
        passed[block.start].append(((block.start + row) * n + other.start + column, similarities.ravel()[places]))

    def decide(block: slice) -> None:
        cells, values = map(np.concatenate, zip(*passed.pop(block.start), strict=True))
        neighbors[block] = _nearest_candidates(rows, block, k, cells, values)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(min(cores, MOST_THREADS)) as pool:
        pairs = itertools.combinations_with_replacement(blocks, 2)
        for step, parts in ((set_limit, blocks), (compare, pairs), (decide, blocks)):
            for _ in pool.map(step, parts):
                pass
    crowded = np.flatnonzero(np.isposinf(limit))
    if len(crowded):
        neighbors[crowded] = _direct(rows, crowded, k, block_bytes)
    return neighbors


def _nearest_candidates(rows: np.ndarray, block: slice, k: int, cells: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The k nearest of rows `block` among their candidates, (block, k); undefined for a row with fewer.

    cells: int64 (m,), the places of the candidates in the n x n matrix. values: float32 (m,), their similarities.
    """
    n = block.stop - block.start
    ascending = np.argsort(cells)
    row, column = np.divmod(cells[ascending], rows.shape[0])
    row, values = row - block.start, values[ascending]
    kth = np.partition(_padded(row, values, n, k, -np.inf), -k, axis=1)[:, -k]
    close = values >= (kth - _slack(_terms(rows)))[row]
    row, column = row[close], column[close]
    columns, counts = _padded(row, column, n, k, 0), np.bincount(row, minlength=n)
    width = columns.shape[1]
    neighbors = np.empty((n, k), dtype=np.int64)
    # A sparse product needs three matrices in memory, with an index for each number.
    cell = 3 * 12 if is_sparse(rows) else rows.itemsize
    step = max(1, 2**24 // (width * _terms(rows) * cell))
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        similarities = np.round(_with_each(rows, block.start + np.arange(n)[part], columns[part]), 12)
        similarities[np.arange(width) >= counts[part, None]] = -np.inf
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]  # columns ascend, so ties go to the lower
        neighbors[part] = np.take_along_axis(columns[part], order, axis=1)
    return neighbors


def _padded(row: np.ndarray, values: np.ndarray, n: int, least: int, fill: float) -> np.ndarray:
    """The values of each of n rows side by side, (n, width), at least `least` wide. row: ascending."""
    counts = np.bincount(row, minlength=n)
    table = np.full((n, max(least, counts.max())), fill, dtype=values.dtype)
    table[row, np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)] = values
    return table


def _with_each(rows: np.ndarray, chosen: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The dot product of each row of `chosen` (c,) with each of its `columns`, (c, width).

    Not a matrix product: each sum has the same order, so that equal rows give equal bits.
    """
    if is_sparse(rows):
        repeated = rows[np.repeat(chosen, columns.shape[1])]
        return (repeated * rows[columns.ravel()]).sum(axis=1).reshape(columns.shape)
    return np.einsum("rd,rcd->rc", rows[chosen], rows[columns])
