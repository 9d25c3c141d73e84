"""Detectors of unsafe prompts: vectors and labels in, a score for each vector out, higher for unsafe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from Safety_Detection.detectors.neighbors import Matrix, blocks, largest, similarities, vote
from utils.metrics import detection as dm
from utils.schema import InputError

KINDS = ("nearest_unsafe", "knn_vote", "centroid_difference", "logistic_regression")
CONTROLS = ("prompt_length", "shuffled_labels")
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
INNER_FOLDS = 3
# A set with fewer prompts of a class weighs as if it had so many: the prompt of a set of one counts 6 times as much as
# one of a set of 2,000, and not 45 times.
LEAST_SIZE = 50


@dataclass(frozen=True)
class Detector:
    """A fitted detector: its kind, and the arrays and settings that its scores are computed from."""

    kind: str
    arrays: dict
    settings: dict = field(default_factory=dict)

    def scores(self, rows: Matrix) -> np.ndarray:
        """float64 (n,), higher for unsafe. rows: (n, d) of length 1 (or 0), an array or a sparse matrix."""
        return _SCORES[self.kind](self, rows)

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest score that any vector of length 1 may have."""
        if self.kind == "nearest_unsafe":
            return -1.0, 1.0
        if self.kind == "knn_vote":
            return 0.0, 1.0
        length, bias = float(np.linalg.norm(self.arrays["direction"])), float(self.arrays.get("bias", [0.0])[0])
        return bias - length, bias + length


def folds(
    labels: Sequence[int] | np.ndarray, clusters: Sequence[int] | np.ndarray, number: int, seed: int = 42
) -> np.ndarray:
    """The fold of each of n prompts, 0 to number - 1: a cluster is in one fold, and classes are spread evenly.

    Raises InputError if the prompts outside a fold lack a class.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    labels = np.asarray(labels)
    fold_of = np.empty(len(labels), dtype=int)
    splitter = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
    for fold, (_, held) in enumerate(splitter.split(np.zeros(len(labels)), labels, clusters)):
        fold_of[held] = fold
    for fold in range(number):
        if set(labels[fold_of != fold]) != set(labels):
            raise InputError(
                f"--data: too few groups for {number} folds, one class is in one fold only; add rows, or raise --limit"
            )
    return fold_of


def candidates(
    kind: str, rows: Matrix, labels: np.ndarray, top_k: int = 10, weights: np.ndarray | None = None
) -> list[Detector]:
    """Detectors of `kind` fitted to n vectors: for logistic regression one for each of STRENGTHS, else one.

    rows: (n, d) of length 1 (or 0), an array or a sparse matrix. labels: n, 1 for unsafe. top_k: neighbours of
    knn_vote; all prompts if there are fewer. weights: n, what each prompt counts; if None, 1, and the classes the same
    in logistic regression. nearest_unsafe knows no weights.
    """
    labels = np.asarray(labels)
    unsafe = labels == 1
    if kind == "nearest_unsafe":
        return [Detector(kind, {"unsafe": rows[unsafe]})]
    if kind == "knn_vote":
        arrays = {"rows": rows, "labels": labels.astype(np.float32)}
        if weights is not None:
            arrays["weights"] = weights
        return [Detector(kind, arrays, {"top_k": int(top_k)})]
    if kind in ("centroid_difference", "prompt_length"):
        means = [_mean(rows[its], None if weights is None else weights[its]) for its in (unsafe, ~unsafe)]
        direction = means[0] - means[1]
        return [Detector(kind, {"direction": np.sign(direction) if kind == "prompt_length" else direction})]
    return _regressions(rows, labels, weights)


def _regressions(rows: Matrix, labels: np.ndarray, weights: np.ndarray | None) -> list[Detector]:
    """Logistic regression at each strength, each fit starting from the one before."""
    from sklearn.linear_model import LogisticRegression

    # Newton's method is two to three times as fast as L-BFGS for large C, but needs memory of dimensions squared.
    dense = isinstance(rows, np.ndarray) and rows.shape[1] <= 1024
    model = LogisticRegression(solver="newton-cholesky" if dense else "lbfgs", max_iter=2000, warm_start=True)
    weights = balanced(labels) if weights is None else weights
    found = []
    for strength in STRENGTHS:
        model.C = strength
        model.fit(rows, labels, sample_weight=weights.astype(rows.dtype))
        arrays = {"direction": model.coef_[0].astype(np.float64), "bias": model.intercept_.astype(np.float64)}
        found.append(Detector("logistic_regression", arrays, {"strength": strength}))
    return found


def balanced(labels: np.ndarray, sets: Sequence[str] | None = None) -> np.ndarray:
    """Weights (n,) of mean 1 with which the classes count the same.

    sets: n, if given, the prompts of a set and class count in proportion to one over the square root of their number,
    of LEAST_SIZE if there are fewer.
    """
    labels = np.asarray(labels)
    weights = np.ones(len(labels))
    if sets is not None:
        names = np.unique(np.asarray(sets, dtype=str), return_inverse=True)[1]
        of = 2 * names + labels
        weights = 1 / np.sqrt(np.maximum(np.bincount(of), LEAST_SIZE)[of])
    return equal_classes(labels, weights)


def equal_classes(labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weights (n,), scaled to a mean of 1 and the same sum for both classes."""
    scaled = np.array(weights, dtype=np.float64)
    for label in (0, 1):
        scaled[labels == label] *= len(labels) / 2 / scaled[labels == label].sum()
    return scaled


