"""Fits a detector on labelled sets, with its threshold, its bank, and what it does to sets it has not seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from Safety_Detection.detectors import calibration
from Safety_Detection.detectors.kinds import Detector, candidates
from Safety_Detection.detectors.parts import Parts, highest
from Safety_Detection.guardrail.bank import Bank, familiarity, known_words
from Safety_Detection.guardrail.saved_detector import ALL
from Safety_Detection.protocol import evaluation
from Safety_Detection.protocol.sides import Sides
from Safety_Detection.sets.cards import SET_CARDS
from Safety_Detection.sets.labelled_sets import LabelledDataset
from utils.encoders.tfidf import without_known_word
from utils.metrics import detection as dm

ORDINARY = "ordinary"


@dataclass(frozen=True)
class Traffic:
    """The safe prompts of which a threshold flags a share.

    name: ALL, in which sets weigh by the square root of their size; ORDINARY; or as the user named some sets.
    sets: in which each prompt counts the same; none for ALL.
    """

    name: str = ALL
    sets: tuple[str, ...] = ()

    @property
    def is_own(self) -> bool:
        """Whether it is the user's own, of which more will come, and not published traffic that stands for it."""
        return bool(self.sets) and not any(name in SET_CARDS for name in self.sets)


@dataclass(frozen=True)
class Choices:
    """What a user chooses of a fit: the kind of detector, the false alarms that its threshold is for, and of what."""

    kind: str
    rate: float
    traffic: Traffic = Traffic()
    top_k: int = 10
    seed: int = 42


@dataclass(frozen=True)
class Fit:
    """A fitted detector, and the trial that it comes from.

    tested: what it does to the prompts held out. unseen: set to the family without which a detector has not seen it.
    parts: (n,), of each prompt, the part that it was held out with.
    """

    detector: Detector
    trial: evaluation.Trial
    choices: Choices
    tested: evaluation.Tested
    unseen: dict[str, frozenset[str]]
    parts: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """All prompts, by their indices."""
        return np.arange(len(self.labels))

    @property
    def labels(self) -> np.ndarray:
        """Of each prompt: 1 for unsafe."""
        return self.trial.of.labels

    @property
    def unknown(self) -> np.ndarray:
        """Of each prompt, bool (n,): whether it has no word that its held-out detector knows."""
        found = np.zeros(len(self.labels), dtype=bool)
        for inside in self.trial.sides[ALL].inner:
            found[self.trial.jobs[inside].asked] = self.trial.unknown[inside]
        return found

    def flagged(self, prompts: np.ndarray) -> np.ndarray:
        """Whether it flags some of the prompts that it was fitted on: bool (k,)."""
        rows, starts = self.trial.parts.rows(prompts)
        vectors = self.trial.vectors(self.rows, rows)[1]
        scores = highest(self.detector.scores(vectors), ~without_known_word(vectors), starts)
        return scores >= self.tested.threshold

    def at(self, rate: float, traffic: Traffic) -> evaluation.Tested:
        """What it does to the prompts held out at the threshold that flags this share of the traffic."""
        return self.trial.tested(ALL, self.choices.kind, rate, self._marked(traffic))

    def on(self, name: str, rate: float, traffic: Traffic) -> tuple[np.ndarray, np.ndarray, float]:
        """(rows, scores, threshold) of a set by the detector that has not seen it.

        The threshold is by what that detector's side has of the traffic; if that is nothing, it is the fit's own.
        """
        rows, side, marked = self.trial.of.dataset.rows(name), self.unseen[name], self._marked(traffic)
        of = self.trial.sides[side].whole
        job, kind = self.trial.jobs[of], self.choices.kind
        if marked is None or (marked & (self.trial.of.labels == 0))[job.train].any():
            done = self.trial.tested(side, kind, rate, marked)
            scores = done.scores
        else:
            done = self.at(rate, traffic)
            scores = self.trial.scores[of][kind][done.chosen]  # on the scale of that threshold
        return rows, scores[np.searchsorted(job.asked, rows)], done.threshold

    def _marked(self, traffic: Traffic) -> np.ndarray | None:
        return np.isin(self.trial.of.sets, traffic.sets) if traffic.sets else None


def fitted(
    dataset: LabelledDataset,
    vectors: evaluation.Vectors,
    choices: Choices,
    note: Callable[[str], object] = lambda sentence: None,
    parts: Parts | None = None,
) -> Fit:
    """A detector fitted on all sets of a dataset, with the threshold for a false positive rate.

    Several families are held out one by one for the threshold, one family by grouped folds; so is the user's own
    traffic if the threshold is by that, as what comes is like the rest of it. Of several families, the figures on each
    set are those of a detector fitted without its family and near-duplicates, if enough is left.
    vectors: of the dataset's prompts. parts: by which those held out are scored, whole if None.
    """
    kind, top_k, sides = choices.kind, choices.top_k, Sides(dataset, choices.seed)
    trial = evaluation.Trial(sides, vectors, [kind], top_k, parts)
    trial.add_without(ALL, frozenset())
    unseen: dict[str, frozenset[str]] = {}
    for name in dataset.group_order:
        family = frozenset({dataset.family(name)})
        if set(sides.families) <= family:
            continue
        if not sides.trainable(sides.without(family)):
            note(f"not tried on {name}: too little is left to fit on without its family")
            continue
        unseen[name] = family
        if family not in trial.sides:
            trial.add_without(family, family)
    own = np.flatnonzero(np.isin(sides.sets, choices.traffic.sets))
    if choices.traffic.is_own and by_family(trial):
        trial.add_folds(ALL, own)
    trial.run()
    weights = trial.jobs[trial.sides[ALL].whole].weights
    everything = np.arange(len(dataset))
    fitted_on = candidates(kind, vectors(everything, everything[:0])[0], sides.labels, top_k, weights)
    held_out = np.zeros(len(dataset), dtype=int)
    for number, inside in enumerate(trial.sides[ALL].inner):
        held_out[trial.jobs[inside].asked] = number
    marked = np.isin(sides.sets, choices.traffic.sets) if choices.traffic.sets else None
    done = trial.tested(ALL, kind, choices.rate, marked)
    return Fit(fitted_on[done.chosen], trial, choices, done, unseen, held_out)


