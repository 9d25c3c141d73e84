"""Trains detectors within sets, on one set and on all others, and scores what they have not seen."""

import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from Safety_Detection.detectors.kinds import (
    CONTROLS,
    INNER_FOLDS,
    KINDS,
    candidates,
    in_threads,
    strongest,
)
from Safety_Detection.detectors.neighbors import Matrix, scores, scores_of_sides
from Safety_Detection.detectors.parts import Parts, any_of, highest
from Safety_Detection.protocol.sides import Sides
from Safety_Detection.sets.cards import TWO_CLASSES
from Safety_Detection.sets.labelled_sets import FOLDS, LabelledDataset
from Safety_Detection.sets.naming import ACROSS, OTHERS, WITHIN
from utils.encoders.tfidf import WordCounts, without_known_word
from utils.metrics import detection as dm
from utils.metrics import embedding as metrics

FALSE_POSITIVE_RATE = 0.05
SHUFFLES = 100
# (training rows, other rows) to the vectors of both, of length 1 (or 0), which are fitted on the training rows only.
Vectors = Callable[[np.ndarray, np.ndarray], Sequence]
NEIGHBORS = ("nearest_unsafe", "knn_vote")


@dataclass(frozen=True)
class Pairing:
    """A detector tested on a set, or crossed: on an unsafe-only and a safe-only set, when it has seen neither family.

    train: the set that it was trained on, or `others` for all outside the families. test, against: the set, or the
    unsafe-only and the safe-only one.
    rows: m, the indices of the tested prompts in the dataset, those of `test` first. scores: (m,), or (m, shuffles) for
    shuffled labels.
    flags: bool (m,), whether the training side's threshold flags each; None where nothing is flagged: for shuffled
    labels, crossed, and for a guard that only gives scores.
    unknown: bool (m,), whether each has no word of the training side; None where nobody asks.
    """

    train: str
    test: str
    kind: str
    rows: np.ndarray
    scores: np.ndarray
    flags: np.ndarray | None = None
    unknown: np.ndarray | None = None
    against: str | None = None


@dataclass(frozen=True)
class Job:
    """Prompts to train on and prompts to score.

    weights: of the former; None for one set, whose prompts count alike. without: the families that are left out, None
    for a part of one set.
    """

    train: np.ndarray
    asked: np.ndarray
    weights: np.ndarray | None = None
    without: frozenset[str] | None = None


@dataclass(frozen=True)
class Side:
    """A training side: the name of its job, and of those whose asked prompts are held out of it."""

    whole: Hashable
    inner: tuple[Hashable, ...]


@dataclass(frozen=True)
class Tested:
    """What a detector does that was fitted on a side. chosen: which candidate, by held-out scores.

    held_out: (n,), those of the side's prompts, in the order of its rows. scores: (m,), of the asked prompts.
    """

    chosen: int
    held_out: np.ndarray
    threshold: float
    scores: np.ndarray


