"""Trains detectors on one set of prompts, tests them on another or inside the same, and lets no side see the other."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from Safety_Detection.detectors import CONTROLS, INNER_FOLDS, Detector, fit, folds
from Safety_Detection.groups import joined, same
from Safety_Detection.labelled_sets import FOLDS, LabelledDataset
from utils.data.text import normalized
from utils.encoders.tfidf import fit_words, without_known_word
from utils.metrics import detection as dm
from utils.metrics import embedding as metrics
from utils.schema import InputError
from utils.transfer.results import OTHERS

FALSE_POSITIVE_RATE = 0.05
SHUFFLES = 100
# (training rows, other rows) to the vectors of both, of length 1 (or 0), which are fitted on the training rows only.
Vectors = Callable[[np.ndarray, np.ndarray], tuple]


@dataclass(frozen=True)
class Pairing:
    """A detector of one set on another. train: a set's name, or `others` for all but the tested one.

    rows: m, the indices of the tested prompts in the dataset. scores: (m,), or (m, shuffles) for shuffled labels.
    flags: bool (m,), whether the training side's threshold flags each; None for shuffled labels.
    unknown: bool (m,), whether each has no word of the training side; all False for an encoder's vectors.
    """

    train: str
    test: str
    kind: str
    rows: np.ndarray
    scores: np.ndarray
    flags: np.ndarray | None
    unknown: np.ndarray

    @property
    def group(self) -> str:
        return f"{self.train} -> {self.test}"


def vectors_of(matrix: np.ndarray) -> Vectors:
    """The rows of an encoder's matrix (n, d)."""
    unit = metrics.unit_rows(matrix).astype(np.float32)
    return lambda train, test: (unit[train], unit[test])


def word_vectors_of(texts: Sequence[str]) -> Vectors:
    """TF-IDF fitted on the training side alone: words that only tested prompts have are ignored."""

    @functools.lru_cache(maxsize=FOLDS * (1 + INNER_FOLDS))
    def known(train: bytes) -> tuple:
        return fit_words([texts[i] for i in np.frombuffer(train, dtype=np.int64)])

    def of(train: np.ndarray, test: np.ndarray) -> tuple:
        words, rows = known(train.astype(np.int64).tobytes())
        return rows, words.rows([texts[i] for i in test])

    return of


def lengths_of(texts: Sequence[str]) -> Vectors:
    """The number of characters of each text, as vectors of one number."""
    lengths = np.array([[len(text)] for text in texts], dtype=np.float64)
    return lambda train, test: (lengths[train], lengths[test])


def unseen(texts: Sequence[str], tested: Sequence[str]) -> np.ndarray:
    """Whether each of n texts may be trained on: bool (n,), False if it equals a tested text when normalized."""
    there = set(map(normalized, tested))
    return np.array([normalized(text) not in there for text in texts])


def training_sides(dataset: LabelledDataset, test: str) -> dict[str, np.ndarray]:
    """Name to rows of each set that a detector tested on `test` may be trained on.

    Texts of the tested set are removed from the other sets. The tested set itself is complete: its folds keep groups,
    and so equal texts, together. `others` is included if there are at least two other sets.
    """
    groups = np.array(dataset.groups, dtype=object)
    texts = dataset.texts["prompt"]
    fresh = unseen(texts, [texts[i] for i in np.flatnonzero(groups == test)])
    sides = {name: np.flatnonzero((groups == name) & ((name == test) | fresh)) for name in dataset.group_order}
    if len(dataset.group_order) > 2:
        sides[OTHERS] = np.flatnonzero((groups != test) & fresh)
    return sides


def enough(dataset: LabelledDataset, rows: np.ndarray) -> bool:
    """Whether a detector can be trained on these rows: each inner fold can have a group with prompts of each class."""
    held = [{dataset.clusters[i] for i in rows if dataset.labels[i] == label} for label in (0, 1)]
    return min(map(len, held)) >= INNER_FOLDS


def check(dataset: LabelledDataset) -> None:
    """Raises InputError if a set has too little left to train on without the texts of a tested set."""
    for test in dataset.group_order:
        for name, rows in training_sides(dataset, test).items():
            if not enough(dataset, rows):
                raise InputError(
                    f"--data: set '{name}' has too little left to train on without the texts that "
                    f"'{test}' has too; leave one of the two out"
                )


