"""Reads a user's file of prompts, labelled or all of one class, as labelled sets."""

import argparse
import re
from collections import Counter
from pathlib import Path

from Safety_Detection.sets.cards import SAFE_ONLY, SET_CARDS, UNSAFE_ONLY
from Safety_Detection.sets.labelled_set import README, LabelledSet, Row, parsed_label
from Safety_Detection.sets.naming import OTHERS
from Safety_Detection.sets.published_sets import PUBLISHED
from utils.data import sources
from utils.data.reading import column_names, read_columns
from utils.data.text import composed, has_text
from utils.files import sha256_of
from utils.schema import DataFile, InputError, shown

# Names of several published sets: those of a family, and those of one class.
FAMILIES = tuple(dict.fromkeys(card.family for card in SET_CARDS.values() if card.family != card.name))
ONE_CLASS = (UNSAFE_ONLY, SAFE_ONLY)
# Names with a meaning of their own, which neither a set nor a file can have.
RESERVED = ("paper", "sample", "auto", OTHERS, *FAMILIES, *ONE_CLASS)

# Names of columns that may hold labels: Label, is_unsafe, toxicity, target.
LIKE_A_LABEL = re.compile(r"(?i)label|safe|harm|toxic|flagged|malicious|(\b|_)(class|target|y)(\b|_)")


def add_label(flags: argparse.ArgumentParser) -> None:
    """Adds the flag that says what the rows of a file without labels are."""
    flags.add_argument("--label", metavar="L", help="of all rows of files without the column: 0 for safe, 1 for unsafe")


def label_of(arguments: argparse.Namespace) -> int | None:
    """The value of that flag; None if it is not given. Raises InputError if it is neither 0 nor 1."""
    if arguments.label not in (None, "0", "1"):
        raise InputError(f"--label {arguments.label}: give 0 if all rows are safe, or 1 if all are unsafe")
    return None if arguments.label is None else int(arguments.label)


def sets_of_file(
    path: Path, name: str, how: str, label: int | None = None, prompt_column: str = "prompt"
) -> list[LabelledSet]:
    """The sets of a file with the columns prompt and label, and optionally id, group, set, family and type.

    label: of all rows of a file without the column. A note says which column of the file it leaves out or yields to.
    prompt_column: the name of that of the prompts.
    """
    optional, file = ("id", "group", "set", "family", "type", "label"), path.name
    if prompt_column in optional:
        raise InputError(f"--column {prompt_column}: is the column of something else; name that of the prompts")
    columns = read_columns(
        path, (prompt_column,), README, optional=optional, numbers=("id", "label", "group"), scalars=("label",)
    )
    licence = "Apache-2.0, written for this project" if name == "sample" else "not known here"
    found = sources.Found(name, path, sha256_of(path), how, licence)
    ids, notes = columns["id"], []
    if "label" not in columns:
        if label is None:
            raise InputError(f"{file}: no column 'label'; add it, or say with --label 0 or --label 1 what all rows are")
        columns["label"] = [str(label)] * len(ids)
        like = [column for column in column_names(path) if LIKE_A_LABEL.search(column) and column != prompt_column]
        if like:
            notes = [f"{file}: column '{shown(like[0])}' is not read, as --label {label} says what all rows are"]
    elif label is not None:
        notes = [f"{file}: column 'label' says what its rows are, not --label {label}"]
    twice = [item for item, number in Counter(ids).items() if number > 1]
    if twice:
        raise InputError(f"{file}: id {twice[0]} occurs {ids.count(twice[0])} times; make ids unique")
    prompts = list(map(str.strip, columns[prompt_column]))
    blank = [row for row, prompt in enumerate(prompts, 1) if not has_text(prompt)]
    if blank:
        raise InputError(f"{file}: row {blank[0]}: no text in '{prompt_column}'; fix or remove the row")
    labels = [parsed_label(text, file, row) for row, text in enumerate(columns["label"], 1)]

    def column(title: str, missing: str) -> list[str]:
        return [composed(text.strip()) for text in columns[title]] if title in columns else [missing] * len(ids)

    groups = [group or None for group in column("group", "")]
    rows = list(map(Row, ids, prompts, labels, groups, column("type", "")))
    sets, families = column("set", name), column("family", "")
    # Result files name the sets that a detector was trained and tested on: `<set> -> <set>: <type>`.
    taken = [
        one
        for one in sets
        if one in (*RESERVED[2:], *PUBLISHED) or any(mark in f" {one} " for mark in (" -> ", " | ", ": "))
    ]
    if taken:
        raise InputError(
            f"{file}: row {sets.index(taken[0]) + 1}: a set can't be called '{taken[0]}'; give it a name "
            f"that is not one of {', '.join(RESERVED[2:])} or a published set's, and has no '->', '|' or ':' between "
            "words or at its end"
        )
    if "" in sets:
        raise InputError(f"{file}: row {sets.index('') + 1}: no text in 'set'; name a set in every row, or in none")
    result = []
    for one in dict.fromkeys(sets):
        of = {family for family, its in zip(families, sets, strict=True) if its == one}
        if len(of) > 1:
            raise InputError(f"{file}: set '{one}' has {len(of)} families; give all its rows the same 'family'")
        result.append(
            LabelledSet(
                name=one,
                rows=tuple(row for row, its in zip(rows, sets, strict=True) if its == one),
                files=(DataFile(file, found.sha256, len(ids)),),
                found=found,
                notes=tuple(notes),
                family=of.pop(),
                twins=True,
            )
        )
        notes = []
    return result
