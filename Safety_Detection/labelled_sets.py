"""Labelled sets, published or read from files, as one dataset."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from Safety_Detection.groups import joined, near_duplicates
from Safety_Detection.published_sets import FOLDER, PUBLISHED, README, LabelledSet, Unavailable, parsed_label
from utils import config, files
from utils.data import sources
from utils.data.reading import dataset_stem, has_text, read_columns, refuse_unreadable
from utils.data.text import normalized
from utils.schema import DataFile, Dataset, InputError
from utils.transfer.results import OTHERS

FOLDS = 5
JOINED = ": near-duplicates join its"


@dataclass(frozen=True)
class LabelledDataset(Dataset):
    """The prompts of some labelled sets, one set after another.

    `groups` holds the name of each prompt's set, and `texts` the one column `prompt`.
    labels: n, 1 for unsafe, 0 for safe.
    clusters: n numbers; prompts of one cluster (pairs, edits of one original, near-duplicates) are never split up.
    types: n, the type that a set gives its prompt, '' if it gives none.
    """

    labels: tuple[int, ...] = ()
    clusters: tuple[int, ...] = ()
    types: tuple[str, ...] = ()


def load(data: str, limit: int | None = None) -> tuple[LabelledDataset, sources.Found]:
    """The dataset that `data` names, and how the first of its sets was found.

    data: auto (all published sets that are available, or else the sample), paper (the same, but the first three are
    required), sample, or names of sets and files, separated by commas.
    limit: the largest number of rows; whole groups are drawn from each set in turn.
    Raises InputError if a set is unavailable, can't be read, has one class only, or has too few groups for the folds.
    """
    sets, notes = _chosen(data)
    dataset = combined(_dataset_name(data, sets), sets, notes)
    check(dataset)
    if limit is not None and limit < len(dataset):
        dataset = _limited(dataset, limit)
        check(dataset, limit)
    return dataset, replace(sets[0].found, name=dataset.name)


def _chosen(data: str) -> tuple[list[LabelledSet], list[str]]:
    if data == "sample":
        return _file(_sample_path(), "sample", "as asked"), []
    if data in ("auto", "paper"):
        sets, notes = [], []
        for name, read in PUBLISHED.items():
            try:
                sets.append(read())
            except Unavailable as error:
                if data == "paper" and name != "jailbreakbench":
                    raise InputError(str(error)) from None
                notes.append(f"without {name}: {error}")
        if sets:
            return sets, notes
        return _file(_sample_path(), "sample", "because no published set is available"), notes
    sets = []
    parts = [data] if config.callers_path(data).is_file() else [part.strip() for part in data.split(",")]
    for part in filter(None, parts):
        if part in PUBLISHED:
            sets.append(PUBLISHED[part]())
        else:
            sets += _given(part)
    if not sets:
        raise InputError(f"--data {data}: names no set; give auto, paper, sample, {', '.join(PUBLISHED)} or a file")
    twice = [name for name, number in Counter(one.name for one in sets).items() if number > 1]
    if twice:
        raise InputError(f"--data {data}: set '{twice[0]}' occurs twice; name each once")
    return sets, []


def _dataset_name(data: str, sets: Sequence[LabelledSet]) -> str:
    if data in ("auto", "paper"):
        return sets[0].found.name
    stems = dict.fromkeys(one.found.name if one.name not in PUBLISHED else one.name for one in sets)
    return "+".join(stems)


def _sample_path() -> Path:
    return config.ROOT / FOLDER / "sample.csv"


def _given(data: str) -> list[LabelledSet]:
    path = config.callers_path(data)
    remedy = f"give auto, paper, sample, {', '.join(PUBLISHED)} or a file"
    if not path.exists():
        raise InputError(f"--data {data}: no such file, nor a set of that name; {remedy}")
    refuse_unreadable(path, f"--data {data}", remedy)
    if files.sha256_of(path) == files.sha256_of(_sample_path()):
        return _file(_sample_path(), "sample", "as given")
    name = dataset_stem(path)
    if name in ("paper", "sample", OTHERS, *PUBLISHED):
        raise InputError(f"--data {data}: results of '{name}' are those of another dataset; rename the file")
    return _file(path, name, "as given")


def _file(path: Path, name: str, how: str) -> list[LabelledSet]:
    """The sets of a file with the columns prompt and label, and optionally id, group, set and type."""
    columns = read_columns(
        path,
        ("prompt", "label"),
        README,
        optional=("id", "group", "set", "type"),
        numbers=("id", "label", "group"),
        scalars=("label",),
    )
    file = path.name
    licence = "Apache-2.0, written for this project" if name == "sample" else "not known here"
    found = sources.Found(name, path, files.sha256_of(path), how, licence)
    ids = columns["id"]
    twice = [item for item, number in Counter(ids).items() if number > 1]
    if twice:
        raise InputError(f"{file}: id {twice[0]} occurs {ids.count(twice[0])} times; make ids unique")
    prompts = list(map(str.strip, columns["prompt"]))
    blank = [row for row, prompt in enumerate(prompts, 1) if not has_text(prompt)]
    if blank:
        raise InputError(f"{file}: row {blank[0]}: no text in 'prompt'; fix or remove the row")
    labels = [parsed_label(text, file, row) for row, text in enumerate(columns["label"], 1)]

    def column(title: str, missing: str) -> list[str]:
        return list(map(str.strip, columns[title])) if title in columns else [missing] * len(ids)

    names = [group or None for group in column("group", "")]
    sets, types = column("set", name), column("type", "")
    # Result files name the sets that a detector was trained and tested on: `<set> -> <set>: <type>`.
    taken = [one for one in sets if one in (OTHERS, *PUBLISHED) or " -> " in f" {one} " or ": " in f"{one} "]
    if taken:
        raise InputError(
            f"{file}: row {sets.index(taken[0]) + 1}: a set can't be called '{taken[0]}'; give it a name "
            f"that is not '{OTHERS}' or a published set's, and has no '->' or ':' between words or at its end"
        )
    if "" in sets:
        raise InputError(f"{file}: row {sets.index('') + 1}: no text in 'set'; name a set in every row, or in none")
    result = []
    for one in dict.fromkeys(sets):
        rows = [i for i, its in enumerate(sets) if its == one]
        columns = ([values[i] for i in rows] for values in (ids, prompts, labels, names, types))
        result.append(LabelledSet(one, *columns, DataFile(file, found.sha256, len(ids)), found))
    return result


def combined(name: str, sets: Sequence[LabelledSet], notes: Sequence[str] = ()) -> LabelledDataset:
    """The sets as one dataset; each id is preceded by the name of its set.

    Prompts of a set share a cluster if they have the same name in `LabelledSet.names` or are near-duplicates.
    """
    clusters: list[int] = []
    all_notes = list(notes)
    texts_of = {one.name: _texts_of(one) for one in sets}
    for one in sets:
        near = near_duplicates(one.prompts)
        named = joined(len(one.ids), [], [(name,) if name is not None else None for name in one.names])
        together = joined(len(one.ids), near, named)
        start = max(clusters, default=-1) + 1
        clusters += [start + cluster for cluster in together]
        all_notes += one.notes
        before, after = len(set(named)), len(set(together))
        if after < before:
            all_notes.append(f"{one.name}{JOINED} {before} groups to {after}")
        both = [f"{ids[1]} and {ids[0]}" for ids in texts_of[one.name].values() if len(ids) == 2]
        if both:
            shown = ", ".join(both[:3]) + ", ..." * (len(both) > 3)
            all_notes.append(f"{one.name}: texts labelled unsafe and safe: {len(both)} (ids {shown})")
    for one, other in combinations(texts_of, 2):
        shared = texts_of[one].keys() & texts_of[other].keys()
        if shared:
            unlike = sum(texts_of[one][text].keys() != texts_of[other][text].keys() for text in shared)
            differ = f" ({unlike} labelled differently)" if unlike else ""
            all_notes.append(
                f"texts in both {one} and {other}: {len(shared)}{differ}; a detector that is trained on one of the "
                "two and tested on the other is trained without them"
            )
    files = dict.fromkeys(one.file for one in sets)
    return LabelledDataset(
        name=name,
        ids=tuple(f"{one.name}:{item}" for one in sets for item in one.ids),
        groups=tuple(one.name for one in sets for _ in one.ids),
        group_order=tuple(one.name for one in sets),
        texts={"prompt": tuple(prompt for one in sets for prompt in one.prompts)},
        files=tuple(files),
        notes=tuple(all_notes),
        labels=tuple(label for one in sets for label in one.labels),
        clusters=tuple(clusters),
        types=tuple(kind for one in sets for kind in one.types),
    )


def _texts_of(one: LabelledSet) -> dict[str, dict[int, str]]:
    """For each normalized text of a set, its labels, and for each label the first id that has it."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for prompt, label, item in zip(one.prompts, one.labels, one.ids, strict=True):
        found[normalized(prompt)].setdefault(label, item)
    return found


