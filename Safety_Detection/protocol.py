"""Trains detectors on one set of prompts, tests them on another or inside the same, and lets no side see the other."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from Safety_Detection.detectors import CONTROLS, INNER_FOLDS, Detector, Fitted, fit, folds
from Safety_Detection.groups import normalised
from Safety_Detection.labelled_sets import FOLDS, LabelledDataset
from Safety_Detection.words import words_of
from utils import detection_metrics as dm
from utils import metrics

OTHERS = "others"
FALSE_POSITIVE_RATE = 0.05
SHUFFLES = 100
# (rows trained on, rows asked for) to vectors of both, of length 1 (or 0), that know nothing of the latter.
Vectors = Callable[[np.ndarray, np.ndarray], tuple]


@dataclass(frozen=True)
class Pairing:
    """A detector of one set on another. train: a set's name, or `others` for all but the tested one.

    rows: m, where the tested prompts stand in the dataset. scores: (m,), or (m, shuffles) for shuffled labels.
    flags: bool (m,), what the threshold of the training side flags; None for shuffled labels.
    detectors: those fitted, one or one of each fold. taken_out: prompts that the training side lost for standing in
    the tested set too.
    """

    train: str
    test: str
    kind: str
    rows: np.ndarray
    scores: np.ndarray
    flags: np.ndarray | None
    detectors: tuple[Detector, ...]
    taken_out: int

    @property
    def group(self) -> str:
        return f"{self.train} -> {self.test}"


def vectors_of(matrix: np.ndarray) -> Vectors:
    """The rows of an encoder's matrix (n, d)."""
    unit = metrics.unit_rows(matrix).astype(np.float32)
    return lambda train, test: (unit[train], unit[test])


def word_vectors_of(texts: Sequence[str]) -> Vectors:
    """TF-IDF fitted on the training side alone: words that only the tested prompts have count nothing."""

    @functools.lru_cache(maxsize=FOLDS * (1 + INNER_FOLDS))
    def known(train: bytes) -> tuple:
        mine = [texts[i] for i in np.frombuffer(train, dtype=np.int64)]
        words = words_of(mine)
        return words, words.rows(mine)

    def of(train: np.ndarray, test: np.ndarray) -> tuple:
        words, rows = known(train.astype(np.int64).tobytes())
        return rows, words.rows([texts[i] for i in test])

    return of


def lengths_of(texts: Sequence[str]) -> Vectors:
    """The number of characters of each text, as vectors of one number."""
    lengths = np.array([[len(text)] for text in texts], dtype=np.float64)
    return lambda train, test: (lengths[train], lengths[test])


def training_sides(dataset: LabelledDataset, test: str) -> dict[str, tuple[np.ndarray, int]]:
    """By name, the rows of each set that a detector tested on `test` may be trained on, and how many were taken out.

    The tested set itself is whole: its folds keep groups, and so equal texts, on one side. `others` where there are
    two others at least.
    """
    groups = np.array(dataset.groups, dtype=object)
    plain = [normalised(text) for text in dataset.texts["prompt"]]
    there = {plain[i] for i in np.flatnonzero(groups == test)}
    fresh = np.array([text not in there for text in plain])
    names = [*dataset.group_order, *([OTHERS] if len(dataset.group_order) > 2 else [])]
    sides = {}
    for name in names:
        mine = (groups != test) if name == OTHERS else (groups == name)
        kept = mine if name == test else mine & fresh
        sides[name] = np.flatnonzero(kept), int(mine.sum() - kept.sum())
    return sides


def pairings(
    dataset: LabelledDataset,
    vectors: Vectors,
    kinds: Sequence[str],
    top_k: int = 10,
    seed: int = 42,
    note: Callable[[str], None] = lambda step: None,
) -> Iterator[Pairing]:
    """Every detector of `kinds` within each set by grouped five-fold, on every other set, and trained on all others.

    A threshold is the one that flags 5 % of the training side's safe prompts, each scored by a detector that was
    fitted without it. note: called with the name of each step.
    """
    labels, clusters = np.array(dataset.labels), np.array(dataset.clusters)
    length = lengths_of(dataset.texts["prompt"])
    fitted: dict[tuple[str, bytes], Fitted] = {}

    def inner(train: np.ndarray) -> np.ndarray:
        return folds(labels[train], clusters[train], INNER_FOLDS, seed)

    def tested(kind: str, train: np.ndarray, test: np.ndarray, keep: bool) -> tuple[Detector, np.ndarray, np.ndarray]:
        of = length if kind == "prompt_length" else vectors
        seen, asked = of(train, test)
        key = (kind, train.tobytes())
        done = fitted.get(key) or fit(
            kind, seen, labels[train], inner(train), top_k, lambda held: of(train[~held], train[held])
        )
        if keep:
            fitted[key] = done
        threshold = dm.threshold_at(done.held_out[labels[train] == 0], FALSE_POSITIVE_RATE)
        scores = done.detector.scores(asked)
        return done.detector, scores, scores >= threshold

    for test in dataset.group_order:
        for name, (train, taken_out) in training_sides(dataset, test).items():
            note(f"{name} -> {test}")
            rows = np.flatnonzero(np.array(dataset.groups, dtype=object) == test)
            within = name == test
            parts = [(train, np.arange(len(rows)))]
            if within:
                fold_of = folds(labels[rows], clusters[rows], FOLDS, seed)
                parts = [(rows[fold_of != f], np.flatnonzero(fold_of == f)) for f in range(FOLDS)]
            for kind in kinds:
                scores = np.empty((len(rows), SHUFFLES) if kind == CONTROLS[1] else len(rows))
                flags = np.zeros(len(rows), dtype=bool)
                detectors = []
                for seen, held in parts:
                    if kind == CONTROLS[1]:
                        scores[held] = shuffled_scores(*vectors(seen, rows[held]), labels[seen], seed)
                    else:
                        detector, scores[held], flags[held] = tested(kind, seen, rows[held], keep=not within)
                        detectors.append(detector)
                yield Pairing(
                    name,
                    test,
                    kind,
                    rows,
                    scores,
                    None if kind == CONTROLS[1] else flags,
                    tuple(detectors),
                    taken_out,
                )


def shuffled_scores(seen, asked, labels: np.ndarray, seed: int = 42) -> np.ndarray:
    """Scores by the difference of the class means of labels dealt out anew: (m, SHUFFLES).

    That difference is where class-balanced logistic regression begins when it is held back most, and costs next to
    nothing: a single shuffle gives a direction that may lean either way, so that many are needed to come to one half.
    """
    generator = np.random.default_rng([seed, len(labels)])
    dealt = np.stack([generator.permutation(labels) for _ in range(SHUFFLES)], axis=1).astype(np.float64)  # (n, s)
    weights = dealt / dealt.sum(axis=0) - (1 - dealt) / (1 - dealt).sum(axis=0)
    return np.asarray(asked @ (seen.T @ weights))
