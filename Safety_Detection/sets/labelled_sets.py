"""Labelled sets, published or read from files, as one dataset."""

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from Safety_Detection.sets.cards import SAFE_ONLY, SET_CARDS, TWO_CLASSES, UNSAFE_ONLY
from Safety_Detection.sets.groups import NearTexts, joined
from Safety_Detection.sets.labelled_files import FAMILIES, ONE_CLASS, RESERVED, sets_of_file
from Safety_Detection.sets.labelled_set import FOLDER, LabelledSet, Unavailable
from Safety_Detection.sets.published_sets import PUBLISHED
from Safety_Detection.sets.shared_texts import labelled_both, removed, shared
from utils import config, files
from utils.data import sources
from utils.data.reading import dataset_stem, refuse_unreadable
from utils.schema import Dataset, InputError

FOLDS = 5
JOINED = ": near-duplicates join its"
# The names that stand for all published sets, and the sets that the second one needs.
ALL = ("auto", "paper")
REQUIRED = ("do_not_answer", "xstest", "openai_moderation")


@dataclass(frozen=True)
class LabelledDataset(Dataset):
    """The prompts of some labelled sets, one set after another.

    `groups` holds the name of each prompt's set, and `texts` the one column `prompt`.
    labels: n, 1 for unsafe, 0 for safe.
    clusters: n numbers; prompts of one cluster (pairs, edits of one original, near-duplicates) are never split up.
    types: n, the type that a set gives its prompt, '' if it gives none.
    family_of: set to the family of sets that share its sources. licence_of: set to its licence.
    twins: (m, 2), the indices of an unsafe prompt and of a safe one that differs in what makes the first unsafe.
    """

    labels: tuple[int, ...] = ()
    clusters: tuple[int, ...] = ()
    types: tuple[str, ...] = ()
    family_of: dict[str, str] = field(default_factory=dict)
    licence_of: dict[str, str] = field(default_factory=dict)
    twins: tuple[tuple[int, int], ...] = ()

    def rows(self, *names: str) -> np.ndarray:
        """The indices of the prompts of these sets."""
        return np.flatnonzero([name in names for name in self.groups])

    def kind(self, name: str) -> str:
        """Which classes a set has: `two`, `unsafe` or `safe`."""
        return self._kinds[name]

    def of_kind(self, kind: str) -> list[str]:
        """The sets with these classes, in order."""
        return [name for name in self.group_order if self._kinds[name] == kind]

    def groups_of(self, label: int | None = None, *names: str) -> int:
        """How many groups have prompts of a class, of any if it is None, in these sets, in all if none is named."""
        prompts = zip(self.clusters, self.labels, self.groups, strict=True)
        return len({c for c, its, name in prompts if label in (None, its) and (not names or name in names)})

    @cached_property
    def _kinds(self) -> dict[str, str]:
        there: dict[str, set[int]] = defaultdict(set)
        for name, label in zip(self.groups, self.labels, strict=True):
            there[name].add(label)
        names = {frozenset({0, 1}): TWO_CLASSES, frozenset({1}): UNSAFE_ONLY, frozenset({0}): SAFE_ONLY}
        return {name: names[frozenset(classes)] for name, classes in there.items()}

    def family(self, name: str) -> str:
        """The family of a set."""
        return self.family_of.get(name, name)

    @property
    def crossings(self) -> list[tuple[str, str]]:
        """The pairs of an unsafe-only and a safe-only set of different families."""
        pairs = itertools.product(self.of_kind(UNSAFE_ONLY), self.of_kind(SAFE_ONLY))
        return [(unsafe, safe) for unsafe, safe in pairs if self.family(unsafe) != self.family(safe)]

    @property
    def ordinary(self) -> list[str]:
        """The safe-only sets that are ordinary traffic: two published ones, and those of files."""
        return [n for n in self.of_kind(SAFE_ONLY) if n not in SET_CARDS or SET_CARDS[n].ordinary]

    @cached_property
    def near(self) -> NearTexts:
        """Which of all its texts are near-duplicates."""
        return NearTexts(self.texts["prompt"])


