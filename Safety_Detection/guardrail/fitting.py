"""Fits a detector on labelled sets, with its threshold, its bank, and what it does to sets it has not seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from Safety_Detection.detectors import calibration
from Safety_Detection.detectors.kinds import Detector, candidates
from Safety_Detection.guardrail.bank import Bank, familiarity
from Safety_Detection.protocol import evaluation
from Safety_Detection.protocol.sides import Sides
from Safety_Detection.sets.labelled_sets import LabelledDataset
from Safety_Detection.sets.naming import OTHERS
from utils.metrics import detection as dm

ALL = "all"  # the side of all that is fitted on


@dataclass(frozen=True)
class Fit:
    """A fitted detector, and the trial that it comes from.

    rows: the prompts it was fitted on. tested: what it does to those held out. rate: the false alarms that its
    threshold is for. unseen: set to the side whose detector has not seen it. held_out: (n,), of each prompt of `rows`,
    the part that it was held out with.
    """

    detector: Detector
    trial: evaluation.Trial
    kind: str
    rate: float
    rows: np.ndarray
    tested: evaluation.Tested
    unseen: dict[str, object]
    parts: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """Of the prompts that were fitted on: 1 for unsafe."""
        return self.trial.of.labels[self.rows]

    @property
    def unknown(self) -> np.ndarray:
        """Of the prompts that were fitted on, bool (n,): whether it has no word that its held-out detector knows."""
        found = np.zeros(len(self.trial.of.labels), dtype=bool)
        for inside in self.trial.sides[ALL].inner:
            found[self.trial.jobs[inside].asked] = self.trial.unknown[inside]
        return found[self.rows]

    def on(self, name: str, rate: float | None = None) -> tuple[np.ndarray, np.ndarray, evaluation.Tested]:
        """(rows, scores, what was tested) of a set by the detector that has not seen it. rate: the fit's if None."""
        rows = self.trial.of.dataset.rows(name)
        side = self.unseen[name]
        done = self.trial.tested(side, self.kind, self.rate if rate is None else rate)
        return rows, done.scores[np.searchsorted(self.trial.jobs[self.trial.sides[side].whole].asked, rows)], done


def fitted(
    dataset: LabelledDataset,
    others: LabelledDataset | None,
    vectors: evaluation.Vectors,
    kind: str,
    rate: float,
    top_k: int = 10,
    seed: int = 42,
    note: Callable[[str], object] = lambda sentence: None,
    parts: evaluation.Parts | None = None,
) -> Fit:
    """A detector of `kind` fitted on all sets of a dataset, with the threshold for a false positive rate.

    Several families are held out one by one for the threshold, one family by grouped folds. The figures on other sets
    are those of a detector fitted without that set's family and near-duplicates: for each set of several families, or
    for each of `others`. A set without which too little is left has no such figures.
    others: one set of `dataset` and the sets that its detector is tested on; None if there are none. vectors: of the
    prompts of `others`, or of `dataset` if None. parts: by which those held out are scored, whole if None.
    """
    whole = others or dataset
    sides = Sides(whole, seed)
    mine = whole.rows(*dataset.group_order)
    trial = evaluation.Trial(sides, vectors, [kind], top_k, parts)
    if others is None:
        trial.add_without(ALL, frozenset())
    else:
        trial.add(ALL, mine, mine[:0])
    unseen: dict[str, object] = {}
    for name in whole.group_order:
        family = frozenset({sides.family(name)})
        left = sides.without(family) if others is None else sides.elsewhere(dataset.group_order[0])
        if set(sides.families[mine]) <= family:
            continue
        if not sides.trainable(left):
            note(f"not tried on {name}: too little is left to fit on without its family")
            continue
        unseen[name] = family if others is None else OTHERS
        if unseen[name] in trial.sides:
            continue
        if others is None:
            trial.add_without(family, family)
        else:
            trial.add(OTHERS, left, np.flatnonzero(sides.families != sides.family(dataset.group_order[0])))
    trial.run()
    done = trial.tested(ALL, kind, rate)
    weights = trial.jobs[trial.sides[ALL].whole].weights
    detector = candidates(kind, vectors(mine, mine[:0])[0], sides.labels[mine], top_k, weights)[done.chosen]
    held_out = np.zeros(len(whole), dtype=int)
    for number, inside in enumerate(trial.sides[ALL].inner):
        held_out[trial.jobs[inside].asked] = number
    return Fit(detector, trial, kind, rate, mine, done, unseen, held_out[mine])


