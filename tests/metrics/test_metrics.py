"""Metrics against hand-derived values, slow oracles, and properties that must hold."""

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array
from sklearn.metrics import silhouette_samples

from utils.metrics import embedding as metrics
from utils.metrics.neighbors import nearest_neighbors


def angles(*degrees):
    """Unit vectors in the plane: the cosine of two is that of the difference of their angles."""
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def triplet_accuracy(anchors, twins, groups, texts):
    """By the vectors of the twins, of one each or of several."""
    own = metrics.paired_cosine(anchors if twins.ndim == 2 else anchors[:, None], twins)
    return metrics.triplet_accuracy(anchors, own, groups, texts)


@st.composite
def worlds(draw, least=4, most=12):
    """Vectors of three dimensions, some of them exactly equal, with a category each."""
    n = draw(st.integers(least, most))
    whole = arrays(np.float64, (n, 3), elements=st.integers(-3, 3).map(float))
    vectors = draw(whole.filter(lambda a: (np.abs(a).sum(axis=1) > 0).all()))
    categories = draw(st.lists(st.sampled_from("abc"), min_size=n, max_size=n))
    return vectors, categories


def test_normalized_similarity_of_unrelated_and_identical_prompts():
    # b = 0.2: (0.2 - 0.2) / 0.8 = 0; (1 - 0.2) / 0.8 = 1; (0.6 - 0.2) / 0.8 = 0.5; (0 - 0.2) / 0.8 = -0.25
    assert metrics.normalized_similarity(np.array([0.2, 1.0, 0.6, 0.0]), 0.2) == pytest.approx([0, 1, 0.5, -0.25])


@pytest.mark.parametrize("b", [1.0, 1.5, float("nan")])
def test_normalized_similarity_refuses_an_average_that_is_not_below_1(b):
    with pytest.raises(ValueError, match="below 1"):
        metrics.normalized_similarity(np.array([0.5]), b)


def test_paired_cosine_by_hand():
    # 60 degrees: 0.5. Opposite: -1. (3, 4) with (4, 3): (12 + 12) / 25 = 0.96.
    left = np.array([*angles(0, 0), [3, 4]])
    right = np.array([*angles(60, 180), [4, 3]])
    assert metrics.paired_cosine(left, right) == pytest.approx([0.5, -1, 0.96])


def test_boundary_is_the_nearest_edit_and_not_the_mean():
    # Edits at 60 and 90 degrees: cosines 0.5 and 0; the nearest is 0.5, with b = 0.2: 0.3 / 0.8 = 0.375.
    cosine = metrics.paired_cosine(angles(0)[:, None], angles(60, 90)[None])
    normalized = metrics.normalized_similarity(cosine, 0.2)
    assert metrics.boundary_similarity(normalized, np.array([[True, True]])) == pytest.approx([0.375])


def test_only_edits_that_count_enter_and_none_gives_nan():
    scores = np.array([[0.9, 0.1, 0.3], [0.5, 0.6, 0.7]])
    counted = np.array([[False, True, True], [False, False, False]])
    assert metrics.boundary_similarity(scores, counted) == pytest.approx([0.3, np.nan], nan_ok=True)
    assert metrics.mean_over_edits(scores, counted) == pytest.approx([0.2, np.nan], nan_ok=True)


def test_pairwise_accuracy_is_strict_at_the_threshold():
    assert metrics.pairwise_accuracy(np.array([0.49, 0.5, 0.51]), 0.5).tolist() == [1, 0, 0]


@given(arrays(np.float64, 20, elements=st.floats(-0.5, 1)))
def test_pairwise_accuracy_over_all_thresholds_is_one_minus_the_clipped_mean(normalized):
    thresholds = (np.arange(20000) + 0.5) / 20000
    over_all = np.mean([metrics.pairwise_accuracy(normalized, t).mean() for t in thresholds[::20]])
    assert over_all == pytest.approx(1 - np.clip(normalized, 0, 1).mean(), abs=1e-3)


def test_triplet_accuracy_by_hand():
    # Anchors at 0, 10, 40 degrees, twins at 20, 10, 40 + 35 = 75.
    # 0: own 20; others at 10 (nearer), 40 (farther): 1/2.
    # 10: its twin is itself, nothing is nearer: 0.
    # 40: own 35; others at 30 (nearer), 40 (farther): 1/2.
    accuracy = triplet_accuracy(angles(0, 10, 40), angles(20, 10, 75), "aaa", "xyz")
    assert accuracy.tolist() == [0.5, 0, 0.5]


@given(worlds(), st.integers(0, 2**32 - 1))
def test_triplet_accuracy_equals_the_slow_oracle(world, seed):
    vectors, groups = world
    twins = np.random.default_rng(seed).normal(size=vectors.shape)
    texts = [str(vector) for vector in vectors]
    expected = oracles.triplet(vectors, twins, groups, texts)
    assert triplet_accuracy(vectors, twins, groups, texts) == pytest.approx(expected, nan_ok=True)


@given(worlds(), st.integers(0, 2**32 - 1))
def test_triplet_accuracy_of_several_twins_is_that_of_each(world, seed):
    vectors, groups = world
    twins = np.random.default_rng(seed).normal(size=(len(vectors), 3, 3))
    texts = list(map(str, range(len(vectors))))
    together = triplet_accuracy(vectors, twins, groups, texts)
    for m in range(3):
        alone = triplet_accuracy(vectors, twins[:, m], groups, texts)
        assert together[:, m] == pytest.approx(alone, nan_ok=True)


def test_word_overlap_by_hand():
    # {how, do, i, cook, rice} and {how, do, i, cook, a, pie}: 4 shared of 7.
    assert metrics.word_overlap("How do I cook rice?", "how do i cook a pie") == pytest.approx(4 / 7)
    assert metrics.word_overlap("Same words", "words, SAME!") == 1
    assert metrics.word_overlap("one", "two") == 0
    assert metrics.word_overlap("?", "!") == 1