def load(
    data: str, limit: int | None = None, label: int | None = None, column: str | None = None
) -> tuple[LabelledDataset, sources.Found]:
    """The dataset that `data` names, and how the first of its sets was found.

    data: auto (all published sets that are available, or else the sample), paper (the same, but REQUIRED ones must be
    there), sample, or several of these and names of sets, families, classes (`unsafe`, `safe`) and files, with commas
    between.
    limit: the largest number of rows; whole groups are drawn from each set in turn.
    label: of all rows of a file without the column, 1 for unsafe, 0 for safe.
    column: that of the prompts in files, `prompt` if None.
    Raises InputError if a set is unavailable, can't be read or has too few groups for the folds.
    """
    if column is not None and not sources.given_files(data):
        raise InputError(f"--column {column}: is of files, and --data {data} names none; leave it out")
    name, sets, notes = chosen(data, label, column or "prompt")
    dataset = combined(name, sets, notes)
    check(dataset)
    if limit is not None and limit < len(dataset):
        whole, dataset = dataset, limited(dataset, limit)
        check(dataset, limit, whole)
    return dataset, replace(sets[0].found, name=dataset.name)


def chosen(data: str, label: int | None, column: str) -> tuple[str, list[LabelledSet], list[str]]:
    """The dataset's name, its sets, and notes on those that are unavailable."""
    if data == "sample":
        return data, sets_of_file(_sample_path(), "sample", "as asked"), []
    if data in ALL:
        sets, notes = available(PUBLISHED, REQUIRED if data == "paper" else ())
        sets = sets or sets_of_file(_sample_path(), "sample", "because no published set is available")
        return sets[0].found.name, sets, notes
    parts = sources.parts_of(data)
    if not parts:
        raise InputError(f"--data {data}: names no set; {_choices()}")
    _refuse_twice(data, parts)
    names, sets, notes = [], [], []
    for part in parts:
        several = [
            name for name, one in SET_CARDS.items() if part in (*ALL, one.family, one.kind) and name in PUBLISHED
        ]
        if part in PUBLISHED:
            found = [PUBLISHED[part]()]
        elif several:
            found, missing = available(several, REQUIRED if part == "paper" else ())
            if not found:
                raise InputError(
                    f"--data {data}: no set of '{part}' is available: {missing[0].removeprefix('without ')}"
                )
            notes += missing
        else:
            found = _given(part, label, column)
        names.append(part if part in PUBLISHED or several else found[0].found.name)
        # A set, its family and its class may all be named.
        there = {one.name for one in sets if one.name in PUBLISHED}
        sets += [one for one in found if one.name not in there]
    _refuse_twice(data, [one.name for one in sets])
    return "+".join(dict.fromkeys(names)), sets, list(dict.fromkeys(notes))


def sets_named(part: str, label: int | None = None, column: str | None = None) -> list[str]:
    """The names of the sets that a part of `data` stands for: a set, a family, a class or a file. See `load`."""
    return [one.name for one in chosen(part, label, column or "prompt")[1]]


def _refuse_twice(data: str, names: Sequence[str]) -> None:
    twice = next((name for name, number in Counter(names).items() if number > 1), None)
    if twice is not None:
        raise InputError(f"--data {data}: '{twice}' occurs twice; name each once")


def available(names: Iterable[str], required: Sequence[str] = ()) -> tuple[list[LabelledSet], list[str]]:
    """Those of the named published sets that can be had, and a note on each of the others.

    Raises InputError if a required one can't be had.
    """
    sets, notes = [], []
    for name in names:
        try:
            sets.append(PUBLISHED[name]())
        except Unavailable as error:
            if name in required:
                raise InputError(str(error)) from None
            notes.append(f"without {name}: {error}")
    return sets, notes


