"""Chooses how far to go from the base, by families that were held out of what was tuned on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np

from Safety_Detection.sets.cards import SET_CARDS
from Safety_Tuning.candidate import BASE, Candidate, rotated
from Safety_Tuning.columns import neighbors_kept
from Safety_Tuning.training_side import TrainingSide
from Safety_Tuning.triples import drawn_evenly
from utils.metrics import embedding as metrics
from utils.metrics.neighbors import nearest_neighbors

if TYPE_CHECKING:
    from Safety_Tuning.methods import Method

# The budget: tunings with families held out, and what each is measured with.
PARTS = 2
# What is shipped is the mean of so many that were trained on different batches, which keeps more of the neighbours.
MODELS = 3
SHARES, EXPONENTS = (0.4, 0.5, 0.6), (0.0, 0.1)
# Of ten neighbours of ordinary prompts, the share that must be left. What is shipped keeps a little less, as it is
# tuned on all families: this leaves 0.85.
LEAST_KEPT = 0.86
# What purity, triplet and similarity may lose: with the hazards of a part of the families they are known no better.
TOLERANCE = 0.01
# The most unsafe prompts of each set in the bank by which prompts are detected, and of each set that are held out.
OF_EACH = 100
# The false alarms up to which the area under the ROC curve counts: a guard's are few.
MOST_ALARMS = 0.05


@dataclass(frozen=True)
class Measured:
    """What a candidate does on families that were held out. All in [0, 1] but similarity, which is at most 1.

    detection: area under the ROC curve of the nearest unsafe prompt against ordinary traffic, up to MOST_ALARMS,
    standardized so that chance is 0.5. purity: mean over hazards of the share of the ten nearest unsafe prompts that
    are of the same one. triplet: how often an unsafe prompt is nearer to another one of its hazard than to the safe
    prompt that was nearest by the base. Both are 0 for every candidate if too few held-out prompts have a hazard.
    similarity: normalized, of an unsafe prompt and that safe one; lower is better.
    kept: of ten neighbours of ordinary prompts, the share that is left.
    """

    detection: float
    purity: float
    triplet: float
    similarity: float
    kept: float


class HeldOut:
    """A part of the families that is held out, and what is measured on it.

    train: the rows that are tuned on.
    """

    def __init__(self, side: TrainingSide, base: np.ndarray, families: Sequence[str], seed: int) -> None:
        """base: float32 (n, d), the base's vectors of length 1 of the side's prompts."""
        held = np.isin(side.families, list(families))
        unsafe, ordinary = side.labels == 1, ordinary_rows(side)
        self.train = np.flatnonzero(~held & ~np.isin(np.arange(len(side)), ordinary))
        self._bank = drawn_evenly(side, self.train[unsafe[self.train]], OF_EACH, seed)
        self._unsafe = drawn_evenly(side, np.flatnonzero(held & unsafe), OF_EACH, seed)
        self._ordinary = ordinary
        safe = np.setdiff1d(np.flatnonzero(~unsafe), self.train)
        self._alike = safe[(base[self._unsafe] @ base[safe].T).argmax(axis=1)]
        self._hazards = np.array(side.hazards, dtype=object)[self._unsafe]
        self._prompts = [side.prompts[row] for row in self._unsafe]
        self.rows = np.unique(np.concatenate([self._bank, self._unsafe, self._ordinary, self._alike]))

    def measured(self, vectors: np.ndarray, before: np.ndarray) -> Measured:
        """What vectors (r, d), of length 1, of `rows` do. before: those of the base, read in the same way."""
        from sklearn.metrics import roc_auc_score

        places = [np.searchsorted(self.rows, rows) for rows in (self._bank, self._unsafe, self._ordinary, self._alike)]
        bank, unsafe, ordinary, alike = (vectors[place] for place in places)
        scores = np.concatenate([(rows @ bank.T).max(axis=1) for rows in (unsafe, ordinary)])
        labels = np.repeat([1, 0], [len(unsafe), len(ordinary)])
        own = (unsafe * alike).sum(axis=1)
        known = self._hazards != ""
        hazards, texts = self._hazards[known].tolist(), [self._prompts[i] for i in np.flatnonzero(known)]
        purity = np.zeros(len(hazards))
        if len(hazards) > 1:
            neighbors = nearest_neighbors(unsafe[known], min(10, len(hazards) - 1))
            purity = metrics.categorical_purity(neighbors, hazards)
        triplets = metrics.triplet_accuracy(unsafe[known], own[known], hazards, texts)
        triplets = triplets[~np.isnan(triplets)]
        unrelated = float((unsafe @ ordinary.T).mean())
        return Measured(
            detection=float(roc_auc_score(labels, scores, max_fpr=MOST_ALARMS)),
            purity=_mean([purity[self._hazards[known] == name].mean() for name in dict.fromkeys(hazards)]),
            triplet=_mean(triplets),
            similarity=float(metrics.normalized_similarity(own, unrelated).mean()),
            kept=float(neighbors_kept(before[places[2]], ordinary).mean()),
        )


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else 0.0


def ordinary_rows(side: TrainingSide) -> np.ndarray:
    """The prompts that are ordinary traffic when settings are chosen: those of a set that is, or of safe-only sets."""
    of_sets = [row for row, name in enumerate(side.sets) if name in SET_CARDS and SET_CARDS[name].ordinary]
    return np.array(of_sets, dtype=int) if of_sets else np.flatnonzero(side.ordinary)


def parts(side: TrainingSide) -> list[list[str]]:
    """The families with unsafe prompts, dealt into PARTS by their number of prompts; the largest is never held out.

    Without the largest there would be too little to tune on.
    """
    sizes = {name: int((side.labels[side.of_families([name])] == 1).sum()) for name in side.family_names}
    ordered = sorted(filter(sizes.get, sizes), key=lambda name: (-sizes[name], name))
    return [ordered[1:][at::PARTS] for at in range(min(PARTS, len(ordered) - 1))]


def measure(
    method: "Method", families: Sequence[str], seed: int, progress: Callable[[dict[str, float]], object]
) -> Iterator[tuple[Candidate, Measured]]:
    """Tunes without some families, and yields what each candidate does on them."""
    held = HeldOut(method.side, method.base, families, seed)
    trained = method.trained(held.train, seed, progress)
    before = method.vectors(trained, BASE.share, held.rows)
    yield BASE, held.measured(before, before)
    for share in SHARES:
        vectors = method.vectors(trained, share, held.rows)
        for exponent in EXPONENTS:
            yield Candidate(share, exponent), held.measured(rotated(vectors, exponent), before)


def chosen(measured: Sequence[dict[Candidate, Measured]]) -> Candidate:
    """The candidate that gains most of those that lose nothing, by the mean over the held-out parts.

    Gained is the rise of detection, purity and triplet and the fall of similarity together. Nothing is lost if none of
    them is worse than the base's by more than TOLERANCE, and LEAST_KEPT of the neighbours are left. The base is chosen
    if no such candidate gains anything.
    """
    means = {one: Measured(*np.mean([astuple(part[one]) for part in measured], axis=0).tolist()) for one in measured[0]}
    base = means[BASE]
    whole = [BASE, *(one for one in means if loses_nothing(means[one], base))]
    return max(whole, key=lambda one: sum(gains(means[one], base)))


def gains(candidate: Measured, base: Measured) -> tuple[float, float, float, float]:
    """What a candidate gains in detection, purity, triplet and similarity; below 0 what it loses."""
    return (
        candidate.detection - base.detection,
        candidate.purity - base.purity,
        candidate.triplet - base.triplet,
        base.similarity - candidate.similarity,
    )


def loses_nothing(candidate: Measured, base: Measured) -> bool:
    """Whether a candidate is nowhere worse than the base by more than TOLERANCE, and keeps enough neighbours."""
    return min(gains(candidate, base)) >= -TOLERANCE and candidate.kept >= LEAST_KEPT