def _limited(dataset: LabelledDataset, limit: int) -> LabelledDataset:
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

    def only(values: Sequence) -> tuple:
        return tuple(values[i] for i in chosen)

    return replace(
        dataset,
        ids=only(dataset.ids),
        groups=only(dataset.groups),
        texts={"prompt": only(dataset.texts["prompt"])},
        labels=only(dataset.labels),
        clusters=only(dataset.clusters),
        types=only(dataset.types),
        notes=(*dataset.notes, f"limited to {len(chosen)} rows, whole groups drawn in turn from each set"),
    )


def _in_turn(queues: list[list]) -> list[list]:
    """The first items of all queues, then the second ones, and so on."""
    return [[q[k] for q in queues if k < len(q)] for k in range(max(map(len, queues), default=0))]


def check(dataset: LabelledDataset, limit: int | None = None) -> None:
    """Raises InputError if a set has one class only, or a class in fewer groups than there are folds."""
    remedy = f"raise --limit above {limit}" if limit is not None else "add rows or leave it out"
    for name in dataset.group_order:
        rows = [i for i, its in enumerate(dataset.groups) if its == name]
        for label, word in ((1, "unsafe"), (0, "safe")):
            number = len({dataset.clusters[i] for i in rows if dataset.labels[i] == label})
            if not number:
                raise InputError(f"set '{name}': has no {word} prompt, but a detector needs both classes; {remedy}")
            if number < FOLDS:
                near = next((f" ({note})" for note in dataset.notes if note.startswith(f"{name}{JOINED}")), "")
                raise InputError(
                    f"set '{name}': {number} group{'s' * (number > 1)} with {word} prompts, fewer than the {FOLDS} "
                    f"folds{near}; {remedy}"
                )