def _choices() -> str:
    return (
        f"give auto, paper, sample, a file, or published sets: {', '.join(PUBLISHED)}; or several of them: "
        f"{', '.join((*FAMILIES, *ONE_CLASS))}"
    )


def _sample_path() -> Path:
    return config.ROOT / FOLDER / "sample.csv"


def _given(data: str, label: int | None, column: str) -> list[LabelledSet]:
    if data == "sample":
        return sets_of_file(_sample_path(), "sample", "as asked")
    path = config.callers_path(data)
    if not path.exists():
        raise InputError(f"--data {data}: no such file, nor a set, family or class of that name; {_choices()}")
    refuse_unreadable(path, f"--data {data}", _choices())
    if files.sha256_of(path) == files.sha256_of(_sample_path()):
        return sets_of_file(_sample_path(), "sample", "as given")
    name = dataset_stem(path)
    if name in (*RESERVED, *PUBLISHED):
        raise InputError(f"--data {data}: '{name}' is the name of another dataset; rename the file")
    return sets_of_file(path, name, "as given", label, column)


def combined(name: str, sets: Sequence[LabelledSet], notes: Sequence[str] = ()) -> LabelledDataset:
    """The sets as one dataset; each id is preceded by the name of its set.

    Prompts of a set share a cluster if they are of one group or are near-duplicates.
    """
    clusters: list[int] = []
    twins: list[tuple[int, int]] = []
    all_notes = list(notes)
    rows = [row for one in sets for row in one.rows]
    near = NearTexts([row.prompt for row in rows])
    start = 0
    for one in sets:
        n = len(one.rows)
        named = joined(n, [], [row.group for row in one.rows])
        together = joined(n, [] if one.templated else near.links(np.arange(start, start + n)), named)
        first = max(clusters, default=-1) + 1
        clusters += [first + cluster for cluster in together]
        twins += [(start + unsafe, start + safe) for unsafe, safe in _twins_of(one)]
        start += n
        all_notes += one.notes
        before, after = len(set(named)), len(set(together))
        if after < before:
            all_notes.append(f"{one.name}{JOINED} {before} groups to {after}")
        all_notes += labelled_both(one)
    all_notes += [*shared(sets), *removed(sets, near)]
    dataset = LabelledDataset(
        name=name,
        ids=tuple(f"{one.name}:{row.id}" for one in sets for row in one.rows),
        groups=tuple(one.name for one in sets for _ in one.rows),
        group_order=tuple(one.name for one in sets),
        texts={"prompt": tuple(row.prompt for row in rows)},
        files=tuple(dict.fromkeys(file for one in sets for file in one.files)),
        notes=tuple(all_notes),
        labels=tuple(row.label for row in rows),
        clusters=tuple(clusters),
        types=tuple(row.type for row in rows),
        family_of={one.name: one.family or one.name for one in sets},
        licence_of={one.name: one.found.licence for one in sets},
        twins=tuple(twins),
    )
    vars(dataset)["near"] = near  # found already
    return dataset


def together(one: LabelledDataset, other: LabelledDataset) -> LabelledDataset:
    """Two datasets without a set in common as one, named after the first."""
    clusters, n = max(one.clusters) + 1, len(one)
    return LabelledDataset(
        name=one.name,
        ids=one.ids + other.ids,
        groups=one.groups + other.groups,
        group_order=one.group_order + other.group_order,
        texts={"prompt": one.texts["prompt"] + other.texts["prompt"]},
        files=one.files + other.files,
        notes=one.notes + other.notes,
        labels=one.labels + other.labels,
        clusters=one.clusters + tuple(clusters + cluster for cluster in other.clusters),
        types=one.types + other.types,
        family_of=one.family_of | other.family_of,
        licence_of=one.licence_of | other.licence_of,
        twins=one.twins + tuple((n + unsafe, n + safe) for unsafe, safe in other.twins),
    )


