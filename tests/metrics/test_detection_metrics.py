"""The metrics of detection, against scikit-learn and the slow way; their intervals and p-values are what they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from utils.metrics import detection as dm
from utils.metrics.uncertainty import grouped_difference, grouped_interval, grouped_resamples
from utils.schema import Difference

# Few distinct scores, so that ties are common; both classes are there.
CASES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4)), min_size=2, max_size=30).filter(
    lambda rows: 0 < sum(label for label, _ in rows) < len(rows)
)


def split(rows):
    labels, scores = np.array(rows).T
    return labels, scores / 4


@given(CASES)
def test_areas_are_scikit_learns(rows):
    labels, scores = split(rows)
    of = dm.curve(labels, scores)
    assert dm.auroc(of) == pytest.approx(roc_auc_score(labels, scores))
    assert dm.auprc(of) == pytest.approx(average_precision_score(labels, scores))
    false, true, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    assert of.false_positive_rates == pytest.approx(false) and of.true_positive_rates == pytest.approx(true)
    assert of.thresholds[1:] == pytest.approx(thresholds[1:])


@given(CASES, st.sampled_from([0.5, 0.8, 0.95, 1.0]), st.sampled_from([0.0, 0.01, 0.05, 0.25, 0.5]))
def test_rates_at_limits_by_trying_every_threshold(rows, wanted, allowed):
    labels, scores = split(rows)
    rates = []
    for threshold in [np.inf, *sorted(set(scores), reverse=True)]:
        flags = scores >= threshold
        rates.append((flags[labels == 0].mean(), flags[labels == 1].mean(), threshold))
    of = dm.curve(labels, scores)
    assert dm.false_positive_rate_at(of, wanted) == pytest.approx(min(f for f, t, _ in rates if t >= wanted - 1e-9))
    assert dm.true_positive_rate_at(of, allowed) == pytest.approx(max(t for f, t, _ in rates if f <= allowed + 1e-9))
    found = dm.threshold_at(scores[labels == 0], allowed)
    assert (scores[labels == 0] >= found).mean() <= allowed + 1e-9
    lower = [s for s in scores[labels == 0] if s < found]
    assert not lower or (scores[labels == 0] >= max(lower)).mean() > allowed, "no lower score would do"


def test_rates_by_hand():
    # Unsafe 0.9, 0.8, 0.3; safe 0.7, 0.3, 0.2, 0.1. All unsafe are flagged from 0.3 on, and so are 2 of 4 safe ones.
    labels, scores = np.array([1, 1, 1, 0, 0, 0, 0]), np.array([0.9, 0.8, 0.3, 0.7, 0.3, 0.2, 0.1])
    of = dm.curve(labels, scores)
    assert dm.false_positive_rate_at(of, 0.95) == 0.5 and dm.true_positive_rate_at(of, 0.01) == pytest.approx(2 / 3)
    # 12 pairs: 0.9 and 0.8 win 4 each, 0.3 wins 2 and ties 1.
    assert dm.auroc(of) == pytest.approx((4 + 4 + 2.5) / 12)
    # Unsafe 0 to 19, safe -18.5 to 0.5: 19 of 20 unsafe ones, 95 %, are above every safe one.
    labels, scores = np.repeat([1, 0], [20, 20]), np.concatenate([np.arange(20), np.arange(20) - 18.5])
    assert dm.false_positive_rate_at(dm.curve(labels, scores), 0.95) == 0
    assert dm.false_positive_rate_at(dm.curve(labels, scores), 0.96) == pytest.approx(1 / 20)
    assert dm.threshold_at(np.full(10, 0.4)) > 0.4, "where all tie, none may be flagged"


@given(CASES, st.integers(0, 5))
def test_weights_are_repeated_prompts(rows, seed):
    labels, scores = split(rows)
    weights = np.random.default_rng(seed).integers(0, 3, (4, len(labels)))
    weights[:, [labels.argmax(), labels.argmin()]] = 1
    of = dm.curve(labels, scores, weights)
    metrics = (dm.auroc, dm.auprc, dm.false_positive_rate_at, dm.true_positive_rate_at)
    flags = scores >= 0.5
    for r, repeats in enumerate(weights):
        one = dm.curve(np.repeat(labels, repeats), np.repeat(scores, repeats))
        assert [m(of)[r] for m in metrics] == pytest.approx([float(m(one)) for m in metrics])
        repeated = np.repeat(flags, repeats)[np.repeat(labels, repeats) == 0].mean()
        assert dm.flagged_rate(flags, labels == 0, weights)[r] == pytest.approx(repeated)


def test_what_no_curve_can_be_drawn_of():
    with pytest.raises(ValueError, match="both classes"):
        dm.curve(np.ones(3), np.arange(3))
    with pytest.raises(ValueError, match="finite"):
        dm.curve(np.array([0, 1]), np.array([0.0, np.nan]))


def test_a_resample_draws_whole_clusters_within_their_classes():
    clusters, labels = np.array([5, 5, 5, 2, 2, 9, 7, 7, 1]), np.array([1, 0, 0, 1, 0, 0, 0, 0, 1])
    weights = grouped_resamples(clusters, labels, 500)
    assert weights.shape == (500, 9)
    for one in ([0, 1, 2], [3, 4], [6, 7]):
        assert (weights[:, one] == weights[:, one[:1]]).all(), "together"
    first = [weights[:, i] for i in (0, 3, 5, 6, 8)]
    assert (first[0] + first[1] == 2).all() and (first[2] + first[3] == 2).all() and (first[4] == 1).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(9), abs=0.15), "each as often as the next"


def replicates(clusters, labels, scores, resamples, seed):
    return dm.auroc(dm.curve(labels, scores, grouped_resamples(clusters, labels, resamples, seed)))


def coverage(clusters, labels, spread, runs=400):
    """How often the interval holds the area of prompts whose clusters share a part of the score, of deviation `spread`.

    An unsafe and a safe prompt of other clusters differ by N(1, 2 (1 + spread^2)).
    """
    truth = stats.norm.cdf(1 / np.sqrt(2 * (1 + spread**2)))
    held = {"clusters": 0, "prompts": 0}
    for run in range(runs):
        generator = np.random.default_rng(run)
        scores = (
            labels + generator.normal(0, spread, clusters.max() + 1)[clusters] + generator.normal(0, 1, len(labels))
        )
        value = float(dm.auroc(dm.curve(labels, scores)))
        for name, unit in (("clusters", clusters), ("prompts", np.arange(len(labels)))):
            number = min(len(set(unit[labels == c])) for c in (0, 1))
            low, high = grouped_interval(value, replicates(unit, labels, scores, 400, run), number)
            held[name] += low <= truth <= high
    return {name: number / runs for name, number in held.items()}


def test_the_interval_covers_in_about_95_per_cent_and_would_not_without_clusters():
    # 30 clusters of five unsafe prompts and 30 of five safe ones. 400 runs have a standard error of 1.1 points.
    clusters = np.repeat(np.arange(60), 5)
    found = coverage(clusters, np.repeat([1, 0], 150), spread=1.0)
    assert 0.917 <= found["clusters"] <= 0.983 and found["prompts"] < 0.85


def test_the_interval_covers_where_clusters_hold_both_classes():
    # 60 originals with three edits each: what a cluster shares goes for and against the area.
    clusters = np.repeat(np.arange(60), 4)
    assert 0.917 <= coverage(clusters, np.tile([1, 0, 0, 0], 60), spread=0.7)["clusters"] <= 0.983


def test_an_interval_of_few_groups_is_wider_than_the_percentiles():
    """Student's 4 degrees: t = -2.7764, of which the normal has 0.00275 below; 0.1 - 0.2 * 0.00275 by sqrt(5 / 4)."""
    reach = 0.09945 * np.sqrt(5 / 4)
    found = grouped_interval(0.5, np.linspace(0.4, 0.6, 1001), 5)
    assert found == pytest.approx((0.5 - reach, 0.5 + reach), abs=1e-5)


