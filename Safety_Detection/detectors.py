"""Detectors of unsafe prompts: vectors and labels in, a score for each vector out, higher for unsafe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from utils.metrics import detection as dm
from utils.schema import InputError

KINDS = ("nearest_unsafe", "knn_vote", "centroid_difference", "logistic_regression")
CONTROLS = ("prompt_length", "shuffled_labels")
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
INNER_FOLDS = 3
_BLOCK_ROWS = 1024


@dataclass(frozen=True)
class Detector:
    """A fitted detector: its kind, and the arrays and settings that its scores are computed from."""

    kind: str
    arrays: dict
    settings: dict = field(default_factory=dict)

    def scores(self, rows) -> np.ndarray:
        """float64 (n,), higher for unsafe. rows: (n, d) of length 1 (or 0), an array or a sparse matrix."""
        return _SCORES[self.kind](self, rows)


@dataclass(frozen=True)
class Fitted:
    """A detector, and held-out scores of the prompts that it was fitted on."""

    detector: Detector
    held_out: np.ndarray


def folds(labels: Sequence[int], clusters: Sequence[int], number: int, seed: int = 42) -> np.ndarray:
    """The fold of each of n prompts, 0 to number - 1: a cluster is in one fold, and classes are spread evenly.

    Raises InputError if the prompts outside a fold have only one class.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    labels = np.asarray(labels)
    fold_of = np.empty(len(labels), dtype=int)
    splitter = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
    for fold, (_, held) in enumerate(splitter.split(np.zeros(len(labels)), labels, clusters)):
        fold_of[held] = fold
    for fold in range(number):
        if len(set(labels[fold_of != fold])) < 2:
            raise InputError(
                f"--data: too few groups for {number} folds, one class is in one fold only; add rows, or raise --limit"
            )
    return fold_of


def fit(
    kind: str, rows, labels: np.ndarray, inner: np.ndarray, top_k: int = 10, apart: Callable | None = None
) -> Fitted:
    """Fits a detector of `kind` to n vectors.

    rows: (n, d) of length 1 (or 0), an array or a sparse matrix. labels: n, 1 for unsafe. inner: n, the fold in which
    each prompt is held out, for its held-out score and for the choice of the strength of logistic regression.
    top_k: neighbours of knn_vote; all prompts if there are fewer.
    apart: maps bool (n,), the held-out prompts, to the vectors of the others and of those. Needed for vectors that are
    fitted on prompts, which must not know the held-out ones. Rows of `rows` if None.
    """
    labels = np.asarray(labels)
    parts = []
    for fold in np.unique(inner):
        held = inner == fold
        parts.append((held, *((rows[~held], rows[held]) if apart is None else apart(held))))
    settings = {"top_k": int(top_k)} if kind == "knn_vote" else {}
    candidates = [{"strength": c} for c in STRENGTHS] if kind == "logistic_regression" else [settings]
    best = None
    for chosen in candidates:
        held_out, areas = np.empty(len(labels)), []
        for held, seen, asked in parts:
            held_out[held] = _fitted(kind, seen, labels[~held], chosen).scores(asked)
            if 0 < labels[held].sum() < held.sum():
                areas.append(float(dm.auroc(dm.curve(labels[held], held_out[held]))))
        area = float(np.mean(areas)) if areas else 0.0
        if best is None or area > best[0]:
            best = area, chosen, held_out
    return Fitted(_fitted(kind, rows, labels, best[1]), best[2])


def _fitted(kind: str, rows, labels: np.ndarray, settings: dict) -> Detector:
    unsafe = labels == 1
    if kind == "nearest_unsafe":
        return Detector(kind, {"unsafe": rows[unsafe]})
    if kind == "knn_vote":
        return Detector(kind, {"rows": rows, "labels": labels.astype(np.float32)}, settings)
    if kind == "centroid_difference":
        return Detector(kind, {"direction": _mean(rows[unsafe]) - _mean(rows[~unsafe])})
    if kind == "prompt_length":
        return Detector(kind, {"direction": np.sign(_mean(rows[unsafe]) - _mean(rows[~unsafe]))})
    from sklearn.linear_model import LogisticRegression

    # Newton's method is two to three times as fast as L-BFGS for large C, but needs memory of dimensions squared.
    dense = isinstance(rows, np.ndarray) and rows.shape[1] <= 1024
    model = LogisticRegression(
        C=settings["strength"],
        class_weight="balanced",
        solver="newton-cholesky" if dense else "lbfgs",
        max_iter=2000,
    )
    model.fit(rows, labels)
    weights = {"direction": model.coef_[0].astype(np.float64), "bias": model.intercept_.astype(np.float64)}
    return Detector(kind, weights, settings)


def _mean(rows) -> np.ndarray:
    return np.asarray(rows.mean(axis=0), dtype=np.float64).ravel()


def _similarities(rows, others) -> np.ndarray:
    found = rows @ others.T
    return found.toarray() if hasattr(found, "toarray") else found


def _blocks(rows):
    return (rows[start : start + _BLOCK_ROWS] for start in range(0, rows.shape[0], _BLOCK_ROWS))


def _nearest(detector: Detector, rows) -> np.ndarray:
    parts = [_similarities(block, detector.arrays["unsafe"]).max(axis=1) for block in _blocks(rows)]
    return np.concatenate(parts).astype(np.float64)


def _vote(detector: Detector, rows) -> np.ndarray:
    """The share of unsafe prompts among the k nearest; ties go to the first one."""
    labels = detector.arrays["labels"]
    k = min(detector.settings["top_k"], len(labels))
    parts = []
    for block in _blocks(rows):
        similarities = _similarities(block, detector.arrays["rows"])
        least = -np.partition(-similarities, k - 1, axis=1)[:, k - 1 : k]
        above, level = similarities > least, similarities == least
        level &= np.cumsum(level, axis=1) <= k - above.sum(axis=1, keepdims=True)
        parts.append(((above | level) @ labels) / k)
    return np.concatenate(parts).astype(np.float64)


def _linear(detector: Detector, rows) -> np.ndarray:
    return np.asarray(rows @ detector.arrays["direction"], dtype=np.float64) + detector.arrays.get("bias", 0.0)


_SCORES = {
    "nearest_unsafe": _nearest,
    "knn_vote": _vote,
    "centroid_difference": _linear,
    "logistic_regression": _linear,
    "prompt_length": _linear,
}