def _twins_of(one: LabelledSet) -> list[tuple[int, int]]:
    """The pairs (unsafe, safe) of each group in which one of the two is alone, as an original among its edits is."""
    members: dict[str, tuple[list[int], list[int]]] = {}
    for i, row in enumerate(one.rows if one.twins else ()):
        if row.group is not None:
            members.setdefault(row.group, ([], []))[row.label].append(i)
    return [
        (u, s) for safe, unsafe in members.values() if min(len(safe), len(unsafe)) == 1 for u in unsafe for s in safe
    ]


def limited(dataset: LabelledDataset, limit: int) -> LabelledDataset:
    """At most `limit` rows: whole groups drawn from each set in turn."""
    members: dict[str, dict[int, list[int]]] = {name: {} for name in dataset.group_order}
    for i, (name, cluster) in enumerate(zip(dataset.groups, dataset.clusters, strict=True)):
        members[name].setdefault(cluster, []).append(i)
    # Groups are shuffled: the first ones of a file may be of one topic, on which a detector does better.
    drawn = random.Random(42)
    # Unsafe, safe and mixed groups are drawn in turn too, so that a set of mostly safe prompts keeps unsafe ones.
    queues = []
    for clusters in members.values():
        kinds: dict[tuple[int, ...], list[list[int]]] = {}
        for rows in drawn.sample(list(clusters.values()), len(clusters)):
            kinds.setdefault(tuple(sorted({dataset.labels[i] for i in rows})), []).append(rows)
        queues.append([rows for turn in _in_turn(list(kinds.values())) for rows in turn])
    chosen: list[int] = []
    for turn in _in_turn(queues):
        for rows in turn:
            if len(chosen) + len(rows) <= limit:
                chosen += rows
    chosen.sort()
    kept = only(dataset, chosen)
    note = f"limited to {len(chosen)} rows, whole groups drawn in turn from each set"
    return replace(kept, notes=(*dataset.notes, note))


def only(dataset: LabelledDataset, rows: Sequence[int]) -> LabelledDataset:
    """The prompts of these rows, in their order."""
    place = {row: position for position, row in enumerate(rows)}

    def of(values: Sequence) -> tuple:
        return tuple(values[i] for i in rows)

    return replace(
        dataset,
        ids=of(dataset.ids),
        groups=of(dataset.groups),
        group_order=tuple(dict.fromkeys(of(dataset.groups))),
        texts={"prompt": of(dataset.texts["prompt"])},
        labels=of(dataset.labels),
        clusters=of(dataset.clusters),
        types=of(dataset.types),
        twins=tuple((place[u], place[s]) for u, s in dataset.twins if u in place and s in place),
    )


def _in_turn(queues: list[list]) -> list[list]:
    """The first items of all queues, then the second ones, and so on."""
    return [[q[k] for q in queues if k < len(q)] for k in range(max(map(len, queues), default=0))]


def check(dataset: LabelledDataset, limit: int | None = None, whole: LabelledDataset | None = None) -> None:
    """Raises InputError if a set of two classes has one of them in fewer groups than there are folds.

    whole: the dataset before `limit`, after which each of its sets must have the same classes.
    """
    remedy = f"raise --limit above {limit}" if limit is not None else "add rows or leave it out"
    whole = whole or dataset
    for name in whole.group_order:
        if name not in dataset.groups:
            raise InputError(f"set '{name}': none of its groups is left; {remedy}")
        for label, word in ((1, "unsafe"), (0, "safe")) if whole.kind(name) == TWO_CLASSES else ():
            number = dataset.groups_of(label, name)
            if number < FOLDS:
                near = next((f" ({note})" for note in dataset.notes if note.startswith(f"{name}{JOINED}")), "")
                raise InputError(
                    f"set '{name}': {number} group{'s' * (number != 1)} with {word} prompts, fewer than the {FOLDS} "
                    f"folds{near}; {remedy}"
                )
