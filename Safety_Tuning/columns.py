"""An encoder before and after tuning, column by column, with the difference and whether it is better."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from Safety_Detection.detectors.kinds import Detector, balanced, candidates
from Safety_Detection.protocol.resampling import Drawn, Resampling
from utils.metrics import detection as dm
from utils.metrics.neighbors import nearest_neighbors
from utils.metrics.uncertainty import grouped_resamples
from utils.schema import Difference, Metric

# The detectors of the columns, and the strength of the second; both encoders get the same.
DETECTORS, STRENGTH = ("nearest_unsafe", "logistic_regression"), 10.0
# The false alarms on ordinary traffic at which detectors are compared.
RATE = 0.01
NEIGHBORS = 10
# What a column is of: the paper's tasks, detectors on families never seen, or what an encoder is for otherwise.
OF_PAPER, DETECTION, QUALITY = "the paper's tasks", "detection", "quality"


@dataclass(frozen=True)
class Column:
    """A number of the base and of the tuned encoder. difference: tuned less base. measure: what it is of."""

    base: Metric
    tuned: Metric
    difference: Difference
    measure: str

    @property
    def verdict(self) -> str:
        """`better` or `worse` if the difference's interval leaves out 0, else `unclear`; '-' if it has none."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None:
            return "-"
        if low <= 0 <= high:
            return "unclear"
        return "better" if (low > 0) == (self.base.better == "higher") else "worse"


@dataclass(frozen=True)
class Bank:
    """The prompts that detectors are fitted on: vectors of length 1 (m, d), labels (m,), and the set of each."""

    vectors: np.ndarray
    labels: np.ndarray
    sets: Sequence[str]

    def detector(self, kind: str) -> Detector:
        """A detector of this kind, fitted on the bank."""
        made = candidates(kind, self.vectors, self.labels, weights=balanced(self.labels, self.sets))
        return next((one for one in made if one.settings.get("strength") == STRENGTH), made[0])


class Unseen:
    """Prompts of families that neither encoders nor detectors have seen, and how they are resampled.

    labels, clusters: int (n,). ordinary, crossed: bool (n,), ordinary traffic, and what is set against it: unsafe
    prompts. alike: bool (n,), safe prompts that resemble unsafe ones. twins: bool (n,), those of a set of both classes.
    """

    def __init__(
        self,
        labels: np.ndarray,
        clusters: np.ndarray,
        ordinary: np.ndarray,
        twins: np.ndarray,
        resamples: int,
        seed: int,
    ) -> None:
        self.labels, self.ordinary, self.twins = labels, ordinary, twins
        self.crossed, self.alike = labels == 1, (labels == 0) & ~ordinary
        # Ordinary traffic is resampled apart from the safe prompts that resemble unsafe ones.
        weights = grouped_resamples(clusters, np.where(ordinary, 2, labels), resamples, seed)
        self._resampled = Resampling(labels, clusters, weights)

    def of_curve(self, scores: np.ndarray, chosen: np.ndarray, metric: str) -> Drawn:
        """A metric of a curve over the chosen prompts, and its values in the resamples."""
        return self._resampled.only(chosen).of_curve(scores[chosen], [metric])[metric]

    def flagged_alike(self, scores: np.ndarray) -> Drawn:
        """The share of safe prompts that resemble unsafe ones flagged at the threshold for RATE of ordinary traffic."""

        def of(weights: np.ndarray) -> float:
            threshold = dm.threshold_at(scores[self.ordinary], RATE, weights[self.ordinary])
            return float(dm.flagged_rate(scores >= threshold, self.alike, weights))

        drawn = np.array([of(weights.astype(np.float64)) for weights in self._resampled.weights])
        groups = min(self._resampled.only(chosen).groups for chosen in (self.alike, self.ordinary))
        return Drawn(of(np.ones(len(scores))), drawn, groups)


def detection_columns(banks: Sequence[Bank], vectors: Sequence[np.ndarray], unseen: Unseen) -> list[Column]:
    """Detectors on families never seen, of the base and of the tuned encoder.

    banks: of the base and of the tuned encoder, of the same prompts. vectors: (n, d) each, of the unseen prompts.
    """
    against = unseen.crossed | unseen.ordinary
    shown = {"auroc": "AUROC", "tpr_at_1_fpr": "TPR at 1 % FPR"}
    columns = []
    for kind in DETECTORS:
        scores = [bank.detector(kind).scores(rows) for bank, rows in zip(banks, vectors, strict=True)]
        name = kind.replace("_", " ")
        for metric, words in shown.items():
            pair = [unseen.of_curve(one, against, metric) for one in scores]
            columns.append(column(f"{name}, {words}", "higher", pair, int(against.sum()), DETECTION))
        if unseen.alike.any():
            pair = [unseen.flagged_alike(one) for one in scores]
            n = int((unseen.alike | unseen.ordinary).sum())
            columns.append(column(f"{name}, over-refusal", "lower", pair, n, DETECTION))
        if len(set(unseen.labels[unseen.twins])) == 2:
            pair = [unseen.of_curve(one, unseen.twins, "auroc") for one in scores]
            columns.append(column(f"{name}, AUROC on XSTest", "higher", pair, int(unseen.twins.sum()), DETECTION))
    return columns


def column(name: str, better: str, pair: Sequence[Drawn], n: int, measure: str) -> Column:
    """A column from the numbers of the two encoders on the same n prompts, in the same resamples."""
    base, tuned = pair
    return Column(metric_of(name, better, base, n), metric_of(name, better, tuned, n), tuned.less(base), measure)


def metric_of(name: str, better: str, drawn: Drawn, n: int) -> Metric:
    """A number with its 95 % interval, if it has resamples."""
    return Metric(name, "overall", drawn.value, n, better, *drawn.interval((-1, 1)))


def neighbors_kept(base: np.ndarray, tuned: np.ndarray) -> np.ndarray:
    """The share of each text's ten nearest by the base that are among its ten nearest after tuning.

    base, tuned: (n, d), of the same texts, at least two; of fewer than 11 all others are neighbours.
    Returns (n,), each in [0, 1]; 1 if nothing has changed.
    """
    before, after = (nearest_neighbors(vectors, min(NEIGHBORS, len(base) - 1)) for vectors in (base, tuned))
    return (before[:, :, None] == after[:, None, :]).any(axis=2).mean(axis=1)


def mean_correlation(cosines: Sequence[np.ndarray], scores: Sequence[np.ndarray], resamples: int, seed: int) -> Drawn:
    """The mean over files of Spearman's correlation of cosines with people's scores, and its values in resamples.

    cosines, scores: an array (n,) for each file. Pairs are resampled within each file, the same for every encoder.
    """
    drawn = np.random.default_rng(seed)
    total, found = 0.0, np.zeros(resamples)
    for mine, theirs in zip(cosines, scores, strict=True):
        total += spearman(mine[None], theirs[None])[0] / len(cosines)
        for at in range(0, resamples, 100):
            chosen = drawn.integers(0, len(mine), (min(100, resamples - at), len(mine)))
            found[at : at + 100] += spearman(mine[chosen], theirs[chosen]) / len(cosines)
    return Drawn(total, found, sum(map(len, scores)))


def spearman(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each row: (r,), each in [-1, 1]. left, right: (r, n)."""
    ranks = [rankdata(rows, axis=1) - (rows.shape[1] + 1) / 2 for rows in (left, right)]
    return (ranks[0] * ranks[1]).sum(axis=1) / np.sqrt(np.prod([(one**2).sum(axis=1) for one in ranks], axis=0))
