"""Reads and validates a data file: columns in, a Dataset out."""

import difflib
import textwrap
from collections import Counter
from collections.abc import Sequence

from utils.data.reading import read_columns
from utils.data.sources import Found, find, lookup
from utils.data.text import composed, has_text
from utils.files import shown_path
from utils.schema import DataFile, Dataset, InputError, Result, shown
from utils.tables import WIDTH
from utils.tasks import TASKS, Format


def load(fmt: Format, data: str, limit: int | None = None) -> tuple[Dataset, Found]:
    """The dataset of a task, read and validated, and the file it was read from.

    limit: the most rows, taken in turn from each group in the file's order.
    Surrounding white space is stripped and the number of changed rows noted; otherwise texts stay as they are.
    Rows that repeat an unsafe prompt, or have one that equals a safe prompt of the same row or of another one, are
    counted in notes too. Texts are compared exactly, after the stripping.
    Raises InputError, naming file and row, if a column is missing, a cell has no text, a group is unknown or has just
    one row, an id occurs twice, or the file is empty or can't be read.
    """
    found = find(fmt, data)
    columns = read_columns(found.path, fmt.columns, fmt.readme)
    file, n = found.path.name, len(columns["id"])
    notes = []
    changed = set()
    for column in (fmt.group_column, *fmt.text_columns):
        clean = [text.strip() for text in columns[column]]
        empty = [i for i, text in enumerate(clean) if not has_text(text)]
        if empty:
            more = f", as in {len(empty) - 1} other rows" if len(empty) > 1 else ""
            raise InputError(
                f"{file}: row {empty[0] + 1} (id {shown(columns['id'][empty[0]])}): no text in '{column}'{more}; give "
                "each one, or leave the row out"
            )
        changed |= {i for i in range(n) if clean[i] != columns[column][i]}
        columns[column] = clean
    if changed:
        notes.append(f"{len(changed)} of {n} rows had white space around a text; it was stripped")
    twice = repeated_at(columns["id"])
    if twice:
        raise InputError(
            f"{file}: id {shown(columns['id'][twice[0]])} occurs twice (row {twice[0] + 1}); make ids unique"
        )

    groups = _shown_groups(fmt, [composed(name) for name in columns[fmt.group_column]], file)
    repeated = repeated_at(columns[fmt.text_columns[0]])
    if repeated:
        notes.append(f"{len(repeated)} of {n} rows repeat an earlier '{fmt.text_columns[0]}'; they are kept")
    notes += _unsafe_and_safe(fmt, columns)
    if limit is not None and limit < n:
        chosen = in_turn(groups, limit)
        columns = {column: [texts[i] for i in chosen] for column, texts in columns.items()}
        groups = [groups[i] for i in chosen]
        notes.append(f"limited to {limit} rows, taken in turn from each {fmt.group_column}")
    for group, size in Counter(groups).items():
        if size < 2:
            remedy = f"raise --limit above {limit}" if limit is not None else "add rows or leave it out"
            raise InputError(f"{file}: just one row in {fmt.group_column} '{shown(group)}', two are needed; {remedy}")

    order = {name: i for i, name in enumerate(fmt.known_groups.values())}
    return (
        Dataset(
            name=found.name,
            ids=tuple(columns["id"]),
            groups=tuple(groups),
            group_order=tuple(sorted(dict.fromkeys(groups), key=lambda g: order.get(g, len(order)))),
            texts={column: tuple(columns[column]) for column in fmt.text_columns},
            files=(DataFile(file, found.sha256, len(groups)),),
            notes=tuple(notes),
        ),
        found,
    )


def data_sheet(fmt: Format, dataset: Dataset, found: Found) -> str:
    """What is evaluated, where it was found, and under which licence."""
    what = "the bundled SAMPLE" if found.name == "sample" else fmt.card.title
    facts = [("file", f"{shown_path(found.path)} ({found.how})"), ("sha256", found.sha256), ("licence", found.licence)]
    if found.name == "paper":
        facts += [("source", fmt.card.source), ("cite", fmt.card.citation)]
    facts += [("note", sentence) for sentence in dataset.notes]
    lines = (
        textwrap.fill(
            f"  {name:9}{text}", WIDTH, subsequent_indent=" " * 11, break_long_words=False, break_on_hyphens=False
        )
        for name, text in facts
    )
    return "\n".join([f"{what}: {len(dataset)} rows in {len(dataset.group_order)} groups ({fmt.group_column})", *lines])