class EncoderVectors:
    """The rows of an encoder's matrix (n, d)."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.unit = metrics.unit_rows(matrix).astype(np.float32)

    def __call__(self, train: np.ndarray, test: np.ndarray) -> tuple:
        return self.unit[train], self.unit[test]


def word_vectors_of(texts: Sequence[str]) -> Vectors:
    """TF-IDF fitted on the training side alone: words that only tested prompts have are ignored."""
    return WordCounts(texts).fitted


class Trial:
    """Training sides of a dataset, each fitted once for all that it is tested on.

    Whole prompts are trained on; those asked are scored by `parts`, whole if None. sides: name to Side. jobs: name to
    Job. scores: name of a job to detector to float64 (candidates, asked). unknown: name of a job to whether each asked
    prompt has no word of those trained on.
    """

    def __init__(
        self, of: Sides, vectors: Vectors, kinds: Sequence[str], top_k: int = 10, parts: Parts | None = None
    ) -> None:
        self.of, self.vectors, self.top_k = of, vectors, top_k
        self.parts = Parts(len(of.labels)) if parts is None else parts
        self.kinds = [kind for kind in kinds if kind != CONTROLS[1]]
        self.lengths = np.array([[len(text)] for text in of.dataset.texts["prompt"]], dtype=np.float64)
        self.sides: dict[Hashable, Side] = {}
        self.jobs: dict[Hashable, Job] = {}
        self.scores: dict[Hashable, dict[str, np.ndarray]] = {}
        self.unknown: dict[Hashable, np.ndarray] = {}

    def add(self, name: Hashable, train: np.ndarray, asked: np.ndarray) -> None:
        """Adds a side that is held out by groups."""
        weights = self.of.weights if len(set(self.of.sets[train])) > 1 else lambda rows: None
        inner = tuple((name, fold) for fold in range(INNER_FOLDS))
        for inside, (seen, held) in zip(inner, self.of.inner(train), strict=True):
            self.jobs[inside] = Job(seen, held, weights(seen))
        self.jobs[name] = Job(train, asked, weights(train))
        self.sides[name] = Side(name, inner)

    def add_without(self, name: Hashable, families: frozenset[str], singly: bool = True) -> None:
        """Adds the side of all prompts outside these families, which is held out family by family."""
        parts = self.of.parts(families, singly)
        if not parts:
            self.add(name, self.of.without(families), self.of.of_families(families))
            return
        wholes = [families, *(families | part for part in parts)]
        for held in wholes:
            if held not in self.jobs:
                rows = self.of.without(held)
                self.jobs[held] = Job(rows, self.of.of_families(held), self.of.weights(rows), held)
        self.sides[name] = Side(families, tuple(wholes[1:]))

    def add_folds(self, name: Hashable, rows: np.ndarray) -> None:
        """Holds some prompts of a side out by folds instead, each by a detector that has seen the rest of them."""
        side, fold_of = self.sides[name], self.of.folds_of(rows, FOLDS)
        whole = self.jobs[side.whole].train
        inner = tuple((name, "fold", fold) for fold in range(FOLDS))
        for inside, fold in zip(inner, range(FOLDS), strict=True):
            held = rows[fold_of == fold]
            train = whole[~self.of.dataset.near.near(held)[whole]]
            self.jobs[inside] = Job(train, held, self.of.weights(train))
        self.sides[name] = Side(side.whole, (*side.inner, *inner))  # of several, the last scores of a prompt count

    def run(self, progress: Callable[[], object] = lambda: None) -> None:
        """Does all jobs that are not done."""
        todo = [name for name in self.jobs if name not in self.scores]
        together = {}
        if isinstance(self.vectors, EncoderVectors) and any(kind in NEIGHBORS for kind in self.kinds):
            for job in map(self.jobs.__getitem__, todo):
                if job.without is not None:
                    together[job.without] = job.train, job.weights, self.parts.rows(job.asked)[0]
            families = self.of.families[self.parts.owners]
            found = scores_of_sides(self.vectors.unit, self.of.labels, together, families, self.top_k, in_threads)
            for name, pair in found.items():
                starts = self.parts.rows(self.jobs[name].asked)[1]
                self.scores[name] = {
                    kind: highest(scored, np.ones(len(scored), dtype=bool), starts)[None]
                    for kind, scored in zip(NEIGHBORS, pair, strict=True)
                }
        rest = {name: [kind for kind in self.kinds if name not in together or kind not in NEIGHBORS] for name in todo}

        def work(name: Hashable) -> None:
            found = self._scored(self.jobs[name], rest[name], name)
            self.scores[name] = {**self.scores.get(name, {}), **found}

        in_threads(work, todo, progress)

    def _scored(self, job: Job, kinds: Sequence[str], name: Hashable) -> dict[str, np.ndarray]:
        labels = self.of.labels[job.train]
        rows, starts = self.parts.rows(job.asked)
        seen, asked = self.vectors(job.train, rows)
        known = ~without_known_word(asked)
        self.unknown[name] = ~any_of(known, starts)
        of_parts: dict[str, list[np.ndarray]] = {}
        if any(kind in NEIGHBORS for kind in kinds):  # both from the same similarities
            both = scores(seen, asked, labels, self.top_k, job.weights)
            of_parts = {kind: [values] for kind, values in zip(NEIGHBORS, both, strict=True)}
        for kind in kinds:
            if kind in KINDS and kind not in NEIGHBORS:
                fitted = candidates(kind, seen, labels, self.top_k, job.weights)
                of_parts[kind] = [detector.scores(asked) for detector in fitted]
        found = {kind: np.stack([highest(one, known, starts) for one in each]) for kind, each in of_parts.items()}
        if CONTROLS[0] in kinds:
            [length] = candidates(CONTROLS[0], self.lengths[job.train], labels, self.top_k, job.weights)
            found[CONTROLS[0]] = length.scores(self.lengths[job.asked])[None]
        return found

    def tested(
        self, name: Hashable, kind: str, rate: float = FALSE_POSITIVE_RATE, of: np.ndarray | None = None
    ) -> Tested:
        """The detector of a side: the candidate with the best held-out scores, and the threshold by these scores.

        The best is that of the largest mean area of the parts held out of one set, or else of the largest area over
        all that was held out, by weight. The threshold flags `rate` of the side's safe prompts by weight, or of those
        that `of` marks, each counting the same. of: bool, of all prompts of the dataset.
        """
        side = self.sides[name]
        whole = self.jobs[side.whole]
        scores_of = self.scores[side.whole][kind]
        held_out = np.full((len(scores_of), len(self.of.labels)), np.nan)
        for inside in side.inner:
            held_out[:, self.jobs[inside].asked] = self.scores[inside][kind]
        held_out = held_out[:, whole.train]
        labels = self.of.labels[whole.train]
        chosen = 0
        if len(held_out) > 1:
            # Of one set, groups are held out, and parts have both classes. Families often have one only.
            parts = [np.searchsorted(whole.train, self.jobs[inside].asked) for inside in side.inner]
            chosen = strongest(labels, held_out, whole.weights, parts if whole.weights is None else ())
        safe = labels == 0 if of is None else (labels == 0) & of[whole.train]
        weights = None if whole.weights is None or of is not None else whole.weights[safe]
        threshold = dm.threshold_at(held_out[chosen][safe], rate, weights)
        return Tested(chosen, held_out[chosen], threshold, scores_of[chosen])


def planned(dataset: LabelledDataset, vectors: Vectors, kinds: Sequence[str], top_k: int = 10, seed: int = 42) -> Trial:
    """All sides of an evaluation, not yet run.

    Named (`within`, set, fold), (`across`, set), (`others`, family), and (`others`, two families) for crossings.
    """
    of = Sides(dataset, seed)
    trial = Trial(of, vectors, kinds, top_k)
    for name in dataset.of_kind(TWO_CLASSES):
        for fold, (train, held) in enumerate(of.outer(name)):
            trial.add((WITHIN, name, fold), train, held)
        tests = [test for test in dataset.group_order if test != name and name in of.trains(test)]
        if tests:
            trial.add((ACROSS, name), of.elsewhere(name), dataset.rows(*tests))
    for family in dict.fromkeys(dataset.family(test) for test in dataset.group_order if OTHERS in of.trains(test)):
        trial.add_without((OTHERS, family), frozenset({family}))
    for families in dict.fromkeys(frozenset(map(dataset.family, pair)) for pair in of.crossed()):
        trial.add_without((OTHERS, families), families, singly=False)
    return trial


def pairings(
    dataset: LabelledDataset,
    vectors: Vectors,
    kinds: Sequence[str],
    top_k: int = 10,
    seed: int = 42,
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> Iterator[Pairing]:
    """Every detector of `kinds` on every set by what it was trained on, then crossed.

    Within a set of two classes by grouped five-fold; trained on one such set and tested on those of other families; and
    trained on all outside the tested family. progress: told how many jobs of how many are done.
    """
    trial = planned(dataset, vectors, kinds, top_k, seed)
    of = trial.of
    done = iter(range(1, len(trial.jobs) + 1))
    trial.run(lambda: progress(next(done), len(trial.jobs)))
    tested = functools.cache(trial.tested)

    def put(name: Hashable, kind: str, rows: np.ndarray, into: tuple[np.ndarray, ...]) -> None:
        """Writes scores, flags and unknown of a side's asked prompts that are among `rows`."""
        asked = trial.jobs[trial.sides[name].whole].asked
        _, here, there = np.intersect1d(rows, asked, return_indices=True)
        found = tested(name, kind)
        values = found.scores, found.scores >= found.threshold, trial.unknown[trial.sides[name].whole]
        for array, value in zip(into, values, strict=True):
            array[here] = value[there]

    for test in dataset.group_order:
        rows = dataset.rows(test)
        for train in of.trains(test):
            names = [(WITHIN, test, fold) for fold in range(FOLDS)] if train == test else [(ACROSS, train)]
            if train == OTHERS:
                names = [(OTHERS, dataset.family(test))]
            for kind in kinds:
                if kind == CONTROLS[1]:
                    if dataset.kind(test) == TWO_CLASSES:
                        yield _shuffled(trial, names, train, test, rows)
                    continue
                scores_of, flags, unknown = np.empty(len(rows)), *np.zeros((2, len(rows)), dtype=bool)
                for name in names:
                    put(name, kind, rows, (scores_of, flags, unknown))
                yield Pairing(train, test, kind, rows, scores_of, flags, unknown)
    for unsafe, safe in of.crossed():
        rows = np.concatenate([dataset.rows(unsafe), dataset.rows(safe)])
        side = OTHERS, frozenset(map(dataset.family, (unsafe, safe)))
        asked = trial.jobs[trial.sides[side].whole].asked
        for kind in kinds:
            if kind != CONTROLS[1]:
                scores_of = tested(side, kind).scores[np.searchsorted(asked, rows)]
                yield Pairing(OTHERS, unsafe, kind, rows, scores_of, against=safe)


