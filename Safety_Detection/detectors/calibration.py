"""The probability that a score stands for, fitted to held-out scores and tested on those of other families.

Platt's method: the log-odds are a line of the score, two numbers. Isotonic regression has a step for every turn of the
data, and families differ by more than such steps. On families held out of all published sets, its Brier score was
higher by 0.001 for each of six detectors (three kinds on MiniLM and TF-IDF), and it gave some prompts a probability of
0 or 1.
J. Platt, Probabilistic outputs for support vector machines (1999).
"""

from dataclasses import dataclass

import numpy as np

from Safety_Detection.detectors.kinds import equal_classes
from utils import cli
from utils.schema import InputError

# The share of unsafe prompts at which probabilities hold: classes count the same in the fit.
BASE_RATE = 0.5
BINS = 10


@dataclass(frozen=True)
class Calibration:
    """A line from scores to log-odds that a prompt is unsafe, at a share of unsafe prompts of `base_rate`.

    slope: at least 0, so that a probability never falls where the score rises.
    """

    slope: float
    intercept: float
    base_rate: float = BASE_RATE

    def probabilities(self, scores: np.ndarray, base_rate: float | None = None) -> np.ndarray:
        """The probability that each prompt is unsafe: float64 (n,), each in [0, 1].

        scores: (n,). base_rate: the share of unsafe prompts where the scores come from, in (0, 1); that of the fit if
        None. By Bayes' rule the log-odds are shifted by the difference of the log-odds of both rates, which is right
        if unsafe and safe prompts each are like those fitted on, and only their shares differ.
        """
        shift = 0.0 if base_rate is None else _log_odds(base_rate) - _log_odds(self.base_rate)
        values = self.slope * np.asarray(scores, dtype=np.float64) + self.intercept + shift
        return np.exp(-np.logaddexp(0.0, -values))


def base_rate(text: str) -> float:
    """The `type` of a flag that holds a share of unsafe prompts, in (0, 1)."""
    value = cli.decimal(text)
    if not 0 < value < 1:
        raise InputError("give a share above 0 and below 1, as 0.01 if 1 % of prompts are unsafe")
    return value


def fitted(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Calibration:
    """The line that held-out scores support, by logistic regression without a penalty.

    scores, labels, weights: (n,), of both classes; 1 is unsafe. The classes count the same, whatever their weights.
    Each label is replaced by Platt's target, so that the line is finite where a score separates the classes. The slope
    is 0 where scores rank no better than chance.
    """
    from sklearn.linear_model import LogisticRegression

    weights = equal_classes(labels, weights)
    spread = scores.std()
    if np.ptp(scores) == 0:
        return Calibration(0.0, 0.0)
    unit = ((scores - scores.mean()) / spread)[:, None]
    n = weights[labels == 1].sum()  # of each class
    unsafe = np.where(labels == 1, n + 1, 1) / (n + 2)
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-8)
    # A target between 0 and 1 is a prompt that counts in part for either class.
    model.fit(
        np.concatenate([unit, unit]),
        np.repeat([1, 0], len(scores)),
        sample_weight=np.concatenate([weights * unsafe, weights * (1 - unsafe)]),
    )
    slope = float(model.coef_[0, 0] / spread)
    if slope <= 0:
        return Calibration(0.0, 0.0)
    return Calibration(slope, float(model.intercept_[0] - slope * scores.mean()))


def measured(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray, parts: np.ndarray) -> dict | None:
    """What a card keeps: the line fitted to all scores, and how well lines do on parts that they were not fitted to.

    parts: (n,), which prompts were held out together. Returns None if a class is missing outside of one of them.
    Brier scores and expected calibration errors are by weight, at equal classes; 0 is best. of_parts: the errors of
    single parts with both classes.
    """
    if not len(scores) or any(len(set(labels[parts != part].tolist())) < 2 for part in np.unique(parts)):
        return None
    line, weights = fitted(scores, labels, weights), equal_classes(labels, weights)
    found = np.empty(len(scores))
    for part in np.unique(parts):
        mine = parts == part
        found[mine] = fitted(scores[~mine], labels[~mine], weights[~mine]).probabilities(scores[mine])
    singly = []
    for part in np.unique(parts):
        mine = parts == part
        if 0 < labels[mine].sum() < mine.sum():
            singly.append(calibration_error(found[mine], labels[mine], equal_classes(labels[mine], weights[mine])))
    return {
        "slope": line.slope,
        "intercept": line.intercept,
        "base_rate": line.base_rate,
        "brier": brier(found, labels, weights),
        "brier_of_base_rate": brier(np.full(len(found), line.base_rate), labels, weights),
        "expected_calibration_error": calibration_error(found, labels, weights),
        "of_parts": singly,
        "bins": bins_of(found, labels, weights),
    }


def brier(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """The mean squared difference of probabilities (n,) and labels (n,), by weight: in [0, 1], lower is better."""
    return float(np.average((probabilities - labels) ** 2, weights=weights))


def bins_of(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> list[list[float]]:
    """Of each of BINS equally wide bins that has prompts: mean probability, share of unsafe ones, share of weight."""
    number = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    found = []
    for one in np.unique(number):
        its = number == one
        means = [float(np.average(values[its], weights=weights[its])) for values in (probabilities, labels)]
        found.append([*means, float(weights[its].sum() / weights.sum())])
    return found


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """Expected calibration error: how far a bin's mean probability is from its share of unsafe prompts, on average.

    In [0, 1], lower is better. C. Guo et al., On calibration of modern neural networks (2017), by weight.
    """
    return sum(weight * abs(mean - share) for mean, share, weight in bins_of(probabilities, labels, weights))


def _log_odds(rate: float) -> float:
    return float(np.log(rate) - np.log1p(-rate))
