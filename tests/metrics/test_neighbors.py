"""Exact neighbours by each way of finding them, against cosines of fifty digits."""

import tracemalloc
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array, vstack

from utils.metrics import neighbors
from utils.metrics.embedding import unit_rows
from utils.metrics.neighbors import nearest_neighbors


def oracle(vectors, k):
    """Cosines in decimal arithmetic, rounded to 12 decimals; the k largest of each row, ties to the lower index."""
    with localcontext() as context:
        context.prec = 50
        rows = [[Decimal(float(x)) for x in vector] for vector in vectors]
        lengths = [sum(x * x for x in row).sqrt() for row in rows]
        twelve = Decimal(1).scaleb(-12)
        found = []
        for i, row in enumerate(rows):
            others = []
            for j, other in enumerate(rows):
                if j != i:
                    cosine = sum(x * y for x, y in zip(row, other, strict=True)) / lengths[i] / lengths[j]
                    others.append((-cosine.quantize(twelve), j))
            found.append([j for _, j in sorted(others)[:k]])
    return found


def direct(vectors, k, size):
    n = vectors.shape[0]
    return neighbors._direct(unit_rows(vectors), np.arange(n), k, 24 * n * size)


def sieved(vectors, k, size):
    return neighbors._sieved(unit_rows(vectors), k, size, block_bytes=1)


def sparse_direct(vectors, k, size):
    return direct(csr_array(vectors), k, size)


def sparse_sieved(vectors, k, size):
    return sieved(csr_array(vectors), k, size)


WAYS = [direct, sieved, sparse_direct, sparse_sieved]


@st.composite
def worlds(draw):
    """A few directions, each many times over: exactly, scaled, or moved by less than float32 can see or a bit more."""
    directions = draw(
        arrays(np.float64, (draw(st.integers(1, 5)), 3), elements=st.integers(-3, 3).map(float)).filter(
            lambda a: (np.abs(a).sum(axis=1) > 0).all()
        )
    )
    n = draw(st.integers(2, 18))
    chosen = draw(arrays(np.int64, n, elements=st.integers(0, len(directions) - 1)))
    moved = draw(arrays(np.float64, (n, 3), elements=st.integers(-4, 4).map(float)))
    # Not 1e-6: 1 - cos is then 5e-13, which lies between two numbers of 12 decimals.
    step = draw(st.sampled_from([0.0, 0.0, 1e-9, 3e-8, 1.1e-6, 1e-4, 1e-2]))
    scales = draw(arrays(np.float64, n, elements=st.sampled_from([1.0, 1.0, 3.0, 1e-3])))
    return (directions[chosen] + step * moved) * scales[:, None]


@pytest.mark.parametrize("way", WAYS)
@given(vectors=worlds(), size=st.integers(1, 20), spare=st.sampled_from([0, 1, 128]), sampled=st.integers(1, 6))
def test_every_way_equals_the_oracle_at_every_k(way, vectors, size, spare, sampled):
    for k in {1, len(vectors) // 2, len(vectors) - 1} - {0}:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(neighbors, "SPARE", spare)
            patch.setattr(neighbors, "SAMPLED", sampled)
            assert way(vectors, k, size).tolist() == oracle(vectors, k)


def test_what_float32_ranks_wrongly_is_ranked_rightly():
    # Cosines with the first row that fall by 1e-9 from one to the next: float32 has steps of 6e-8 there.
    angles = np.arccos(0.7 - 1e-9 * np.arange(60))
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)[np.random.default_rng(0).permutation(60)]
    vectors = np.concatenate([[[1.0, 0.0]], vectors])
    expected = oracle(vectors, 10)
    low = vectors.astype(np.float32)
    by_float32 = np.argsort(-(low @ low[0])[1:], kind="stable")[:10] + 1
    assert set(by_float32) != set(expected[0])
    for way in WAYS:
        assert way(vectors, 10, 7).tolist() == expected


@pytest.mark.parametrize("way", [sieved, sparse_sieved])
def test_a_text_that_stands_hundreds_of_times(way):
    vectors = np.random.default_rng(3).normal(size=(900, 4))
    same = np.arange(100, 700)
    vectors[same] = vectors[0]
    found = way(vectors, 20, 64)
    # Of each of them the nearest are the first of the others: row 0, then 100 to 118; of row 100 itself 101 to 119.
    assert found[0].tolist() == list(range(100, 120))
    assert found[100].tolist() == [0, *range(101, 120)]
    assert (found[101:700, :2] == [0, 100]).all()
    assert found.tolist() == direct(vectors, 20, 100).tolist()


@pytest.mark.parametrize("dimension", [1, 3, 384, 4096])
def test_the_slack_is_more_than_twice_the_error_of_a_float32_product(dimension):
    rng = np.random.default_rng(dimension)
    # Sums of one sign lose most; a slow sum in one order is the worst that a kernel can do.
    rows = unit_rows(np.abs(rng.normal(size=(30, dimension))) + 0.5)
    low = rows.astype(np.float32)
    in_order = np.zeros((30, 30), dtype=np.float32)
    for column in low.T:
        in_order += np.outer(column, column)
    for product in (in_order, low @ low.T):
        assert 2 * np.abs(product - rows @ rows.T).max() < neighbors._slack(dimension) < 1e-3


def test_many_rows_take_the_sieve_and_agree_with_float64_throughout(monkeypatch):
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(neighbors.DIRECT_UP_TO + 100, 8))
    vectors[rng.integers(0, len(vectors), 400)] = vectors[7]
    expected = direct(vectors, 12, 500)
    monkeypatch.setattr(neighbors, "TILE", 1000)
    assert (nearest_neighbors(vectors, 12) == expected).all()


def test_many_sparse_rows_take_the_sieve_and_agree_with_float64_throughout(monkeypatch):
    # Four words of 30 and one that no other text has: many ties, and texts that share nothing.
    rng = np.random.default_rng(6)
    columns = np.concatenate([rng.integers(0, 30, (500, 4)), 30 + np.arange(500)[:, None]], axis=1)
    vectors = csr_array((np.ones(2500), (np.repeat(np.arange(500), 5), columns.ravel())))
    vectors = vstack([vectors, vectors[:100]])  # these twice
    expected = direct(vectors.toarray(), 12, 50)
    monkeypatch.setattr(neighbors, "DIRECT_UP_TO", 100)
    monkeypatch.setattr(neighbors, "TILE", 64)
    assert (nearest_neighbors(vectors, 12) == expected).all()


@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_memory_is_far_below_that_of_all_similarities(form):
    vectors = form(np.random.default_rng(5).normal(size=(8000, 8)))
    tracemalloc.start()
    nearest_neighbors(vectors, 5, block_bytes=2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Candidates: 8000 rows x 6 x 5 x 12 bytes = 3 MB; a block that is scored again 16 MB. All: 256 MB.
    assert peak < 60e6
