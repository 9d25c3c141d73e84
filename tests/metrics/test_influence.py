"""Influences against the whole statistic computed again, without a prompt or with a little more weight on it."""

import functools
import math

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from Safety_Challenging.scores import score_pairs
from Safety_Contrast.scores import score_edits
from utils.metrics import embedding as metrics
from utils.metrics import influence as of
from utils.results.normalization import Grouping, Normalization

SEEDS = st.integers(0, 2**32 - 1)
FORMS = pytest.mark.parametrize("form", [np.asarray, csr_array], ids=["dense", "sparse"])


def grid(rng, n):
    """Vectors of few different numbers, so that many cosines are equal; none is zero."""
    return rng.integers(-2, 3, (n, 3)) + 0.5


def nearest_in(vectors, owners, labels, n, most, own=True):
    """Whether each of the `most` nearest pool rows counts, and its owner: (n, most) each."""
    ranked = []
    for i in range(n):
        pool = [j for j in range(len(vectors)) if j != i and (own or owners[j] != i)]
        ranked.append(sorted(pool, key=lambda j, i=i: (-round(oracles.cosine(vectors[i], vectors[j]), 9), j))[:most])
    same = np.array([[labels[j] == labels[i] for j in row] for i, row in enumerate(ranked)])
    return same, np.array([[owners[j] for j in row] for row in ranked])


def means_without(theta, purity, received, categories, order, left_out):
    """What the influence on neighbours says the mean purities are without a prompt, by category that still has one."""
    found = {}
    for column, group in enumerate(order):
        size, moved = categories.count(group), received[left_out, column]
        if categories[left_out] != group:
            found[group] = theta[group] - moved
        elif size > 1:
            found[group] = (size * theta[group] - purity[left_out] - size * moved) / (size - 1)
    return found


@settings(max_examples=30)
@given(SEEDS, st.integers(7, 11), st.integers(1, 5))
def test_the_influence_on_neighbours_is_exactly_that_of_leaving_each_prompt_out(seed, n, k):
    rng = np.random.default_rng(seed)
    vectors, categories = grid(rng, n), list(rng.choice(list("abc"), n))
    order, owners = sorted(set(categories)), list(range(n))
    same, units = nearest_in(vectors, owners, categories, n, k + 1)
    received = of.received_influence(same, units, categories, order, k, same[:, k].astype(float))
    purity = oracles.pool_purity(vectors, owners, categories, n, k)
    theta = {group: oracles.group_mean(purity, categories, group) for group in order}
    for left_out in range(n):
        again = oracles.pool_purity(vectors, owners, categories, n, k, without=left_out)
        for group, mean in means_without(theta, purity, received, categories, order, left_out).items():
            assert mean == pytest.approx(oracles.group_mean(again, categories, group))


@pytest.mark.parametrize("own", [True, False], ids=["own edits in the pool", "without them"])
@pytest.mark.parametrize("seed", range(3))
def test_in_a_pool_an_original_is_left_out_with_its_edits(seed, own):
    n, k, rng = 14, 3, np.random.default_rng(seed)
    vectors, categories = rng.normal(size=(3 * n, 3)), list("aaaaaabbbbbbbc")
    owners, labels = list(range(n)) * 3, categories + [None] * (2 * n)
    same, units = nearest_in(vectors, owners, labels, n, k + 1, own)
    received = of.received_influence(same, units, categories, list("abc"), k, same[:, k].astype(float))
    purity = oracles.pool_purity(vectors, owners, labels, n, k, own=own)
    theta = {group: oracles.group_mean(purity, categories, group) for group in "abc"}
    compared = 0
    for left_out in range(n):
        # To first order each row gives way to the next one; of two rows, the second gives way to the one after.
        if any((row == left_out).sum() > 1 for i, row in enumerate(units) if i != left_out):
            continue
        compared += 1
        again = oracles.pool_purity(vectors, owners, labels, n, k, without=left_out, own=own)
        for group, mean in means_without(theta, purity, received, categories, "abc", left_out).items():
            assert mean == pytest.approx(oracles.group_mean(again, categories, group))
    assert compared >= 3