# On a circle at 0, 10, 20 (a) and 25, 100 (b); nearest two by angle:
#   0: 10, 20 -> aa 1; 10: 0, 20 (both 10 away) -> aa 1; 20: 25 (5), 10 (10) -> ba 1/2
#   25: 20 (5), 10 (15) -> aa 0; 100: 25 (75), 20 (80) -> ba 1/2
CIRCLE, CIRCLE_CATEGORIES = angles(0, 10, 20, 25, 100), "aaabb"


def test_categorical_purity_by_hand():
    neighbors = nearest_neighbors(CIRCLE, 2)
    assert neighbors.tolist() == [[1, 2], [0, 2], [3, 1], [2, 1], [3, 2]]
    assert metrics.categorical_purity(neighbors, CIRCLE_CATEGORIES).tolist() == [1, 1, 0.5, 0, 0.5]


def test_purity_chance_and_ceiling_by_hand():
    # n = 5: a has 3 members, (3 - 1) / 4; b has 2, (2 - 1) / 4. k = 2: a at most min(2, 2) / 2, b min(2, 1) / 2.
    assert metrics.purity_chance(CIRCLE_CATEGORIES).tolist() == [0.5, 0.5, 0.5, 0.25, 0.25]
    assert metrics.purity_ceiling(CIRCLE_CATEGORIES, 2).tolist() == [1, 1, 1, 0.5, 0.5]
    assert metrics.purity_ceiling("aab", 1).tolist() == [1, 1, 0]


@given(worlds())
def test_purity_equals_the_slow_oracle_at_every_k(world):
    vectors, categories = world
    for k in range(1, len(vectors)):
        neighbors = nearest_neighbors(vectors, k)
        assert neighbors.tolist() == oracles.neighbors(vectors, k)
        assert metrics.categorical_purity(neighbors, categories) == pytest.approx(
            oracles.purity(vectors, categories, k)
        )


@pytest.mark.parametrize("k", [0, -1, 5, 6])
def test_k_out_of_range_is_refused(k):
    with pytest.raises(ValueError, match=r"1\.\.4"):
        nearest_neighbors(CIRCLE, k)


@pytest.mark.parametrize("form", [np.asarray, csr_array])
@pytest.mark.parametrize(("bad", "what"), [(np.nan, "finite"), (np.inf, "finite"), (0.0, "not be zero")])
def test_a_row_without_direction_is_refused(form, bad, what):
    vectors = np.ones((3, 2))
    vectors[1] = bad
    with pytest.raises(ValueError, match=f"embeddings must (be )?{what}"):
        metrics.unit_rows(form(vectors))


@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_rows_at_the_ends_of_the_float_range_keep_their_direction(form):
    rows = metrics.unit_rows(form(np.array([[3e200, 4e200], [3e-200, 4e-200]])))
    assert metrics.dot_products(rows, form(np.eye(2))) == pytest.approx(np.array([[0.6, 0.8], [0.6, 0.8]]))


def test_average_similarity_by_hand():
    # Angles 0 and 60 against 0 and 90: cosines 1, 0; 0.5, cos 30 = 0.8660254.
    mean, median, deviation = metrics.average_similarity(angles(0, 60), angles(0, 90))
    values = [1, 0, 0.5, 0.8660254037844387]
    assert (mean, median) == pytest.approx((sum(values) / 4, (0.5 + 0.8660254037844387) / 2))
    assert deviation == pytest.approx((sum((v - sum(values) / 4) ** 2 for v in values) / 4) ** 0.5)


@given(worlds().filter(lambda world: len(set(world[1])) > 1))
def test_own_average_similarity_equals_the_double_loop(world):
    vectors, groups = world
    expected = oracles.own_average_similarity(vectors, groups)
    assert metrics.own_average_similarity(vectors, groups) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("categories", [3, 40, 299])
def test_silhouette_equals_scikit_learns_by_cosine(categories, monkeypatch):
    rng = np.random.default_rng(categories)
    labels = np.concatenate([np.arange(categories), rng.integers(0, categories, 300 - categories)])
    vectors = rng.normal(size=(categories, 24))[labels] + rng.normal(size=(300, 24))
    expected = silhouette_samples(vectors, labels, metric="cosine")
    for rows in (4096, 7):
        monkeypatch.setattr(metrics, "_BLOCK_ROWS", rows)
        assert metrics.silhouette(vectors, labels) == pytest.approx(expected, abs=1e-9)


def test_blocks_change_no_number(monkeypatch):
    rng = np.random.default_rng(2)
    anchors, twins, groups = rng.normal(size=(50, 6)), rng.normal(size=(50, 2, 6)), "abcde" * 10
    texts = [i % 40 for i in range(50)]
    rows, accuracy = metrics.unit_rows(twins), triplet_accuracy(anchors, twins, groups, texts)
    monkeypatch.setattr(metrics, "_BLOCK_ROWS", 3)
    monkeypatch.setattr(metrics, "_BLOCK_CELLS", 25)
    assert (metrics.unit_rows(twins) == rows).all()
    assert (triplet_accuracy(anchors, twins, groups, texts) == accuracy).all()


def test_nmi_is_1_for_separate_categories_and_0_for_unrelated_ones():
    spread = angles(0, 1, 2, 120, 121, 122)
    assert metrics.normalized_mutual_information(spread, "aaabbb") == pytest.approx(1)
    # Clusters are {0, 1} and {120, 121}; each category has one of each: nothing is shared.
    assert metrics.normalized_mutual_information(angles(0, 1, 120, 121), "abab") == pytest.approx(0, abs=1e-12)
