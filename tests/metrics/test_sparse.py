"""Each metric of a sparse matrix of made-up texts is that of the same matrix made dense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.encoders.tfidf import fit_words
from utils.metrics import embedding as metrics
from utils.metrics.neighbors import nearest_neighbors

WORDS = ("apple", "fig", "pear", "plum")
EVERY_WORD = " ".join(WORDS)


@st.composite
def worlds(draw):
    """Texts of few words, so many of them are equal or equally near, one with every word, and a category each."""
    text = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)
    texts = [EVERY_WORD, *draw(st.lists(text, min_size=4, max_size=12))]
    categories = ["a", "b", *draw(st.lists(st.sampled_from("abc"), min_size=len(texts) - 2, max_size=len(texts) - 2))]
    return texts, categories


def triplet(rows, texts, categories):
    return metrics.triplet_accuracy(rows, metrics.paired_cosine(rows, rows[::-1]), categories, texts)


METRICS = {
    "paired_cosine": lambda rows, texts, categories: metrics.paired_cosine(rows, rows[::-1]),
    "triplet_accuracy": triplet,
    "silhouette": lambda rows, texts, categories: metrics.silhouette(rows, categories),
    "average_similarity": lambda rows, texts, categories: metrics.average_similarity(rows[:3], rows[3:]),
    "own_average_similarity": lambda rows, texts, categories: metrics.own_average_similarity(rows, categories),
}


@pytest.mark.parametrize("metric", METRICS)
@given(worlds())
def test_sparse_equals_dense(metric, world):
    texts, categories = world
    rows = fit_words(texts)[1]
    expected = METRICS[metric](rows.toarray(), texts, categories)
    assert METRICS[metric](rows, texts, categories) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(worlds(), st.integers(1, 1000))
def test_neighbours_of_sparse_rows_equal_those_of_dense_ones(world, block_bytes):
    rows = fit_words(world[0])[1]
    for k in range(1, rows.shape[0]):
        expected = nearest_neighbors(rows.toarray(), k)
        assert (nearest_neighbors(rows, k, block_bytes=block_bytes) == expected).all()


def test_clusters_of_sparse_rows_equal_those_of_dense_ones(monkeypatch):
    # Three topics of four texts with two words in common, and a word that each has alone; one text is of another's
    # category, so that the agreement is neither 0 nor 1.
    texts = [f"{topic} word{topic} own{topic}{i}" for topic in ("apples", "ferries", "violins") for i in range(4)]
    rows, categories = fit_words(texts)[1], "aaaabbbbcccb"
    dense = metrics.normalized_mutual_information(rows.toarray(), categories)
    assert metrics.normalized_mutual_information(rows, categories) == dense
    monkeypatch.setattr(metrics, "_BLOCK_CELLS", 0)
    monkeypatch.setattr(type(rows), "toarray", lambda rows: pytest.fail("made dense"))
    assert metrics.normalized_mutual_information(rows, categories) == pytest.approx(dense, abs=1e-12)
    assert 0.5 < dense < 0.95