def has_safe(dataset: LabelledDataset, traffic: Traffic) -> bool:
    """Whether any prompt of some traffic is safe."""
    return any(not label and name in traffic.sets for label, name in zip(dataset.labels, dataset.groups, strict=True))


def how_held_out(fit: Fit) -> str:
    """In which parts prompts were held out, in words."""
    inner = fit.trial.sides[ALL].inner
    parts = [inside for inside in inner if isinstance(inside, frozenset)]
    folds, families = len(inner) - len(parts), sum(map(len, parts))
    if not parts:
        return f"groups held out in {folds} parts"
    how = "in turn" if families == len(parts) else f"in {len(parts)} parts"
    return f"{families} families held out {how}" + (f", {fit.choices.traffic.name} by {folds} folds" if folds else "")


def by_family(trial: evaluation.Trial) -> bool:
    """Whether prompts are held out with their family, and not by groups."""
    return isinstance(trial.sides[ALL].inner[0], frozenset)


def bank_of(fit: Fit, words: Sequence[str], digests: Sequence[str], signs: float) -> Bank:
    """What the detector was fitted on, without the texts. words, digests, signs: of its prompts, as `Bank` has them."""
    dataset, part_of = fit.trial.of.dataset, fit.trial.parts.of
    rows, part_rows = fit.trial.vectors(fit.rows, len(dataset) + np.arange(len(part_of)))
    family_of = {name: dataset.family(name) for name in dataset.group_order}
    return Bank(
        dataset=replace(dataset, texts={"prompt": tuple(words)}, family_of=family_of),
        rows=rows,
        parts=part_rows,
        part_of=part_of,
        digests=tuple(digests),
        familiar=familiarity(rows, fit.parts),
        known_words=known_words(words, fit.parts),
        signs=signs,
    )


def about(fit: Fit, dataset: LabelledDataset) -> dict:
    """How a detector was trained, what its threshold was chosen for, and its figures on other sets."""
    labels, done, trial = fit.labels, fit.tested, fit.trial
    weights = trial.jobs[trial.sides[ALL].whole].weights
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "trained_on": {
            "dataset": dataset.name,
            "sets": list(dataset.group_order),
            "families": list(dict.fromkeys(trial.of.families)),
            "files": [vars(file) for file in dataset.files],
            "prompts": len(dataset),
            "unsafe": int(labels.sum()),
        },
        "chosen_for": {
            "false_positive_rate": fit.choices.rate,
            "of": fit.choices.traffic.name,
            "sets": list(fit.choices.traffic.sets),
            "held_out_by": "family" if by_family(trial) else "group",
            "held_out": how_held_out(fit),
            "weighted_auroc": float(dm.auroc(dm.curve(labels, done.held_out, weights))),
            "no_known_word": int(fit.unknown.sum()),
        },
        "missed": _missed(fit),
        "elsewhere": [_tried(fit, name) for name in fit.unseen],
        "calibration": _calibrated(fit),
    }


def _missed(fit: Fit) -> dict:
    """Of the unsafe prompts of the user's own sets, how many it was fitted on, and the ids of those it still misses."""
    prompts = np.flatnonzero(~np.isin(fit.trial.of.sets, [*SET_CARDS]) & (fit.labels == 1))
    missed = prompts[~fit.flagged(prompts)] if len(prompts) else prompts
    return {"unsafe": len(prompts), "ids": [fit.trial.of.dataset.ids[i] for i in missed]}


def _calibrated(fit: Fit) -> dict | None:
    """What `calibration.measured` says of the held-out scores. Those that say nothing are no scores in use either."""
    known = ~fit.unknown
    arrays = fit.tested.held_out, fit.labels, fit.trial.of.weights(fit.rows), fit.parts
    return calibration.measured(*(array[known] for array in arrays))


def _tried(fit: Fit, name: str) -> dict:
    """What the detector of a side does to a set that it has not seen; None for what needs a class that it lacks."""
    rows, scores, threshold = fit.on(name, fit.choices.rate, fit.choices.traffic)
    whole = fit.trial.sides[fit.unseen[name]].whole
    labels, flags = fit.trial.of.labels[rows], scores >= threshold
    shares = [float(flags[labels == c].mean()) if (labels == c).any() else None for c in (0, 1)]
    return {
        "set": name,
        "prompts": len(rows),
        "auroc": None if None in shares else float(dm.auroc(dm.curve(labels, scores))),
        "false_positive_rate": shares[0],
        "true_positive_rate": shares[1],
        "no_known_word": int(fit.trial.unknown[whole][np.isin(fit.trial.jobs[whole].asked, rows)].sum()),
    }
