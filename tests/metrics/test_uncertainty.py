"""Intervals that cover as often as they say, and p-values that are what they say."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from utils.metrics import uncertainty
from utils.metrics.uncertainty import bootstrap_intervals, effect_size, holm, sign_flip_p_values
from utils.schema import PValue


def p_value(differences, *arguments, **more):
    """Of one test."""
    [found] = sign_flip_p_values(np.array([differences]), *arguments, **more)
    return found.value


def coverage(draw, truth, strata, which, bounds=None, runs=2000, resamples=1000):
    """How often the interval holds the truth, over data sets drawn afresh."""
    names = [name for name, size in strata.items() for _ in range(size)]
    covered = 0
    for run in range(runs):
        generator = np.random.default_rng(run)
        values = np.concatenate([draw(generator, i, size) for i, size in enumerate(strata.values())])
        low, high = bootstrap_intervals(values, names, list(strata), resamples, seed=run, bounds=bounds)[which]
        covered += low <= truth <= high
    return covered / runs


# 2000 runs at 95 % have a standard error of 0.5 points: 0.935 to 0.965 is within three of them.
@pytest.mark.parametrize(
    ("draw", "truth", "strata", "which", "bounds"),
    [
        (lambda g, i, n: g.normal(0.3, 1, n), 0.3, {"a": 25}, "a", None),
        (lambda g, i, n: g.beta(2, 5, n), 2 / 7, {"a": 25}, "a", (0, 1)),
        (lambda g, i, n: (g.random(n) < 0.3).astype(float), 0.3, {"a": 25}, "a", (0, 1)),
        (lambda g, i, n: g.normal(i, 1 + i, n), 1.0, {"a": 25, "b": 60, "c": 10}, "average", None),
        # The mean over items is (25 x 0 + 60 x 1 + 10 x 2) / 95.
        (lambda g, i, n: g.normal(i, 1 + i, n), 80 / 95, {"a": 25, "b": 60, "c": 10}, "overall", None),
    ],
    ids=["normal, 25", "skewed, 25", "0 or 1, 25", "average of unequal", "overall of unequal"],
)
def test_the_95_per_cent_interval_covers_in_about_95_per_cent(draw, truth, strata, which, bounds):
    assert 0.935 <= coverage(draw, truth, strata, which, bounds) <= 0.965


def test_a_rare_outcome_is_covered_where_no_resample_differs():
    # At 5 % of 25, all are 0 in 28 % of samples, and a bare bootstrap's interval is a point that misses.
    assert coverage(lambda g, i, n: (g.random(n) < 0.05).astype(float), 0.05, {"a": 25}, "a", (0, 1)) >= 0.93


def test_all_values_at_a_bound_by_hand():
    # 25 of 25: the share of others is below 1 - 0.025^(1/25) = 1 - exp(ln(0.025) / 25) = 1 - exp(-0.14755) = 0.13719
    intervals = bootstrap_intervals(np.ones(25), ["a"] * 25, ["a"], 1000, bounds=(0, 1))
    assert intervals["a"] == pytest.approx((1 - 0.13719, 1), abs=1e-5)
    assert intervals["a"][0] == pytest.approx(stats.beta.ppf(0.025, 25, 1)), "Clopper and Pearson's"


def test_a_large_sample_gives_the_normal_interval():
    values = np.random.default_rng(0).normal(0, 2, 4000)
    low, high = bootstrap_intervals(values, ["a"] * 4000, ["a"], 10_000)["a"]
    error = values.std(ddof=1) / np.sqrt(4000)
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.05 * error)


def test_a_small_normal_sample_gives_students_interval():
    values = stats.norm.ppf((np.arange(25) + 0.5) / 25)
    low, high = bootstrap_intervals(values, ["a"] * 25, ["a"], 100_000)["a"]
    reach = stats.t.ppf(0.975, 24) * values.std(ddof=1) / 5
    assert (low, high) == pytest.approx((-reach, reach), rel=0.03)


def test_order_and_seed():
    generator = np.random.default_rng(5)
    values, names = generator.random(60), ["a", "b", "c"] * 20
    once = bootstrap_intervals(values, names, ["a", "b", "c"], 2000, seed=1)
    assert once == bootstrap_intervals(values, names, ["a", "b", "c"], 2000, seed=1)
    assert once != bootstrap_intervals(values, names, ["a", "b", "c"], 2000, seed=2)
    shifted = bootstrap_intervals(values + 3, names, ["a", "b", "c"], 2000, seed=1)
    for name, (low, high) in once.items():
        assert shifted[name] == pytest.approx((low + 3, high + 3), abs=1e-5)


def test_one_item_has_no_interval():
    assert bootstrap_intervals(np.array([1.0, 2.0, 3.0]), ["a", "b", "b"], ["a", "b"], 1000).keys() == {"b"}


def test_many_items_are_resampled_in_parts(monkeypatch):
    values = np.random.default_rng(0).random(300)
    whole = bootstrap_intervals(values, ["a"] * 300, ["a"], 4000)["a"]
    monkeypatch.setattr(uncertainty, "_CHUNK", 50_000)
    parts = bootstrap_intervals(values, ["a"] * 300, ["a"], 4000)["a"]
    assert parts == pytest.approx(whole, abs=0.004) and parts != whole


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_the_exact_p_value_is_that_of_all_signs(differences):
    observed = abs(sum(differences))
    every = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in product([1, -1], repeat=len(differences))
    ]
    assert p_value(np.array(differences)) == pytest.approx(sum(e >= observed for e in every) / len(every))


def test_the_drawn_p_value_is_scipys():
    generator = np.random.default_rng(0)
    differences = generator.normal(0.3, 1, 40)
    reference = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=100_000, rng=1, vectorized=True
    ).pvalue
    # Both are drawn: at p of about 0.05 and 100,000 draws, the standard error of a difference is 0.001.
    assert p_value(differences) == pytest.approx(reference, abs=0.004)


def test_weights_make_the_mean_over_groups():
    # Groups of 1 and 3: (2 + (1 + 1 - 2) / 3) / 2 = 1; of the 16 choices of signs, those with |+-2 +- ...| as large:
    differences, weights = np.array([2.0, 1.0, 1.0, -2.0]), np.array([1 / 2, 1 / 6, 1 / 6, 1 / 6])
    every = [
        abs(sum(s * d * w for s, d, w in zip(signs, differences, weights, strict=True)))
        for signs in product([1, -1], repeat=4)
    ]
    expected = sum(e >= 1 - 1e-12 for e in every) / 16
    assert p_value(differences, weights) == expected


@pytest.mark.parametrize("n", [12, 25])
def test_p_values_are_uniform_under_no_difference(n):
    generator = np.random.default_rng(3)
    p = [p_value(generator.normal(0, 1, n), flips=999, seed=i) for i in range(400)]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.033), "three standard errors"


def test_no_difference_at_all_has_p_one():
    assert p_value(np.zeros(30)) == 1.0


def test_tests_that_share_the_choices_of_signs_have_the_p_values_that_each_has_alone():
    differences = np.random.default_rng(5).normal(0.2, 1, (7, 30))
    together = sign_flip_p_values(differences, flips=5000)
    assert [one.value for one in together] == [p_value(one, flips=5000) for one in differences]


def test_which_p_values_are_the_least_that_a_test_can_give():
    # All of one sign: only that choice and its opposite are as extreme, 2 of 2^5. Each zero doubles both.
    alike = sign_flip_p_values(np.array([[1.0, 2, 3, 4, 5], [0, 0, 3, 4, 5], [-1, 2, 3, 4, 5]]))
    assert alike == [PValue(2 / 32, True), PValue(8 / 32, True), PValue(4 / 32, False)]
    # With one item, or without a difference, no choice is less extreme.
    assert sign_flip_p_values(np.array([[1.0]])) == sign_flip_p_values(np.zeros((1, 5))) == [PValue(1.0, False)]
    # Of 40 items of one sign no drawn choice is as extreme as the observed one, which counts itself.
    drawn = sign_flip_p_values(np.array([np.ones(40), np.tile([1.0, -1.0], 20)]), flips=999)
    assert drawn == [PValue(1 / 1000, True), PValue(1.0, False)]


def corrected(p_values):
    return [one.value for one in holm(list(map(PValue, p_values)))]


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.04: times 3, 2, 1 = 0.03, 0.04, 0.04; none below the one before.
    assert corrected([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    # 0.03 x 2 = 0.06, 0.04 x 1 = 0.04, raised to 0.06; 0.9 x 2 is cut to 1.
    assert corrected([0.03, 0.04]) == pytest.approx([0.06, 0.06])
    assert corrected([0.9, 0.95]) == [1, 1]
    assert corrected([]) == []
    assert holm([PValue(0.01, True), PValue(0.02)]) == [PValue(0.02, True), PValue(0.02, False)]


def test_effect_size_by_hand():
    # Mean 2, deviations -1, 0, 1, so a standard deviation of 1.
    assert effect_size(np.array([1.0, 2.0, 3.0])) == 2
    assert effect_size(np.zeros(4)) == 0 and effect_size(np.full(4, -0.1)) == -np.inf