def strongest(
    labels: np.ndarray, held_out: np.ndarray, weights: np.ndarray | None = None, parts: Sequence[np.ndarray] = ()
) -> int:
    """Which of several candidates ranks prompts best that it was not fitted on, by the area under the ROC curve.

    held_out: (candidates, n), scores of detectors that had not seen the prompt. parts: the indices of those held out
    together; if given, the mean over the areas of the parts that have both classes counts, and no area over parts.
    The first of equal ones.
    """
    both = [part for part in parts if 0 < labels[part].sum() < len(part)]
    if not both:
        return int(np.argmax([float(dm.auroc(dm.curve(labels, scores, weights))) for scores in held_out]))
    areas = [[float(dm.auroc(dm.curve(labels[part], scores[part]))) for part in both] for scores in held_out]
    return int(np.argmax(np.mean(areas, axis=1)))


def in_threads(function: Callable, jobs: Sequence, progress: Callable[[], object] = lambda: None) -> list:
    """The function of each job, in order, by a thread for each of at most four cores.

    Linear algebra runs on one core in each, so that results do not depend on the number of cores.
    """
    from joblib import Parallel, cpu_count, delayed
    from threadpoolctl import threadpool_limits

    def work(job: object) -> object:
        done = function(job)
        progress()
        return done

    with threadpool_limits(1):
        return Parallel(min(4, cpu_count()), prefer="threads")(delayed(work)(job) for job in jobs)


def _mean(rows: Matrix, weights: np.ndarray | None) -> np.ndarray:
    if weights is None:
        return np.asarray(rows.mean(axis=0), dtype=np.float64).ravel()
    return np.asarray((weights / weights.sum()) @ rows, dtype=np.float64).ravel()


def _nearest(detector: Detector, rows: Matrix) -> np.ndarray:
    unsafe = detector.arrays["unsafe"]
    return np.concatenate([largest(similarities(block, unsafe), block, unsafe) for block in blocks(rows)])


def _vote(detector: Detector, rows: Matrix) -> np.ndarray:
    arrays, k = detector.arrays, detector.settings["top_k"]
    seen, labels, weights = arrays["rows"], arrays["labels"], arrays.get("weights")
    return np.concatenate([vote(similarities(block, seen), labels, k, weights) for block in blocks(rows)])


def _linear(detector: Detector, rows: Matrix) -> np.ndarray:
    return np.asarray(rows @ detector.arrays["direction"], dtype=np.float64) + detector.arrays.get("bias", 0.0)


_SCORES = {
    "nearest_unsafe": _nearest,
    "knn_vote": _vote,
    "centroid_difference": _linear,
    "logistic_regression": _linear,
    "prompt_length": _linear,
}
