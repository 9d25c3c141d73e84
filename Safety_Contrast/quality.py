"""How small and how varied the edits of a contrast set are."""

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from Safety_Contrast.writing.answers import as_written, json_lines, parsed_row
from utils.data.text import normalized
from utils.files import write_whole
from utils.metrics.embedding import word_overlap
from utils.schema import Dataset, InputError
from utils.tables import Table, of_columns

# Two edits of one original with at least this word overlap are nearly the same.
NEARLY_THE_SAME = 0.8


@dataclass(frozen=True)
class Quality:
    """What is measured on the edits of a category, or on all.

    overlap: mean word overlap (Jaccard) of original and edit, 0 to 1.
    small: share of edits with an overlap of 0.5 or more, 0 to 1.
    shared: number of edits that occur under another original too.
    nearly_same: number of pairs of edits of one original with an overlap of 0.8 or more.
    length: mean length of an edit over that of its original, in characters.
    """

    category: str
    originals: int
    overlap: float
    small: float
    shared: int
    nearly_same: int
    length: float


def quality(dataset: Dataset) -> list[Quality]:
    """The quality of the edits of each category, and of all edits as the last item."""
    rows, under = _rows(dataset), _originals_with(dataset)
    overlaps = np.array([[word_overlap(original, edit) for edit in edits] for original, *edits in rows])  # (n, 5)
    shared = np.array([sum(under[normalized(edit)] > 1 for edit in edits) for _, *edits in rows])
    near = np.array(
        [sum(word_overlap(a, b) >= NEARLY_THE_SAME for a, b in combinations(edits, 2)) for _, *edits in rows]
    )
    length = np.array([np.mean(list(map(len, edits))) / len(original) for original, *edits in rows])
    groups = np.array(dataset.groups)

    def over(category: str, chosen: np.ndarray) -> Quality:
        return Quality(
            category,
            int(chosen.sum()),
            float(overlaps[chosen].mean()),
            float((overlaps[chosen] >= 0.5).mean()),
            int(shared[chosen].sum()),
            int(near[chosen].sum()),
            float(length[chosen].mean()),
        )

    return [*(over(group, groups == group) for group in dataset.group_order), over("all", groups != "")]


def shared_texts(dataset: Dataset) -> int:
    """The number of different edits that occur under two or more originals."""
    return sum(number > 1 for number in _originals_with(dataset).values())


def _rows(dataset: Dataset) -> list[tuple[str, ...]]:
    """Each original with its edits after it."""
    return list(zip(*dataset.texts.values(), strict=True))


def _originals_with(dataset: Dataset) -> Counter[str]:
    """The number of originals that have each different edit."""
    return Counter(edit for _, *edits in _rows(dataset) for edit in set(map(normalized, edits)))


def quality_table(rows: list[Quality]) -> Table:
    """The table of all categories, with an explanation of its columns."""
    columns = [
        ("category", [q.category for q in rows]),
        ("n", [str(q.originals) for q in rows]),
        ("overlap", [f"{q.overlap:.2f}" for q in rows]),
        ("small", [f"{q.small:.0%}" for q in rows]),
        ("shared", [str(q.shared) for q in rows]),
        ("near", [str(q.nearly_same) for q in rows]),
        ("length", [f"{q.length:.2f}" for q in rows]),
    ]
    notes = [
        "overlap: mean word overlap (Jaccard) of original and edit",
        "small: share of edits with an overlap of 0.5 or more",
        "shared: edits that occur under another original too",
        f"near: pairs of edits of one original with an overlap of {NEARLY_THE_SAME} or more",
        "length: mean length of an edit over that of its original, in characters",
    ]
    return of_columns(columns, foot=1, notes=notes)


def minimal(dataset: Dataset, least: float, path: Path, categories: dict[str, str]) -> int:
    """Writes the originals whose edits all have a word overlap of `least` or more, and returns their number.

    categories: from a category's short name to its name in the file. Raises InputError if no original is left.
    """
    rows = [
        parsed_row(as_written(identifier), categories.get(group, group), original, edits)
        for identifier, group, (original, *edits) in zip(dataset.ids, dataset.groups, _rows(dataset), strict=True)
        if min(word_overlap(original, edit) for edit in edits) >= least
    ]
    if not rows:
        raise InputError(f"--minimal {least}: no original has five edits of that overlap; lower it")
    write_whole(path, json_lines(rows))
    return len(rows)