def _unsafe_and_safe(fmt: Format, columns: dict[str, list[str]]) -> list[str]:
    """Notes on unsafe prompts that equal a safe counterpart, of the same row or of another one."""
    unsafe_column, *safe_columns = fmt.text_columns
    unsafe, ids = columns[unsafe_column], [shown(identifier) for identifier in columns["id"]]
    identical = []
    row_of: dict[str, int] = {}  # the first row that has the text as counterpart of a different one
    for i, counterparts in enumerate(zip(*(columns[column] for column in safe_columns), strict=True)):
        if unsafe[i] in counterparts:
            identical.append(ids[i])
        for text in counterparts:
            if text != unsafe[i]:
                row_of.setdefault(text, i)
    elsewhere = [(i, row_of[text]) for i, text in enumerate(unsafe) if text in row_of]
    pairs = dict.fromkeys(tuple(sorted(pair)) for pair in elsewhere)  # two rows that name each other once
    safe = f"the '{safe_columns[0]}'" if len(safe_columns) == 1 else "an edit"
    equal = f"of {len(ids)} rows have an '{unsafe_column}' that equals {safe} of"
    notes = []
    if identical:
        named = f"id{'s' * (len(identical) > 1)} {_first_three(identical)}"
        notes.append(f"{len(identical)} {equal} the same row ({named}); they are kept")
    if pairs:
        both = [f"{ids[i]} and {ids[j]}" for i, j in pairs]
        swapped = "one of each two may have its columns swapped; they are kept"
        notes.append(f"{len(elsewhere)} {equal} another row (ids {_first_three(both)}); {swapped}")
    return notes


def _first_three(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + ", ..." * (len(names) > 3)


def repeated_at(values: Sequence[str]) -> list[int]:
    """The ascending indices of values that occur earlier too."""
    first_at: dict[str, int] = {}
    return [i for i, value in enumerate(values) if first_at.setdefault(value, i) != i]


def load_evaluated(result: Result, data: str | None) -> Dataset:
    """The whole dataset that a result of a task with one file was computed on.

    data: its file, needed unless it is the paper's or the sample. Nothing is downloaded. Raises InputError if the file
    is not on this machine, or is not the one that was evaluated.
    """
    given = None if data in (None, "auto", "paper", "sample") else data
    name, fmt = result.dataset_name, TASKS[result.task].file_format
    if given is None and name not in ("paper", "sample"):
        raise InputError(f"--data: the prompts of '{name}' are in a file of yours; name it to see them")
    if given is None and name == "paper" and lookup(fmt.card, fmt.folder) is None:
        raise InputError(f"{fmt.card.file}: not on this machine; python -m {fmt.folder}.build_data fetches it")
    found = find(fmt, given or name)
    if found.sha256 not in [file.sha256 for file in result.dataset_files]:
        raise InputError(f"{found.path.name}: not the file that was evaluated; run the task again")
    return load(fmt, str(found.path))[0]


def _shown_groups(fmt: Format, names: list[str], file: str) -> list[str]:
    """The group names as they are shown. A file that mixes known groups with others is refused, as that is a typo."""
    known = fmt.known_groups | {name: name for name in fmt.known_groups.values()}
    taken = [name for name in names if name in fmt.summaries]
    if taken:
        raise InputError(
            f"{file}: row {names.index(taken[0]) + 1}: a {fmt.group_column} can't be called '{taken[0]}', as a summary "
            "in the results is; rename it"
        )
    unknown = sorted(set(names) - known.keys())
    if unknown and len(unknown) < len(set(names)):
        near = difflib.get_close_matches(unknown[0], known, n=1)
        meant = f"did you mean '{near[0]}'?" if near else "fix it, or use names of your own throughout"
        raise InputError(
            f"{file}: row {names.index(unknown[0]) + 1}: unknown {fmt.group_column} '{shown(unknown[0])}' among known "
            f"ones; {meant}"
        )
    return [known.get(name, name) for name in names]


def in_turn(groups: Sequence[str], limit: int) -> list[int]:
    """The ascending indices of at most `limit` rows: the first of each group, then the second of each, and so on."""
    seen: Counter = Counter()
    turns = []
    for index, group in enumerate(groups):
        turns.append((seen[group], index))
        seen[group] += 1
    return sorted(index for _, index in sorted(turns)[:limit])
