"""The scores of the two detectors by nearest prompts, of many training sides in one pass over the similarities."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from utils.metrics.neighbors import largest_columns

# Vectors of length 1 (or 0): an array (n, d), or a sparse matrix, for which scipy has no types.
Matrix = Any
# Rows whose similarities to all others are in memory at once.
BLOCK_ROWS = 512
# How many nearest prompts are sorted before those of a training side are picked from them.
CANDIDATES = 256


def blocks(rows: Matrix) -> Iterator[Matrix]:
    """The rows, BLOCK_ROWS at a time; a block without any if there are none."""
    return (rows[start : start + BLOCK_ROWS] for start in range(0, max(1, rows.shape[0]), BLOCK_ROWS))


def similarities(rows: Matrix, others: Matrix) -> np.ndarray:
    """Cosines (n, m) of rows of length 1 (or 0), arrays or sparse matrices."""
    found = rows @ others.T
    return found.toarray() if hasattr(found, "toarray") else found


def largest(found: np.ndarray, rows: Matrix, others: Matrix) -> np.ndarray:
    """Each row's largest similarity, to single precision, float64 (n,).

    found: (n, m), the similarities of rows and others. Two prompts that are each other's nearest have the same value,
    as the product is taken again on its own: a matrix product may round the two differently, by the processor, and
    ranks would tell them apart.
    """
    return _products(rows, others[found.argmax(axis=1)])


def _products(rows: Matrix, others: Matrix) -> np.ndarray:
    """The cosine of each row with the other of its place, (n,), the same whichever of two comes first."""
    if hasattr(rows, "multiply"):
        found = np.asarray(rows.multiply(others).sum(axis=1)).ravel()
    else:
        found = np.einsum("ij,ij->i", rows, others, dtype=np.float64)
    return found.astype(np.float32).astype(np.float64)


def vote(found: np.ndarray, labels: np.ndarray, k: int, weights: np.ndarray | None = None) -> np.ndarray:
    """The share of unsafe prompts, by weight, among the k most similar; ties go to the first one.

    found: (n, m), the similarities to the m prompts trained on. labels: m, 1 for unsafe. weights: m, 1 each if None.
    Returns float64 (n,), each in [0, 1].
    """
    k = min(k, len(labels))
    weights = np.ones(len(labels)) if weights is None else weights
    least = -np.partition(-found, k - 1, axis=1)[:, k - 1 : k]
    above, level = found > least, found == least
    level &= np.cumsum(level, axis=1) <= k - above.sum(axis=1, keepdims=True)
    chosen = above | level
    return (chosen @ (weights * labels)) / (chosen @ weights)


def scores(
    seen: Matrix, asked: Matrix, labels: np.ndarray, k: int, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The largest similarity to an unsafe prompt, and the vote of the k nearest prompts, of each asked row."""
    nearest, votes, unsafe = [], [], np.flatnonzero(labels == 1)
    seen_unsafe = seen[unsafe]
    for rows in blocks(asked):
        found = similarities(rows, seen)
        nearest.append(largest(found[:, unsafe], rows, seen_unsafe))
        votes.append(vote(found, labels, k, weights))
    return np.concatenate(nearest), np.concatenate(votes)


def scores_of_sides(
    unit: np.ndarray,
    labels: np.ndarray,
    sides: Mapping[frozenset, tuple[np.ndarray, np.ndarray | None, np.ndarray]],
    families: np.ndarray,
    k: int,
    parallel: Callable[[Callable, Sequence], list],
) -> dict[frozenset, tuple[np.ndarray, np.ndarray]]:
    """`scores` for many training sides at once: each side's nearest prompts are picked from those of all prompts.

    unit: (m, d), rows of length 1 (or 0): those of the n prompts that can be trained on, then others that are only
    asked. labels: n. sides: for each set of families, what is trained on without them, the weight of each of those
    prompts, 1 each if None, and the asked rows, all in these families. families: m. parallel: maps a function over
    blocks of rows.
    """
    n = len(labels)
    prompts, family_of = unit[:n], families[:n]
    places = {held: np.full(len(unit), -1) for held in sides}
    allowed, weight = {}, {}
    for held, (train, weights, asked) in sides.items():
        places[held][asked] = np.arange(len(asked))
        allowed[held] = np.zeros(n, dtype=bool)
        allowed[held][train] = True
        weight[held] = np.zeros(n)
        weight[held][train] = 1 if weights is None else weights
    found = {held: (np.empty(len(asked)), np.empty(len(asked))) for held, (_, _, asked) in sides.items()}
    unsafe = np.flatnonzero(labels == 1)
    asked_blocks = []
    for family in dict.fromkeys(family for held in sides for family in held):
        rows = np.flatnonzero(families == family)
        mine = [held for held in sides if family in held]
        asked_blocks += [(rows[i : i + BLOCK_ROWS], family, mine) for i in range(0, len(rows), BLOCK_ROWS)]

    def work(block: tuple[np.ndarray, object, list]) -> None:
        rows, family, mine = block
        cosines = unit[rows] @ prompts.T
        cosines[:, family_of == family] = -2.0  # no side of these rows holds their own family
        near = largest_columns(cosines, min(CANDIDATES, n))
        near_unsafe = unsafe[largest_columns(cosines[:, unsafe], min(CANDIDATES, len(unsafe)))]
        for held in mine:
            at = places[held][rows]
            asked = at >= 0
            nearest, votes = found[held]
            there = allowed[held][near]
            chosen = there & (np.cumsum(there, axis=1) <= k)
            by = np.where(chosen, weight[held][near], 0.0)
            total = by.sum(axis=1)
            share = np.divide((by * labels[near]).sum(axis=1), total, out=np.zeros(len(rows)), where=total > 0)
            train = np.flatnonzero(allowed[held])
            short = chosen.sum(axis=1) < min(k, len(train))
            if short.any():
                share[short] = vote(cosines[np.ix_(short, train)], labels[train], k, weight[held][train])
            there = allowed[held][near_unsafe]
            first = there.argmax(axis=1)[:, None]
            best = np.take_along_axis(near_unsafe, first, axis=1)[:, 0]
            none = ~there.any(axis=1)
            if none.any():
                others = train[labels[train] == 1]
                best[none] = others[cosines[np.ix_(none, others)].argmax(axis=1)]
            nearest[at[asked]], votes[at[asked]] = _products(unit[rows[asked]], prompts[best[asked]]), share[asked]

    parallel(work, asked_blocks)
    return found