def bank_of(fit: Fit, words: Sequence[str], digests: Sequence[str]) -> Bank:
    """What the detector was fitted on, without the texts. words, digests: of its prompts, as `Bank` has them."""
    dataset = fit.trial.of.dataset
    place = {row: position for position, row in enumerate(fit.rows.tolist())}

    def only(values: Sequence) -> tuple:
        return tuple(values[i] for i in fit.rows)

    sets, parts = only(dataset.groups), fit.trial.parts
    further = np.flatnonzero(np.isin(parts.of, fit.rows))
    rows, part_rows = fit.trial.vectors(fit.rows, parts.prompts + further)
    return Bank(
        rows=rows,
        ids=only(dataset.ids),
        sets=sets,
        words=tuple(words),
        types=only(dataset.types),
        labels=fit.labels.astype(np.int8),
        clusters=fit.trial.of.clusters[fit.rows],
        family_of={name: dataset.family_of.get(name, name) for name in dict.fromkeys(sets)},
        twins=tuple((place[u], place[s]) for u, s in dataset.twins if u in place and s in place),
        familiar=familiarity(rows, fit.parts),
        digests=tuple(digests),
        parts=part_rows if len(further) else None,
        part_of=np.array([place[row] for row in parts.of[further].tolist()], dtype=np.int64),
    )


def about(fit: Fit, dataset: LabelledDataset) -> dict:
    """How a detector was trained, what its threshold was chosen for, and its figures on other sets."""
    labels, done, trial = fit.labels, fit.tested, fit.trial
    flags = done.held_out >= done.threshold
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "trained_on": {
            "dataset": dataset.name,
            "sets": list(dataset.group_order),
            "families": list(dict.fromkeys(trial.of.families[fit.rows])),
            "files": [vars(file) for file in dataset.files],
            "prompts": len(dataset),
            "unsafe": int(labels.sum()),
        },
        "chosen_for": {
            "false_positive_rate": fit.rate,
            "held_out_by": "family" if isinstance(trial.sides[ALL].inner[0], frozenset) else "group",
            "auroc": float(dm.auroc(dm.curve(labels, done.held_out))),
            "false_positive_rate_held_out": float(dm.flagged_rate(flags, labels == 0)),
            "true_positive_rate_held_out": float(dm.flagged_rate(flags, labels == 1)),
            "no_known_word": int(fit.unknown.sum()),
        },
        "elsewhere": [_tried(fit, name) for name in fit.unseen],
        "calibration": _calibrated(fit),
    }


def _calibrated(fit: Fit) -> dict | None:
    """What `calibration.measured` says of the held-out scores. Those that say nothing are no scores in use either."""
    known = ~fit.unknown
    arrays = fit.tested.held_out, fit.labels, fit.trial.of.weights(fit.rows), fit.parts
    return calibration.measured(*(array[known] for array in arrays))


def _tried(fit: Fit, name: str) -> dict:
    """What the detector of a side does to a set that it has not seen; None for what needs a class that it lacks."""
    rows, scores, done = fit.on(name)
    whole = fit.trial.sides[fit.unseen[name]].whole
    labels, flags = fit.trial.of.labels[rows], scores >= done.threshold
    shares = [float(flags[labels == c].mean()) if (labels == c).any() else None for c in (0, 1)]
    return {
        "set": name,
        "prompts": len(rows),
        "auroc": None if None in shares else float(dm.auroc(dm.curve(labels, scores))),
        "false_positive_rate": shares[0],
        "true_positive_rate": shares[1],
        "no_known_word": int(fit.trial.unknown[whole][np.isin(fit.trial.jobs[whole].asked, rows)].sum()),
    }
