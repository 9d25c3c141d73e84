"""Probabilities: the line that scikit-learn fits, Bayes' rule by hand, and errors counted the slow way."""

import math

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV

from Safety_Detection.detectors import calibration
from Safety_Detection.detectors.calibration import Calibration


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose decision is its input."""

    def fit(self, rows, labels, sample_weight=None):
        self.classes_, self.fitted_ = np.unique(labels), True
        return self

    def decision_function(self, rows):
        return rows[:, 0]

    def predict(self, rows):
        return (rows[:, 0] > 0).astype(int)


def equal(labels, weights):
    """The weights of each class, summing to half the number of prompts."""
    return np.array([w * len(labels) / 2 / weights[labels == y].sum() for w, y in zip(weights, labels, strict=True)])


def some_scores(seed, scale=1.0, n=300):
    generator = np.random.default_rng(seed)
    labels = (generator.random(n) < 0.3).astype(int)
    return scale * (generator.normal(size=n) + labels), labels, generator.uniform(0.2, 3, size=n)


@pytest.mark.parametrize("scale", [1.0, 0.01, 40.0])
def test_the_line_is_that_of_scikit_learn(scale):
    scores, labels, weights = some_scores(3, scale)
    splits = [(np.arange(150), np.arange(150, 300)), (np.arange(150, 300), np.arange(150))]
    oracle = CalibratedClassifierCV(Given(), method="sigmoid", cv=splits, ensemble=False)
    oracle.fit(scores[:, None], labels, sample_weight=equal(labels, weights))
    found = calibration.fitted(scores, labels, weights).probabilities(scores)
    assert found == pytest.approx(oracle.predict_proba(scores[:, None])[:, 1], abs=1e-4)


def test_a_line_through_two_scores_by_hand():
    # Score 0 has 3 safe and 1 unsafe prompts, score 1 the reverse. Platt's targets of 4 prompts each are 1/6 and 5/6,
    # whose means are (3/6 + 5/6) / 4 = 1/3 and 2/3: log-odds of -ln 2 and ln 2.
    scores, labels = np.array([0.0] * 4 + [1.0] * 4), np.array([0, 0, 0, 1, 0, 1, 1, 1])
    found = calibration.fitted(scores, labels, np.ones(8))
    assert (found.slope, found.intercept) == pytest.approx((2 * math.log(2), -math.log(2)), abs=1e-6)
    # Three times the weight for all unsafe prompts changes nothing, as the classes count the same.
    assert calibration.fitted(scores, labels, 1.0 + 2 * labels) == found
    # Separated, the means are the targets themselves, and the line is finite.
    found = calibration.fitted(scores, (scores == 1).astype(int), np.ones(8))
    assert found.probabilities(np.array([0, 1])) == pytest.approx([1 / 6, 5 / 6], abs=1e-6)


@pytest.mark.parametrize("scores", [[3.0, 3.0, 3.0, 3.0], [1.0, 1.0, 0.0, 0.0], [0.1 + 0.2, 0.3, 0.3, 0.1 + 0.2]])
def test_scores_that_rank_no_better_than_chance_say_nothing(scores):
    assert calibration.fitted(np.array(scores), np.array([0, 0, 1, 1]), np.ones(4)) == Calibration(0.0, 0.0)


def test_a_base_rate_by_bayes_rule():
    line = Calibration(slope=1.0, intercept=0.0)
    # Odds of 1 and 2 at equal classes, times 1/99 where one prompt in a hundred is unsafe: 1/99 and 2/99.
    found = line.probabilities(np.array([0.0, math.log(2)]), 0.01)
    assert found == pytest.approx([1 / 100, 2 / 101], rel=1e-12)
    assert line.probabilities(np.array([0.0]), 0.5) == line.probabilities(np.array([0.0])) == 0.5
    # A score that is 8 times as frequent among unsafe prompts as among safe ones, where a quarter is unsafe.
    high = line.probabilities(np.array([math.log(8)]), 0.25)
    assert high == pytest.approx(0.25 * 8 / (0.25 * 8 + 0.75 * 1))


def test_what_is_measured_by_the_slow_way():
    scores, labels, weights = some_scores(5, n=120)
    parts = np.repeat([0, 1, 2], 40)
    labels[parts == 2] = 0
    found = calibration.measured(scores, labels, weights, parts)
    line = calibration.fitted(scores, labels, weights)
    assert (found["slope"], found["intercept"], found["base_rate"]) == (line.slope, line.intercept, 0.5)
    given = [
        float(calibration.fitted(scores[parts != p], labels[parts != p], weights[parts != p]).probabilities(s))
        for s, p in zip(scores, parts, strict=True)
    ]

    def errors(its):
        """Brier score and expected calibration error of some prompts, in a loop."""
        by = dict(zip(its, equal(labels[its], weights[its]), strict=True))
        total = sum(by.values())
        squares = sum(by[i] * (given[i] - labels[i]) ** 2 for i in its) / total
        apart = 0.0
        for low in range(10):
            mine = [i for i in its if low / 10 <= given[i] < (low + 1) / 10]
            apart += abs(sum(by[i] * (given[i] - labels[i]) for i in mine)) / total
        return squares, apart

    assert (found["brier"], found["expected_calibration_error"]) == pytest.approx(errors(list(range(120))))
    assert found["brier_of_base_rate"] == pytest.approx(0.25)
    alone = [errors(np.flatnonzero(parts == part).tolist())[1] for part in (0, 1)]
    assert found["of_parts"] == pytest.approx(alone), "the third part has one class only"
    assert sum(share for _, _, share in found["bins"]) == pytest.approx(1)
    # The weighted mean of all shares of unsafe prompts is one half, as the classes count the same.
    assert sum(unsafe * share for _, unsafe, share in found["bins"]) == pytest.approx(0.5)


def test_a_calibration_error_by_hand():
    # 0.95 and 0.9 are one bin, of mean 0.925, where 1 of 2 is unsafe: 0.425 off. 0.2 is one of its own, and safe.
    values, labels = np.array([0.95, 0.9, 0.2]), np.array([1, 0, 0])
    assert calibration.calibration_error(values, labels, np.ones(3)) == pytest.approx((2 * 0.425 + 0.2) / 3)
    assert calibration.brier(values, labels, np.ones(3)) == pytest.approx((0.05**2 + 0.9**2 + 0.2**2) / 3)
    assert calibration.bins_of(np.array([1.0]), np.array([1]), np.ones(1)) == [[1.0, 1.0, 1.0]]


def test_without_a_class_outside_of_a_part_there_is_no_probability():
    scores, labels = np.arange(6.0), np.array([1, 1, 1, 0, 0, 0])
    assert calibration.measured(scores, labels, np.ones(6), np.array([0, 0, 0, 1, 1, 1])) is None
    assert calibration.measured(scores, labels, np.ones(6), np.zeros(6)) is None
