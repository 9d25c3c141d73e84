"""Guarded purity against the slow way: every pool ranked anew, with and without a prompt's own edits."""

from types import SimpleNamespace

import numpy as np
import oracles
import pytest
from scipy.sparse import csr_array

from Safety_Contrast import task as contrast
from utils.metrics.influence import neighbor_influence
from utils.schema import Dataset


def guarded(vectors, categories, form=np.asarray):
    """What the task computes of vectors (1 + edits, n, d)."""
    n, columns = len(categories), ["original_prompt", *(f"prompt_#{j}" for j in range(1, len(vectors)))]
    texts = {column: tuple(f"{column} {i}" for i in range(n)) for column in columns}
    order = tuple(dict.fromkeys(categories))
    dataset = Dataset("made-up", tuple(map(str, range(n))), tuple(categories), order, texts, ())
    settings = SimpleNamespace(intervals=lambda bounds: {"resamples": 200, "seed": 1, "bounds": bounds})
    return contrast._guarded(dataset, {c: form(x) for c, x in zip(columns, vectors, strict=True)}, settings)


@pytest.mark.parametrize("form", [np.asarray, csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("edits", [1, 5])
def test_scores_chance_and_ceiling_by_ranking_every_pool(edits, form):
    rng, categories = np.random.default_rng(edits), "aaaaaaabbbbc"
    n = len(categories)
    vectors = rng.integers(-2, 3, (1 + edits, n, 3)) + 0.5  # many are equally near
    vectors[1, :3] = vectors[0, :3]  # edits that equal their original come after it
    scores, rows, influence = guarded(vectors, categories, form)
    pool, owners = list(vectors.reshape(-1, 3)), list(range(n)) * (1 + edits)
    labels = list(categories) + [None] * (edits * n)
    for name, own in (("guarded_purity", True), ("guarded_purity_others", False)):
        expected = oracles.pool_purity(pool, owners, labels, n, 10, own=own)
        assert scores[name] == pytest.approx(np.array(expected))
        by_group = {row.group: row for row in rows if row.metric == name}
        # A pool of all originals and edits but the original itself, and but its own edits.
        size = n * (1 + edits) - 1 - (0 if own else edits)
        for group, members in (("a", 7), ("b", 4), ("c", 1)):
            row = by_group[group]
            assert row.value == pytest.approx(np.mean(expected[categories.index(group) :][:members]))
            assert (row.chance, row.ceiling) == pytest.approx(((members - 1) / size, (members - 1) / 10))
        assert by_group["c"].low is None and by_group["average"].low is None, "of one prompt there is no interval"
        most = min(20, size)
        ranked = [
            sorted(
                (j for j in range(len(pool)) if j != i and (own or owners[j] != i)),
                key=lambda j, i=i: (-round(oracles.cosine(pool[i], pool[j]), 9), j),
            )[:most]
            for i in range(n)
        ]
        same = np.array([[labels[j] == labels[i] for j in row] for i, row in enumerate(ranked)])
        units = np.array([[owners[j] for j in row] for row in ranked])
        assert influence[name] == pytest.approx(neighbor_influence(same, units, list(categories), "abc", 10))


def test_a_pool_without_ten_others_has_none():
    # Three originals of three edits: 12 texts less one and its own three are 8.
    assert guarded(np.random.default_rng(0).normal(size=(4, 3, 2)), "aab") == ({}, [], {})
