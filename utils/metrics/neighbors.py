"""Exact nearest neighbours by cosine, in bounded memory.

Where there are many rows, nearly all the work is a float32 matrix product, which is used as a sieve: its rounding error
has a bound that no order of summation exceeds, so what falls below a row's k-th best by more than twice that bound
can't be among its k nearest. What passes is scored again in float64, and only those scores decide.
"""

import itertools
import math
import os
import threading
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
# Candidates that a row may have beyond k. A row with more (a text that occurs hundreds of times) is done in float64.
SPARE = 128


def nearest_neighbors(
    embeddings: np.ndarray, k: int, block_bytes: int = BLOCK_BYTES, device: str = "cpu"
) -> np.ndarray:
    """Indices of each row's k most similar other rows, most similar first.

    embeddings: (n, d), an array or a sparse CSR matrix, any scale; rows must be finite and non-zero.
    block_bytes: the most memory of a block of similarities; no n x n matrix is ever computed.
    device: where many rows are compared: cpu, a CUDA device (the first, if several are separated by commas), or auto
        for cuda if there is one. The CPU is used for a device that is missing or has no float64 (mps), and for a
        sparse matrix. The result is the same.
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
    cuda = None if is_sparse(rows) else _cuda_device(device)
    if cuda is not None:
        return _on_device(rows, k, cuda, block_bytes)
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
        neighbors[start : start + step] = _largest(similarities, k)
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
    candidates = _Candidates(n, k, _slack(_terms(rows)))
    edges = np.linspace(0, n, -(-n // tile) + 1).astype(np.int64)
    blocks = [slice(int(start), int(stop)) for start, stop in itertools.pairwise(edges)]
    neighbors = np.empty((n, k), dtype=np.int64)

    def within(block: slice) -> None:
        similarities = dot_products(low[block], low[block])
        np.fill_diagonal(similarities, -np.inf)
        if len(similarities) > k:
            kth = np.partition(similarities, -k, axis=1)[:, -k]
            candidates.limit[block] = kth - candidates.slack
        candidates.add_rows(block, block, similarities)

    def between(pair: tuple[slice, slice]) -> None:
        similarities = dot_products(low[pair[0]], low[pair[1]])
        candidates.add_rows(*pair, similarities)
        candidates.add_columns(*pair, similarities)

    def score_again(block: slice) -> None:
        neighbors[block] = _scored_again(rows, block, k, candidates)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(min(cores, MOST_THREADS)) as pool:
        # A row's own block first: it gives a limit that excludes most of the others.
        for step, parts in (
            (within, blocks),
            (between, itertools.combinations(blocks, 2)),
            (score_again, blocks),
        ):
            for _ in pool.map(step, parts):
                pass
    crowded = np.flatnonzero(np.isposinf(candidates.limit))
    if len(crowded):
        neighbors[crowded] = _direct(rows, crowded, k, block_bytes)
    return neighbors


class _Candidates:
    """The columns that may still be among the k nearest of each row. Several threads may add to it.

    limit: float32 (n,), the least similarity of a candidate; infinite for a row with too many candidates.
    """

    def __init__(self, n: int, k: int, slack: np.float32) -> None:
        self.k, self.slack, self.most = k, slack, k + SPARE
        self.room = 2 * self.most
        self.columns = np.zeros((n, self.room), dtype=np.int32)
        self.similarities = np.full((n, self.room), -np.inf, dtype=np.float32)
        self.filled = np.zeros(n, dtype=np.int64)
        self.limit = np.full(n, -np.inf, dtype=np.float32)
        self._lock = threading.Lock()

    def add_rows(self, block: slice, other: slice, similarities: np.ndarray) -> None:
        """Adds the columns `other` that reach the limits of rows `block`; similarities: (block, other)."""
        passed = np.flatnonzero(similarities >= self.limit[block, None])
        rows, columns = np.divmod(passed, similarities.shape[1])
        self._add(block.start + rows, other.start + columns, similarities.ravel()[passed])

    def add_columns(self, block: slice, other: slice, similarities: np.ndarray) -> None:
        """Adds the rows `block` that reach the limits of columns `other`; similarities: (block, other)."""
        passed = np.flatnonzero(similarities >= self.limit[None, other])
        rows, columns = np.divmod(passed, similarities.shape[1])
        order = np.argsort(columns, kind="stable")
        self._add(other.start + columns[order], block.start + rows[order], similarities.ravel()[passed[order]])

    def _add(self, rows: np.ndarray, columns: np.ndarray, similarities: np.ndarray) -> None:
        """Adds candidates; if a row is full, after those below its limit are removed. rows: ascending."""
        with self._lock:
            while len(rows):
                slot = self.filled[rows] + np.arange(len(rows)) - np.searchsorted(rows, rows)
                fits = slot < self.room
                self.columns[rows[fits], slot[fits]] = columns[fits]
                self.similarities[rows[fits], slot[fits]] = similarities[fits]
                added, counts = np.unique(rows[fits], return_counts=True)
                self.filled[added] += counts
                rows, columns, similarities = rows[~fits], columns[~fits], similarities[~fits]
                if len(rows):
                    self.compact(np.unique(rows))
                    still = similarities >= self.limit[rows]
                    rows, columns, similarities = rows[still], columns[still], similarities[still]

    def compact(self, rows: np.ndarray) -> None:
        """Raises the limits of `rows`, each with at least k candidates, and removes candidates below them."""
        similarities, columns = self.similarities[rows], self.columns[rows]
        kth = np.partition(similarities, -self.k, axis=1)[:, -self.k]
        limit = np.maximum(self.limit[rows], kth - self.slack)
        kept = similarities >= limit[:, None]
        crowded = kept.sum(axis=1) > self.most
        limit[crowded], kept[crowded] = np.inf, False
        row, column = np.nonzero(kept)
        slot = np.arange(len(row)) - np.searchsorted(row, row)
        self.similarities[rows] = -np.inf
        self.similarities[rows[row], slot] = similarities[row, column]
        self.columns[rows[row], slot] = columns[row, column]
        self.filled[rows], self.limit[rows] = kept.sum(axis=1), limit


def _scored_again(rows: np.ndarray, block: slice, k: int, candidates: _Candidates) -> np.ndarray:
    """The k nearest of rows `block` among their candidates, (block, k); undefined for a row with too many."""
    neighbors = np.empty((block.stop - block.start, k), dtype=np.int64)
    candidates.compact(np.arange(block.start, block.stop))
    width = max(k, int(candidates.filled[block].max()))
    # A sparse product needs three matrices in memory, with an index for each number.
    cell = 3 * 12 if is_sparse(rows) else rows.itemsize
    step = max(1, 2**24 // (width * _terms(rows) * cell))
    for start in range(block.start, block.stop, step):
        part = slice(start, min(start + step, block.stop))
        columns = candidates.columns[part, :width]  # (part, width)
        similarities = np.round(_with_each(rows, part, columns), 12)
        similarities[np.arange(width) >= candidates.filled[part, None]] = -np.inf
        order = np.lexsort((columns, -similarities), axis=-1)[:, :k]
        neighbors[start - block.start : part.stop - block.start] = np.take_along_axis(columns, order, axis=1)
    return neighbors


def _with_each(rows: np.ndarray, part: slice, columns: np.ndarray) -> np.ndarray:
    """The dot product of each row of `part` with each of its `columns`, (part, width).

    Not a matrix product: each sum has the same order, so that equal rows give equal bits.
    """
    if is_sparse(rows):
        repeated = rows[np.repeat(np.arange(part.start, part.stop), columns.shape[1])]
        return (repeated * rows[columns.ravel()]).sum(axis=1).reshape(columns.shape)
    return np.einsum("rd,rcd->rc", rows[part], rows[columns])


def _cuda_device(device: str) -> str | None:
    """The CUDA device that `device` stands for, None if numpy is used."""
    first = device.split(",")[0].strip()
    kind, _, index = first.partition(":")
    if kind not in ("auto", "cuda"):
        return None
    import torch

    return f"cuda:{int(index or 0)}" if int(index or 0) < torch.cuda.device_count() else None


def _on_device(rows: np.ndarray, k: int, device: str, block_bytes: int) -> np.ndarray:
    """All rows' neighbours by torch: of the k + SPARE best in float32, or of all if those may be too few."""
    import torch

    n, dimension = rows.shape
    most = min(n - 1, k + SPARE)
    exact = torch.from_numpy(rows).to(device)
    low = exact.float()
    slack = float(_slack(dimension))
    neighbors = np.empty((n, k), dtype=np.int64)
    step = max(1, block_bytes // (n * low.element_size()))
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")  # the bound is one of float32, not of TF32
    try:
        for start in range(0, n, step):
            index = torch.arange(start, min(start + step, n), device=device)
            similarities = low[index] @ low.T  # (block, n)
            similarities[torch.arange(len(index), device=device), index] = -math.inf
            values, columns = similarities.topk(most, dim=1)
            del similarities
            columns = columns.sort(dim=1).values
            part = max(1, block_bytes // (most * dimension * exact.element_size()))
            scores = torch.cat(
                [
                    (exact[i][:, None] * exact[c]).sum(dim=-1)
                    for i, c in zip(index.split(part), columns.split(part), strict=True)
                ]
            )
            order = scores.round(decimals=12).sort(dim=1, descending=True, stable=True).indices[:, :k]
            found = columns.gather(1, order)
            if most < n - 1:
                crowded = (values[:, -1] >= values[:, k - 1] - slack).nonzero()[:, 0]
                for few in crowded.split(max(1, step // 4)) if len(crowded) else ():
                    similarities = (exact[index[few]] @ exact.T).round(decimals=12)
                    similarities[torch.arange(len(few), device=device), index[few]] = -math.inf
                    found[few] = similarities.sort(dim=1, descending=True, stable=True).indices[:, :k]
            neighbors[start : start + len(index)] = found.cpu().numpy()
    finally:
        torch.set_float32_matmul_precision(precision)
    return neighbors
