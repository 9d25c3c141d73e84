"""A set of prompts labelled unsafe or safe, and what a label may be."""

from dataclasses import dataclass
from typing import NamedTuple

from utils.data import sources
from utils.schema import DataFile, InputError

FOLDER = "Safety_Detection"
README = f"{FOLDER}/README.md"
# What a label may be, in upper or lower case.
UNSAFE = ("1", "1.0", "true", "yes", "unsafe", "harmful")
SAFE = ("0", "0.0", "false", "no", "safe", "benign")
# Between the types of a prompt that has several.
SEVERAL = " + "


class Row(NamedTuple):
    """A prompt of a set.

    id: unique in the set. label: 1 for unsafe, 0 for safe. group: its name, None for a prompt that is in none.
    type: that the set gives a prompt, '' if it gives none, several with " + " between them.
    hazard: what a prompt is harmful by, in the set's own words, '' if it does not say; None if that is its type.
    """

    id: str
    prompt: str
    label: int
    group: str | None = None
    type: str = ""
    hazard: str | None = None


@dataclass(frozen=True)
class LabelledSet:
    """A set of prompts with their labels.

    files: what was read. family: shared by sets that have sources in common.
    twins: whether the unsafe and the safe prompts of one group differ in what makes them unsafe, and in little else.
    templated: whether prompts are near-duplicates by a template around them, which is no reason to join their groups.
    """

    name: str
    rows: tuple[Row, ...]
    files: tuple[DataFile, ...]
    found: sources.Found
    notes: tuple[str, ...] = ()
    family: str = ""
    twins: bool = False
    templated: bool = False


def parsed_label(text: str, file: str, row: int, what: str = "the label") -> int:
    """1 for a label that says unsafe, 0 for one that says safe; raises InputError for any other label.

    what: how an error names the cell.
    """
    word = text.strip().lower()
    if word not in (*UNSAFE, *SAFE):
        raise InputError(
            f"{file}: row {row}: {what} is neither one of {', '.join(UNSAFE)} nor one of {', '.join(SAFE)}; fix it"
        )
    return int(word in UNSAFE)


class Unavailable(InputError):
    """A published set is not on this machine and can't be downloaded. A file with a wrong digest is not meant."""