def test_the_influence_on_purity_by_hand():
    # Two nearest, of which the first is counted. The nearest of prompt 3 is an edit of its own.
    same = np.array([[True, False], [False, True], [True, False], [False, True]])
    units = np.array([[1, 2], [2, 0], [3, 1], [3, 2]])
    # Purity 1, 0 (a) and 1, 0 (b). What takes a neighbour's place counts 1/2, so that a neighbour of prompts 0 to 3
    # raises its purity by 1/2, -1/2, 1/2, and 0 for what goes with the prompt itself. By category the variance is
    # 1/2 + 1/2 = 1, and of tosses 1/4 + (1/4 + 0) / 2 = 3/8, of which a quarter is taken out.
    kept = math.sqrt(1 - 3 / 32)
    # Own part: +-1/2 of 2 items, times kept. As a neighbour: 1 of 0, 2 of 1 and 3 of 2, over the 2 of their category.
    own, neighbor = kept / 4, 1 / 4
    expected = [[own, 0], [-own + neighbor, 0], [-neighbor, own], [0, -own + neighbor]]
    assert of.neighbor_influence(same, units, list("aabb"), "ab", 1) == pytest.approx(np.array(expected))


def test_an_own_purity_is_not_shrunk_beyond_nothing():
    # Of two nearest neighbours the first counts and the second does not: purity 1 throughout has no variance to shrink.
    alike = np.array([[True, False]] * 4)
    units = np.array([[1, 2], [0, 2], [3, 0], [2, 0]])
    assert of.neighbor_influence(alike, units, list("aabb"), "ab", 1) == pytest.approx(
        of.received_influence(alike, units, list("aabb"), "ab", 1, np.full(4, 0.5))
    )
    # Purities 1/2 and 1 of two neighbours, variance 1/8; and more than that of tosses.
    same = np.array([[True, False, False, False], [True, True, False, False]] * 2)
    units = np.array([[1, 2, 3, 3], [0, 2, 3, 3], [3, 0, 1, 1], [2, 0, 1, 1]])
    # Boundaries 1/4 and 1/2: tosses (3/8)^2 + (1/8)^2 = 5/32 and 2 (1/4)^2 = 1/8, in the mean 9/64 a category: 9/32 of
    # a variance of 1/4, or 9/8 of it. A quarter of that is 9/32.
    shrunk = of.neighbor_influence(same, units, list("aabb"), "ab", 2)
    received = of.received_influence(same, units, list("aabb"), "ab", 2, same.mean(axis=1))
    assert (shrunk - received)[:2, 0] == pytest.approx(np.array([-1, 1]) / 8 * math.sqrt(23 / 32))


@FORMS
def test_the_influence_on_the_average_similarity_is_its_derivative(form):
    groups = ["a", "b", "a", "c", "b", "a"] * 2  # of six units, two rows each
    vectors = grid(np.random.default_rng(1), 12)
    expected = oracles.derivatives(lambda w: oracles.weighted_average_similarity(vectors, groups, w * 2), 6)
    moved = of.average_similarity_influence(form(vectors), groups, np.tile(np.arange(6), 2))
    assert moved == pytest.approx(np.array(expected), abs=1e-7)


@FORMS
@pytest.mark.parametrize("seed", range(3))
def test_the_influence_on_silhouettes_is_their_derivative(form, seed):
    rng, categories = np.random.default_rng(seed), list("abbbcccabd")  # d has one prompt
    vectors = rng.normal(size=(4, 3))[["abcd".index(c) for c in categories]] + rng.normal(size=(10, 3))
    scores = metrics.silhouette(vectors, categories)
    found = of.silhouette_influence(form(vectors), categories, list("dcab"), scores)
    for column, group in enumerate("dcab"):

        def mean(weights, group=group):
            values = oracles.weighted_silhouettes(vectors, categories, weights)
            return oracles.group_mean(values, categories, group, weights)

        assert found[:, column] == pytest.approx(np.array(oracles.derivatives(mean, 10)), abs=1e-6)


