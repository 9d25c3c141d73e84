"""What a detector may be trained on, so that no side sees a set's family, a group or a near text of the other."""

import functools
from collections.abc import Iterable, Sequence

import numpy as np

from Safety_Detection.detectors.kinds import INNER_FOLDS, balanced, folds
from Safety_Detection.sets.cards import SET_CARDS, TWO_CLASSES
from Safety_Detection.sets.groups import joined
from Safety_Detection.sets.labelled_sets import FOLDS, LabelledDataset
from Safety_Detection.sets.naming import OTHERS
from utils.schema import InputError

# Up to so many families each is left out by itself for held-out scores; of more, several at a time.
MOST_FAMILIES = 16
# Families are left out only if the rest keeps so many groups of each class.
LEAST_GROUPS = 10


class Sides:
    """The training sides of a dataset. Rows are indices of its prompts, in order."""

    def __init__(self, dataset: LabelledDataset, seed: int = 42) -> None:
        self.dataset, self.seed = dataset, seed
        self.sets = np.array(dataset.groups, dtype=object)
        self.labels = np.array(dataset.labels)
        self.clusters = np.array(dataset.clusters)
        self.families = np.array(list(map(dataset.family, dataset.groups)), dtype=object)
        self.without, self.trains = functools.cache(self._without), functools.cache(self._trains)

    def of_families(self, families: Iterable[str]) -> np.ndarray:
        """The prompts of these families."""
        return np.flatnonzero(np.isin(self.families, list(families)))

    def _without(self, families: frozenset[str]) -> np.ndarray:
        """The prompts outside these families that are no near-duplicates of one in them."""
        held = np.isin(self.families, list(families))
        return np.flatnonzero(~held & ~self.dataset.near.near(np.flatnonzero(held)))

    def elsewhere(self, name: str) -> np.ndarray:
        """The prompts of a set that are no near-duplicates of one of another family: what its detector is trained on
        that is tested on those.
        """
        rows = self.dataset.rows(name)
        others = np.flatnonzero(self.families != self.dataset.family(name))
        return rows[~self.dataset.near.near(others)[rows]]

    def folds_of(self, rows: np.ndarray, number: int) -> np.ndarray:
        """The fold of each row, 0 to number - 1. Groups stay together, as do near-duplicates of several sets."""
        together = joined(len(rows), self.dataset.near.links(rows), self.clusters[rows].tolist())
        return folds(self.labels[rows], together, number, self.seed)

    def outer(self, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """(train, tested) of each fold within a set. They keep its clusters together and need no other rule."""
        rows = self.dataset.rows(name)
        fold_of = folds(self.labels[rows], self.clusters[rows], FOLDS, self.seed)
        return [(rows[fold_of != f], rows[fold_of == f]) for f in range(FOLDS)]

    def inner(self, rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """(train, held out) of each inner fold of a training side of one family."""
        fold_of = self.folds_of(rows, INNER_FOLDS)
        return [(rows[fold_of != f], rows[fold_of == f]) for f in range(INNER_FOLDS)]

    def parts(self, families: frozenset[str], singly: bool = True) -> list[frozenset[str]]:
        """The families that are left out, besides these, for held-out scores of the side without these.

        One at a time; or dealt into INNER_FOLDS parts if there are more than MOST_FAMILIES, or not `singly`. Empty if
        that would leave too little of a class: then the side is held out by groups.
        """
        rest = [name for name in dict.fromkeys(self.families) if name not in families]
        if singly and len(rest) <= MOST_FAMILIES:
            found = [frozenset({name}) for name in rest]
        else:
            found = [frozenset(rest[i::INNER_FOLDS]) for i in range(min(INNER_FOLDS, len(rest)))]
        left = (self.without(families | part) for part in found)
        return found if all(self.trainable(rows, LEAST_GROUPS) for rows in left) else []

    def trainable(self, rows: np.ndarray, least: int = INNER_FOLDS) -> bool:
        """Whether there are prompts of both classes to train on, each in at least so many groups."""
        held = [set(self.clusters[rows[self.labels[rows] == label]].tolist()) for label in (0, 1)]
        return min(map(len, held)) >= least

    def weights(self, rows: np.ndarray) -> np.ndarray:
        """What each of the rows of several sets counts: see `balanced`."""
        return balanced(self.labels[rows], self.sets[rows])

    def has_others(self, name: str) -> bool:
        """Whether a detector of all other families can be tested on a set, and is not that of a single set."""
        rows = self.without(frozenset({self.dataset.family(name)}))
        return len(set(self.sets[rows])) > 1 and self.trainable(rows)

    def crossed(self) -> list[tuple[str, str]]:
        """The pairs of an unsafe-only and a safe-only set of different families that leave enough to train on."""
        left = ((pair, self.without(frozenset(map(self.dataset.family, pair)))) for pair in self.dataset.crossings)
        return [pair for pair, rows in left if self.trainable(rows)]

    def _trains(self, test: str) -> list[str]:
        """The names of the sides that are tested on a set: sets of two classes, itself among them, and `others`."""
        family = self.dataset.family(test)
        names = [
            name
            for name in self.dataset.of_kind(TWO_CLASSES)
            if name == test or (self.dataset.family(name) != family and self.trainable(self.elsewhere(name)))
        ]
        return [*names, *([OTHERS] if self.has_others(test) else [])]


def check(dataset: LabelledDataset) -> None:
    """Raises InputError if there is a set on which no detector can be tested, or a set with too little to train on."""
    sides = Sides(dataset)
    for name in dataset.of_kind(TWO_CLASSES):
        if len(dataset.group_order) > 1 and not sides.trainable(sides.elsewhere(name)):
            raise InputError(
                f"--data: set '{name}' has too little left to train on without the texts that other sets have too; "
                f"leave it out, or {_shared(sides, name)}"
            )
    for test in dataset.group_order:
        if not sides.trains(test):
            left = set(sides.labels[sides.without(frozenset({sides.dataset.family(test)}))].tolist())
            lacks = " or ".join(word for label, word in ((1, "unsafe"), (0, "safe")) if label not in left)
            has = next(card.name for card in SET_CARDS.values() if card.kind == TWO_CLASSES and card.name != test)
            raise InputError(
                f"--data: set '{test}' has nothing left to train a detector on: outside its family "
                f"'{sides.dataset.family(test)}' there are too few {lacks} prompts; add a set that has some, as {has}"
            )


def _shared(sides: Sides, name: str) -> str:
    """The remedy that names the set of another family with the most texts near those of `name`."""
    near = sides.dataset.near.near(sides.dataset.rows(name))
    others: Sequence[str] = [
        one for one in sides.dataset.group_order if sides.dataset.family(one) != sides.dataset.family(name)
    ]
    most = max(others, key=lambda one: int(near[sides.dataset.rows(one)].sum()))
    return f"leave out '{most}', which has most of them"
