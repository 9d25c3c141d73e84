"""The comparison with the paper, and what can run on this machine, as text."""

import textwrap
from collections.abc import Sequence

from utils import tables
from utils.data.catalogue import group_title
from utils.encoders.registry import known_encoders
from utils.reproduce import machine
from utils.reproduce.cells import VERDICTS, Reproduction, papers_tables
from utils.tasks import TASKS

FORMATS = ("text", "markdown", "csv", "latex")
# Encoders beside one another in a LaTeX table, so that it is no wider than a page.
BESIDE = 3
# After our value in a LaTeX table, by verdict.
MARKS = dict(zip(VERDICTS, ("", "*", "**"), strict=True))


def plan_table(obstacles: dict[str, list[machine.Obstacle]], dtype: str) -> str:
    """The encoders, what they need and what keeps them from running, as text of 80 columns."""
    needed = {name: machine.memory_needed(name, dtype) for name in obstacles}
    columns = [
        ("encoder", list(obstacles)),
        ("size", [known_encoders()[name]["parameters"] if needed[name] else "-" for name in obstacles]),
        ("memory", [machine.gigabytes(needed[name]) if needed[name] else "-" for name in obstacles]),
        ("runs here", ["no" if found else "yes" for found in obstacles.values()]),
        ("why not", [", ".join(one.short for one in found) for found in obstacles.values()]),
    ]
    sentences = dict.fromkeys(f"{one.short}: {one.sentence}" for found in obstacles.values() for one in found)
    lines = [
        textwrap.fill(line, tables.WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for line in sentences
    ]
    note = "memory: an estimate: the weights, a fifth more, and 1 GB for the program"
    return "\n".join([tables.render(columns, len(columns), None), "", note, *lines])


def rendered(reproductions: Sequence[Reproduction], form: str, earlier: Sequence[str] = ()) -> str:
    """Reproductions as text of 80 columns, Markdown, CSV or LaTeX: each encoder's cells, then the averages of all.

    earlier: the names of the encoders whose results are from an earlier run.
    """
    if form == "csv":
        return _csv(reproductions)
    if form == "latex":
        return _latex(reproductions)
    bold = "**" if form == "markdown" else ""
    parts = []
    for one in reproductions:
        parts.append(f"{bold}{_heading(one)}{', from an earlier run' if one.name in earlier else ''}{bold}")
        parts.extend(_cells(one, metric, form) for _, metric in papers_tables())
    cells = len(reproductions[0].cells)
    parts.append(f"{bold}averages, and the verdicts of the {cells} cells of both tables{bold}")
    parts.append(_summary(reproductions, form))
    note = (
        "diff: ours minus the paper's. within rounding: the rounding of the paper's\n"
        "figures explains the difference; within the interval: the paper's figure lies in\n"
        "our 95 % interval, which shows how much a score varies from one sample of\n"
        "prompts to another. On the same prompts a faithful run should be within\n"
        "rounding. An encoder's verdict is the verdict of its worst cell; largest: its\n"
        "largest difference in either direction."
    )
    return "\n\n".join([*parts, note])


def _heading(one: Reproduction) -> str:
    dtype, registered = one.results[0].encoder.dtype, known_encoders()[one.name]["dtype"]
    other = f" (not {registered})" if dtype != registered else ""
    return f"{one.label} ({one.name}), {dtype}{other}, {max(r.created for r in one.results)[:10]}"


def _title(metric: str) -> str:
    at_k = [task.headline for task in TASKS.values() if task.uses_top_k]
    return f"{metric.replace('_', ' ')}{' at 10' if metric in at_k else ''}"


def _cells(one: Reproduction, metric: str, form: str) -> str:
    cells = one.of(metric)
    columns = [
        (_title(metric), [cell.group for cell in cells]),
        ("ours", [tables.with_interval(cell.ours) for cell in cells]),
        ("paper", [tables.number(cell.paper) for cell in cells]),
        ("diff", [tables.signed(cell.difference) for cell in cells]),
        ("verdict", [cell.verdict for cell in cells]),
    ]
    if form == "markdown":
        return tables.flat(columns, "pipe")
    return tables.render(columns, 1, rule_before=len(cells) - 1)


def _averages(reproductions: Sequence[Reproduction], metric: str, ours: str) -> list[tuple[str, list[str]]]:
    """The columns of an average: ours, headed so, the paper's and their difference."""
    averages = [next(cell for cell in one.of(metric) if cell.group == "average") for one in reproductions]
    return [
        (ours, [tables.number(cell.ours.value) for cell in averages]),
        ("paper", [tables.number(cell.paper) for cell in averages]),
        ("diff", [tables.signed(cell.difference) for cell in averages]),
    ]


def _verdicts(reproductions: Sequence[Reproduction]) -> list[tuple[str, list[str]]]:
    """The columns of how many cells have each verdict, and of the largest difference."""
    counts = zip(("rounding", "interval", "differ"), VERDICTS, strict=True)
    return [
        *((head, [str(one.count(verdict)) for one in reproductions]) for head, verdict in counts),
        ("largest", [tables.number(max(abs(cell.difference) for cell in one.cells)) for one in reproductions]),
    ]


def _summary(reproductions: Sequence[Reproduction], form: str) -> str:
    left = [("encoder", [one.label for one in reproductions])]
    verdicts = [*_verdicts(reproductions), ("verdict", [one.verdict for one in reproductions])]
    blocks = [*(_averages(reproductions, metric, metric.split("_")[1]) for _, metric in papers_tables()), verdicts]
    if form == "markdown":
        return tables.flat([*left, *(column for block in blocks for column in block)], "pipe")
    return tables.blocks(left, blocks)


def _latex(reproductions: Sequence[Reproduction]) -> str:
    """A table of the cells for each metric and BESIDE encoders, then one of the averages."""
    parts = [tables.LATEX_PREAMBLE]
    for task, metric in papers_tables():
        for start in range(0, len(reproductions), BESIDE):
            several = reproductions[start : start + BESIDE]
            columns = [(TASKS[task].rows, [group_title(cell.group) for cell in several[0].of(metric)])]
            for one in several:
                ours = [f"{tables.with_interval(cell.ours)}{MARKS[cell.verdict]}" for cell in one.of(metric)]
                columns += [("ours", ours), ("paper", [tables.number(cell.paper) for cell in one.of(metric)])]
            caption = (
                f"{TASKS[task].title}: {_title(metric)}, {several[0].of(metric)[0].ours.better} is better. Ours, with "
                "half the width of 95 % intervals, and the paper's (arXiv 2407.06851). Without a mark, the rounding of "
                "the paper's figures explains the difference; *: it does not, but the paper's figure lies in our "
                "interval; **: it lies outside."
            )
            label = f"tab:reproduction-{metric.replace('_', '-')}-{start // BESIDE + 1}"
            over, rule = [(one.label, 2) for one in several], len(columns[0][1]) - 1
            parts.append(tables.latex(columns, caption, label, rule_before=rule, over=over))
    columns = [("encoder", [one.label for one in reproductions])]
    for _, metric in papers_tables():
        columns += _averages(reproductions, metric, "ours")
    columns += _verdicts(reproductions)
    caption = (
        f"Averages over types and categories, ours and the paper's, and how many of the {len(reproductions[0].cells)} "
        "cells of both of its tables differ from ours by no more than its rounding, by more but within our interval, "
        "or by more; largest: the largest difference."
    )
    over = [*((_title(metric), 3) for _, metric in papers_tables()), ("cells", 4)]
    parts.append(tables.latex(columns, caption, "tab:reproduction", over=over))
    return "\n\n".join(parts)


def _csv(reproductions: Sequence[Reproduction]) -> str:
    return tables.csv_text(
        ["encoder", "task", "metric", "group", "ours", "low", "high", "paper", "difference", "rounding", "verdict"],
        [
            [one.name, cell.task, cell.metric, cell.group, cell.ours.value, cell.ours.low, cell.ours.high, cell.paper,
             cell.difference, cell.rounding, cell.verdict]
            for one in reproductions for cell in one.cells
        ],
    )  # fmt: skip