@dataclass(frozen=True)
class Trained:
    """A detector, held-out scores of its training prompts, and the threshold computed from them."""

    detector: Detector
    held_out: np.ndarray
    threshold: float


def inner_folds(dataset: LabelledDataset, rows: np.ndarray, seed: int = 42) -> np.ndarray:
    """The inner fold of each training row. Clusters stay together, as do equal texts of several sets."""
    plain = [normalized(dataset.texts["prompt"][i]) for i in rows]
    together = joined(len(rows), same(plain), [dataset.clusters[i] for i in rows])
    return folds([dataset.labels[i] for i in rows], together, INNER_FOLDS, seed)


def trained(
    kind: str,
    vectors: Vectors,
    dataset: LabelledDataset,
    rows: np.ndarray,
    inner: np.ndarray,
    top_k: int = 10,
    rate: float = FALSE_POSITIVE_RATE,
) -> Trained:
    """A detector fitted on rows of a dataset, with the threshold that flags `rate` of their safe prompts.

    inner: the inner fold of each row.
    """
    labels = np.array(dataset.labels)[rows]
    done = fit(kind, vectors(rows, rows)[0], labels, inner, top_k, lambda held: vectors(rows[~held], rows[held]))
    return Trained(done.detector, done.held_out, dm.threshold_at(done.held_out[labels == 0], rate))


def pairings(
    dataset: LabelledDataset,
    vectors: Vectors,
    kinds: Sequence[str],
    top_k: int = 10,
    seed: int = 42,
) -> Iterator[Pairing]:
    """Every detector of `kinds` within each set by grouped five-fold, on every other set, and trained on all others.

    The threshold flags 5 % of the training side's safe prompts by their held-out scores.
    """
    labels, clusters = np.array(dataset.labels), np.array(dataset.clusters)
    length = lengths_of(dataset.texts["prompt"])
    fitted: dict[tuple[str, bytes], Trained] = {}
    inner: dict[bytes, np.ndarray] = {}

    def tested(kind: str, train: np.ndarray, test: np.ndarray, keep: bool) -> tuple[np.ndarray, ...]:
        of = length if kind == "prompt_length" else vectors
        name = train.tobytes()
        if name not in inner:
            inner[name] = inner_folds(dataset, train, seed)
        done = fitted.get((kind, name)) or trained(kind, of, dataset, train, inner[name], top_k)
        if keep:
            fitted[kind, name] = done
        asked = of(train, test)[1]
        scores = done.detector.scores(asked)
        return scores, scores >= done.threshold, without_known_word(asked)

    for test in dataset.group_order:
        rows = np.flatnonzero(np.array(dataset.groups, dtype=object) == test)
        for name, train in training_sides(dataset, test).items():
            within = name == test
            parts = [(train, np.arange(len(rows)))]
            if within:
                fold_of = folds(labels[rows], clusters[rows], FOLDS, seed)
                parts = [(rows[fold_of != f], np.flatnonzero(fold_of == f)) for f in range(FOLDS)]
            for kind in kinds:
                scores = np.empty((len(rows), SHUFFLES) if kind == CONTROLS[1] else len(rows))
                flags, unknown = np.zeros((2, len(rows)), dtype=bool)
                for seen, held in parts:
                    if kind == CONTROLS[1]:
                        scores[held] = shuffled_scores(*vectors(seen, rows[held]), labels[seen], seed)
                    else:
                        scores[held], flags[held], unknown[held] = tested(kind, seen, rows[held], keep=not within)
                yield Pairing(name, test, kind, rows, scores, None if kind == CONTROLS[1] else flags, unknown)


def shuffled_scores(seen, asked, labels: np.ndarray, seed: int = 42) -> np.ndarray:
    """Scores by the difference of class means with shuffled labels: (m, SHUFFLES).

    This difference is the limit of class-balanced logistic regression with strong regularization, and is fast. Many
    shuffles are needed, because the AUROC of a single one may be far from one half.
    """
    generator = np.random.default_rng([seed, len(labels)])
    dealt = np.stack([generator.permutation(labels) for _ in range(SHUFFLES)], axis=1).astype(np.float64)  # (n, s)
    weights = dealt / dealt.sum(axis=0) - (1 - dealt) / (1 - dealt).sum(axis=0)
    return np.asarray(asked @ (seen.T @ weights))