def _shuffled(trial: Trial, names: Sequence[Hashable], train: str, test: str, rows: np.ndarray) -> Pairing:
    scores_of = np.empty((len(rows), SHUFFLES))
    for name in names:
        job = trial.jobs[trial.sides[name].whole]
        held = np.isin(rows, job.asked)
        seen, asked = trial.vectors(job.train, rows[held])
        scores_of[held] = shuffled_scores(seen, asked, trial.of.labels[job.train], trial.of.seed)
    return Pairing(train, test, CONTROLS[1], rows, scores_of)


def shuffled_scores(seen: Matrix, asked: Matrix, labels: np.ndarray, seed: int = 42) -> np.ndarray:
    """Scores by the difference of class means with shuffled labels: (m, SHUFFLES).

    This difference is the limit of class-balanced logistic regression with strong regularization, and is fast. Many
    shuffles are needed, because the AUROC of a single one may be far from one half.
    """
    generator = np.random.default_rng([seed, len(labels)])
    dealt = np.stack([generator.permutation(labels) for _ in range(SHUFFLES)], axis=1).astype(np.float64)  # (n, s)
    weights = dealt / dealt.sum(axis=0) - (1 - dealt) / (1 - dealt).sum(axis=0)
    return np.asarray(asked @ (seen.T @ weights))