@FORMS
@pytest.mark.parametrize("seed", range(3))
def test_what_a_rival_adds_is_the_derivative_of_the_others_triplet_accuracy(form, seed):
    rng, groups, texts = np.random.default_rng(seed), list("aaaabbbbbc"), list("xxyz") + list("stuvw") + ["p"]
    anchors = grid(rng, 10)
    own = np.stack([metrics.paired_cosine(anchors, grid(rng, 10)), metrics.paired_cosine(anchors, anchors[::-1])], 1)
    shares = [np.full((10, 2), 0.5), np.array([[0.5, 0.5], [0, 0], [1, 0], [0, 1], [0.5, 0.5]] * 2)]
    accuracy, added = metrics.triplet_scores(form(anchors), own, groups, texts, shares)
    assert accuracy == pytest.approx(metrics.triplet_accuracy(anchors, own, groups, texts), nan_ok=True)
    for share, rises in zip(shares, added, strict=True):

        def total(weights, share=share):
            columns = [oracles.weighted_triplets(anchors, own[:, j], groups, texts, weights) for j in range(2)]
            return np.nansum(share * np.array(columns).T)

        assert rises == pytest.approx(np.array(oracles.derivatives(total, 10)), abs=1e-6)


def share_below(values, groups, group, threshold, b, moved_b):
    """The smoothed share of a group's normalized similarities below the threshold, if the average similarity moves.

    values: n lists, of edits; the mean over items of the mean over edits. b: what they are normalized by.
    """
    rows = [row for row, g in zip(values, groups, strict=True) if g == group]
    every = [value for row in rows for value in row]
    center = sum(every) / len(every)
    spread = math.sqrt(sum((value - center) ** 2 for value in every) / len(every))
    width = 1.06 * spread * len(every) ** -0.2
    limit = (moved_b + threshold * (1 - moved_b) - b) / (1 - b)
    below = [[(1 + math.erf((limit - value) / width / math.sqrt(2))) / 2 for value in row] for row in rows]
    return sum(sum(row) / len(row) for row in below) / len(rows)


@pytest.mark.parametrize("edits", [1, 3])
def test_influences_of_scores_normalized_by_the_set_itself_are_their_derivatives(edits):
    n, threshold, rng = 9, 0.4, np.random.default_rng(edits)
    groups, order = list("aabbbabcc"), list("abc")
    vectors = rng.normal(size=(1 + edits, n, 4)) + rng.normal(size=4)
    every, repeated = list(vectors.reshape(-1, 4)), groups * (1 + edits)
    cosine = np.array([[oracles.cosine(vectors[0, i], edit[i]) for edit in vectors[1:]] for i in range(n)])
    texts = list("xxyzstuvw")
    triplets = metrics.triplet_scores(vectors[0], cosine, groups, texts, [np.full((n, edits), 1 / edits)] * 4)
    b = oracles.weighted_average_similarity(every, repeated, [1] * len(every))
    moved = of.average_similarity_influence(vectors.reshape(-1, 4), repeated, np.tile(np.arange(n), 1 + edits))
    normalization, grouping = Normalization(b, threshold, moved), Grouping(groups, order, 0, 0)
    if edits == 1:
        alone = metrics.Triplets(triplets.accuracy[:, 0], triplets.added)
        found = score_pairs(cosine[:, 0], alone, normalization, grouping).influence
        reduced = {"normalized_similarity": np.mean}
    else:
        found = score_edits(cosine, triplets, np.zeros_like(cosine), normalization, grouping).influence
        reduced = {"boundary_similarity": max, "mean_similarity": np.mean}

    def norms(weights):
        again = oracles.weighted_average_similarity(every, repeated, weights * (1 + edits))
        return again, [[oracles.norm(x, again) for x in row] for row in cosine]

    def similarity(reduce, group, weights):
        return oracles.group_mean(list(map(reduce, norms(weights)[1])), groups, group, weights)

    values = norms([1] * n)[1]
    accurate = [np.mean([x < threshold for x in row]) for row in values]

    def accuracy(group, weights):
        below = share_below(values, groups, group, threshold, b, norms(weights)[0])
        return below + oracles.group_mean(accurate, groups, group, weights)

    def triplet(group, weights):
        columns = [oracles.weighted_triplets(vectors[0], cosine[:, j], groups, texts, weights) for j in range(edits)]
        return oracles.group_mean([sum(row) / edits for row in zip(*columns, strict=True)], groups, group, weights)

    statistics = {name: functools.partial(similarity, reduce) for name, reduce in reduced.items()}
    statistics |= {"pairwise_accuracy": accuracy, "triplet_accuracy": triplet}
    assert found.keys() == statistics.keys()
    for name, statistic in statistics.items():
        for column, group in enumerate(order):
            expected = oracles.derivatives(functools.partial(statistic, group), n)
            assert found[name][:, column] == pytest.approx(np.array(expected), abs=1e-6), (name, group)