def test_an_interval_at_a_bound_by_hand():
    # As for a share: 1 - 0.025^(1/25) = 0.13719.
    assert grouped_interval(1.0, np.ones(10), 25) == pytest.approx((1 - 0.13719, 1), abs=1e-5)
    assert grouped_interval(0.0, np.zeros(10), 25) == pytest.approx((0, 0.13719), abs=1e-5)
    # Where some resamples differ it is no share: 0.2 is above the quantile that Student's 24 degrees ask for, and is
    # made wider by sqrt(25 / 24).
    some = np.repeat([0.0, 0.2], [90, 10])
    assert grouped_interval(0.0, some, 25) == pytest.approx((0, 0.2 * np.sqrt(25 / 24)))
    # The areas of resamples are 1 but for rounding.
    assert grouped_interval(1.0, 1 - np.arange(10) * 1e-16, 25) == pytest.approx((1 - 0.13719, 1), abs=1e-5)


def test_of_two_detectors_as_good_as_each_other_p_is_uniform():
    clusters, labels = np.repeat(np.arange(60), 4), np.tile([1, 0, 0, 0], 60)
    found = []
    for run in range(150):
        generator = np.random.default_rng(run)
        shared = labels + generator.normal(0, 0.7, 60)[clusters] + generator.normal(0, 0.5, 240)
        one, other = (shared + generator.normal(0, 1, 240) for _ in range(2))
        weights = grouped_resamples(clusters, labels, 400, run)
        drawn = [dm.auroc(dm.curve(labels, scores, weights)) for scores in (one, other)]
        difference = float(dm.auroc(dm.curve(labels, one)) - dm.auroc(dm.curve(labels, other)))
        found.append(grouped_difference(difference, drawn[0] - drawn[1], 60))
    p = np.array([one.p for one in found])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    # 150 runs at 5 % have a standard error of 1.8 points.
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.054)
    assert np.mean([one.low <= 0 <= one.high for one in found]) == 1 - np.mean(p < 0.05)


def test_the_difference_of_resamples_by_hand():
    # Eight values of 0.1 more and less: a deviation of 0.1 sqrt(8 / 7), and sqrt(5 / 4) for five clusters. Student's
    # 4 degrees: 2.7764 for 5 %, and 5 % again where the difference is as far from 0.
    drawn, error = 0.4 + np.tile([0.1, -0.1], 4), 0.1 * np.sqrt(8 / 7 * 5 / 4)
    found = grouped_difference(0.4, drawn, 5)
    assert (0.4 - found.low, found.high - 0.4) == pytest.approx((2.7764 * error,) * 2, 1e-4)
    assert grouped_difference(2.7764 * error, drawn, 5).p == pytest.approx(0.05, abs=1e-5)
    assert grouped_difference(0.0, np.zeros(99), 5) == Difference(0.0, 0.0, 0.0, 1.0)
    # Five clusters that all say 0.4: a sign test's p of 2 / 2^5, and so an interval with 0 in it; of six, 2 / 2^6.
    same = [grouped_difference(0.4, np.full(99, 0.4), clusters) for clusters in (5, 6)]
    assert [one.p for one in same] == [2 / 32, 2 / 64] and same[0].low < 0 < same[1].low
    assert grouped_difference(0.4, drawn, 1) == Difference(0.4), "one cluster"
