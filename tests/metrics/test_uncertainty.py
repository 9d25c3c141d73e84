"""Intervals that cover as often as they say, and p-values that are what they say."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from utils.metrics import uncertainty
from utils.metrics.detection import threshold_at
from utils.metrics.uncertainty import (
    bootstrap_intervals,
    effect_size,
    exact_interval,
    grouped_difference,
    holm,
    own_influence,
    paired_differences,
)
from utils.schema import Difference


def coverage(draw, truth, strata, which, bounds=None, runs=2000, resamples=1000):
    """How often the interval holds the truth, over data sets drawn afresh. The resamples of eight seeds are kept."""
    names = [name for name, size in strata.items() for _ in range(size)]
    covered = 0
    for run in range(runs):
        generator = np.random.default_rng(run)
        values = np.concatenate([draw(generator, i, size) for i, size in enumerate(strata.values())])
        low, high = bootstrap_intervals(values, names, list(strata), resamples, seed=run % 8, bounds=bounds)[which]
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


@pytest.mark.parametrize(("n", "rate"), [(240, 0.01), (240, 0.05), (60, 0.01)])
def test_what_a_chosen_threshold_flags_of_all_is_in_the_exact_interval(n, rate):
    """Scores are uniform, so that a threshold t flags 1 - t of all; it is chosen to flag `rate` of n."""
    drawn = np.random.default_rng(n).random((4000, n))
    covered = []
    for scores in drawn:
        threshold = threshold_at(scores, rate)
        low, high = exact_interval(float((scores >= threshold).mean()), n)
        covered.append(low <= 1 - min(threshold, 1) <= high)
    assert np.mean(covered) > 0.945
    for share in (0.0, 0.01, 0.5, 1.0):
        limits = stats.binomtest(round(share * 100), 100).proportion_ci(method="exact")
        assert exact_interval(share, 100) == pytest.approx(tuple(limits), abs=1e-9)


def test_all_values_at_a_bound_and_one_value_alone_by_hand():
    # 25 of 25: the share of others is below 1 - 0.025^(1/25) = 1 - exp(ln(0.025) / 25) = 1 - exp(-0.14755) = 0.13719
    intervals = bootstrap_intervals(np.ones(25), ["a"] * 25, ["a"], 1000, bounds=(0, 1))
    assert intervals["a"] == pytest.approx((1 - 0.13719, 1), abs=1e-5)
    assert intervals["a"][0] == pytest.approx(stats.beta.ppf(0.025, 25, 1)), "Clopper and Pearson's"
    assert bootstrap_intervals(np.array([1.0, 2.0, 3.0]), ["a", "b", "b"], ["a", "b"], 1000).keys() == {"b"}


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


def test_many_items_are_resampled_in_parts(monkeypatch):
    values = np.random.default_rng(0).random(300)
    whole = bootstrap_intervals(values, ["a"] * 300, ["a"], 4000)["a"]
    monkeypatch.setattr(uncertainty, "_CHUNK", 50_000)
    parts = bootstrap_intervals(values, ["a"] * 300, ["a"], 4000)["a"]
    assert parts == pytest.approx(whole, abs=0.004) and parts != whole


def test_the_interval_of_a_mean_is_the_percentile_bootstrap_of_its_items_made_wider():
    generator, sizes = np.random.default_rng(3), {"a": 15, "b": 25}
    values = {name: generator.exponential(1 + size, size) for name, size in sizes.items()}
    strata, every = [name for name in sizes for _ in range(sizes[name])], np.concatenate(list(values.values()))
    means, spread, freedom = {}, {}, {}
    for position, (name, size) in enumerate(sizes.items()):
        means[name] = np.array(
            [
                values[name][drawn].mean()
                for drawn in np.random.default_rng([7, position, 0]).integers(0, size, (500, size))
            ]
        )
        means[name] = (means[name] - values[name].mean()) * np.sqrt(size / (size - 1))
        spread[name], freedom[name] = values[name].var(ddof=1) / size, size - 1
    for name, shares in (("average", (1 / 2, 1 / 2)), ("overall", (15 / 40, 25 / 40))):
        means[name] = shares[0] * means["a"] + shares[1] * means["b"]
        parts = [share**2 * spread[of] for share, of in zip(shares, sizes, strict=True)]
        freedom[name] = sum(parts) ** 2 / sum(part**2 / freedom[of] for part, of in zip(parts, sizes, strict=True))
    truth = {name: values[name].mean() for name in sizes}
    truth |= {"average": (truth["a"] + truth["b"]) / 2, "overall": every.mean()}
    for influence in (None, own_influence(every, strata, ["a", "b"])):
        found = bootstrap_intervals(every, strata, ["a", "b"], 500, seed=7, influence=influence)
        for name, value in truth.items():
            tail = stats.norm.cdf(stats.t.ppf(0.025, freedom[name]))
            assert found[name] == pytest.approx(value + np.quantile(means[name], [tail, 1 - tail]), abs=1e-4)


def agrees(difference):
    """Whether p is below 0.05 exactly where the interval leaves out 0."""
    return (difference.p < 0.05) == (not difference.low <= 0 <= difference.high)


@given(st.integers(1, 6), st.data())
def test_p_is_below_5_per_cent_exactly_where_the_interval_leaves_out_0(strata, data):
    sizes = data.draw(st.lists(st.integers(2, 12), min_size=strata, max_size=strata))
    names = [str(i) for i, size in enumerate(sizes) for _ in range(size)]
    few = st.integers(-1, 3).map(float)  # constant and zero differences are common
    differences = np.array(data.draw(st.lists(few, min_size=len(names), max_size=len(names))))
    order = list(map(str, range(strata)))
    influence = own_influence(differences, names, order)
    if data.draw(st.booleans()):  # that of others too
        influence = influence + np.random.default_rng(0).normal(0, 0.1, influence.shape)
    found = paired_differences(differences, influence, names, order)
    assert found.keys() == {*order, "average", "overall"} and all(map(agrees, found.values()))
    for name, one in found.items():
        assert one.low <= one.value <= one.high
        of = differences if name in ("average", "overall") else differences[np.array(names) == name]
        if not of.any() and influence.std() == 0:
            assert one == Difference(0.0, 0.0, 0.0, 1.0)


@given(st.floats(-1, 1), st.floats(0, 1) | st.just(0.0), st.floats(1, 500), st.integers(2, 500))
@example(0.3, 0.0, 1.0, 5)
@example(0.3, 0.0, 1.0, 6)
@example(0.0, 0.0, 1.0, 2)
@example(1e-12, 0.0, 1.0, 900)
def test_a_difference_with_any_error_agrees_with_its_interval(value, error, freedom, items):
    assert agrees(uncertainty.tested_difference(value, error, freedom, items))


@given(
    st.floats(-0.5, 0.5), st.lists(st.floats(-0.5, 0.5) | st.just(0.25), min_size=2, max_size=20), st.integers(2, 40)
)
@example(0.25, [0.25] * 9, 5)
@example(0.25, [0.25] * 9, 6)
@example(0.0, [0.0] * 9, 6)
def test_a_difference_of_resampled_groups_agrees_with_its_interval(value, replicates, clusters):
    assert agrees(grouped_difference(value, np.array(replicates), clusters))


def test_a_difference_that_does_not_vary_by_hand():
    # Of 6 items, all on one side: 2 / 2^6. The share of items on the other side is below 1 - 0.025^(1/6) = 0.459258,
    # and each would lower the mean by twice 0.3: 0.3 -+ 0.275555.
    found = uncertainty.tested_difference(0.3, 0.0, 5, 6)
    assert (found.low, found.high, found.p) == pytest.approx((0.024445, 0.575555, 0.03125), abs=1e-6)
    # Of 5 that is not below 0.05: 2 / 2^5, and 1 - 0.025^(1/5) = 0.521825 is above one half.
    found = uncertainty.tested_difference(-0.3, 0.0, 4, 5)
    assert (found.low, found.high, found.p) == pytest.approx((-0.613095, 0.013095, 0.0625), abs=1e-6)


def test_a_stratum_of_one_item_has_no_test_and_nor_have_the_means_over_it():
    differences, strata = np.array([1.0, 2.0, 3.0]), ["a", "b", "b"]
    found = paired_differences(differences, own_influence(differences, strata, ["a", "b"]), strata, ["a", "b"])
    for name, value in (("a", 1.0), ("average", 1.75), ("overall", 2.0)):
        assert vars(found[name]) == {"value": pytest.approx(value), "low": None, "high": None, "p": None}
    assert found["b"].p is not None
    assert grouped_difference(0.2, np.array([0.1, 0.3]), 1) == Difference(0.2)


@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
def test_with_one_stratum_it_is_the_paired_t_test(seed, n):
    one, other = np.random.default_rng(seed).normal(0.2, 1, (2, n))
    strata = ["a"] * n
    influence = own_influence(one, strata, ["a"]) - own_influence(other, strata, ["a"])
    expected = stats.ttest_rel(one, other)
    ends = expected.confidence_interval(0.95)
    for found in paired_differences(one - other, influence, strata, ["a"]).values():
        assert (found.value, found.low, found.high, found.p) == pytest.approx(
            ((one - other).mean(), ends.low, ends.high, expected.pvalue)
        )


def test_with_two_strata_of_the_same_size_the_average_is_welchs_test():
    # The mean of two means differs from 0 as one mean does from the other with its sign turned.
    one, other = np.random.default_rng(2).normal(0.3, (1, 3), (25, 2)).T
    strata, every = ["a"] * 25 + ["b"] * 25, np.concatenate([one, other])
    found = paired_differences(every, own_influence(every, strata, ["a", "b"]), strata, ["a", "b"])["average"]
    expected = stats.ttest_ind(one, -other, equal_var=False)
    ends = expected.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx((expected.pvalue, ends.low / 2, ends.high / 2))


@pytest.mark.parametrize("sizes", [(12,), (25,), (28, 95, 12)])
def test_p_values_are_uniform_under_no_difference(sizes):
    generator, order = np.random.default_rng(3), list(map(str, range(len(sizes))))
    strata = [name for name, size in zip(order, sizes, strict=True) for _ in range(size)]
    p = []
    for _ in range(400):
        differences = np.concatenate([generator.normal(0, 1 + i, size) for i, size in enumerate(sizes)])
        found = paired_differences(differences, own_influence(differences, strata, order), strata, order)
        p.append(found["average"].p)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.033), "three standard errors"


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.04: times 3, 2, 1 = 0.03, 0.04, 0.04; none below the one before.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    # 0.03 x 2 = 0.06, 0.04 x 1 = 0.04, raised to 0.06; 0.9 x 2 is cut to 1.
    assert holm([0.03, 0.04]) == pytest.approx([0.06, 0.06])
    assert holm([0.9, 0.95]) == [1, 1]
    # What has no test is not counted.
    assert holm([None, 0.01, None, 0.02]) == [None, 0.02, None, 0.02]
    assert holm([]) == [] and holm([None]) == [None]


def test_effect_size_by_hand():
    # Mean 2, deviations -1, 0, 1, so a standard deviation of 1.
    assert effect_size(np.array([1.0, 2.0, 3.0])) == 2
    assert effect_size(np.zeros(4)) == 0 and effect_size(np.full(4, -0.1)) == -np.inf
