"""The tables of the comparison with the paper, and of what can run on this machine."""

from collections.abc import Sequence
from typing import Any

from utils import tables
from utils.data.catalogue import group_title
from utils.encoders.registry import known_encoders
from utils.reproduce import machine
from utils.reproduce.cells import VERDICTS, Reproduction, papers_tables
from utils.tables import Cell, Table, signed_cell
from utils.tasks import TASKS

FORMATS = ("text", "markdown", "csv", "latex")
# After our value, by verdict.
MARKS = dict(zip(VERDICTS, ("", "*", "**"), strict=True))
DIFF = "diff: ours minus the paper's (arXiv 2407.06851)"
MARKED = (
    "without a mark: the rounding of the paper's figures explains the difference; *: it does not, but the paper's "
    "figure lies in our 95 % interval, which shows how much a score varies from one sample of prompts to another; **: "
    "it lies outside"
)
VERDICT = (
    "On the same prompts a faithful run should be within rounding. An encoder's verdict is the verdict of its worst "
    "cell; largest: its largest difference in either direction"
)


def plan_table(obstacles: dict[str, list[machine.Obstacle]], dtype: str) -> Table:
    """The encoders, what they need and what keeps them from running."""
    needed = {name: machine.memory_needed(name, dtype) for name in obstacles}
    columns = [
        ("encoder", list(obstacles)),
        ("size", [known_encoders()[name]["parameters"] if needed[name] else "-" for name in obstacles]),
        ("memory", [machine.gigabytes(needed[name]) if needed[name] else "-" for name in obstacles]),
        ("runs here", ["no" if found else "yes" for found in obstacles.values()]),
        ("why not", [", ".join(one.short for one in found) for found in obstacles.values()]),
    ]
    note = "memory: an estimate: the weights, a fifth more, and 1 GB for the program"
    reasons = dict.fromkeys(f"{one.short}: {one.sentence}" for found in obstacles.values() for one in found)
    return tables.of_columns(columns, notes=[note, *reasons])


def rendered(reproductions: Sequence[Reproduction], form: str, earlier: Sequence[str] = ()) -> str:
    """Reproductions as text of 80 columns, Markdown, CSV or LaTeX: each encoder's cells, then the averages of all.

    In LaTeX, encoders are beside one another. earlier: the names of those whose results are from an earlier run.
    """
    if form == "csv":
        return tables.csv_table(cells_table(reproductions))
    beside = [list(reproductions)] if form == "latex" else [[one] for one in reproductions]
    parts: list[Table | str] = []
    for several in beside:
        if form != "latex":
            again = ", from an earlier run" if several[0].name in earlier else ""
            parts.append(f"{_heading(several[0])}{again}")
        parts += [metric_table(several, task, metric) for task, metric in papers_tables()]
    return tables.rendered([*parts, averages_table(reproductions)], form)


def metric_table(reproductions: Sequence[Reproduction], task: str, metric: str) -> Table:
    """One of the paper's tables: for each encoder our number, the paper's, and the difference."""
    about, first = TASKS[task], reproductions[0].of(metric)
    rows: list[list] = [[Cell(group_title(cell.group), cell.group)] for cell in first]
    for one in reproductions:
        for row, cell in zip(rows, one.of(metric), strict=True):
            ours = Cell(tables.with_interval(cell.ours), cell.ours.value, mark=MARKS[cell.verdict])
            row += [ours, cell.paper, signed_cell(cell.difference)]
    at = " at 10" if about.uses_top_k else ""
    caption = f"{about.title}: {metric.replace('_', ' ')}{at}, {first[0].ours.better} is better"
    headings = [about.rows, *(title for one in reproductions for title in (one.label, "paper", "diff"))]
    label = f"tab:reproduction-{metric.replace('_', '-')}"
    spans = [3] * len(reproductions)
    more: dict[str, Any] = {"spans": spans, "notes": [DIFF, MARKED], "label": label}
    table = tables.of_rows(caption, headings, rows[:-1], rows[-1:], **more)
    return table.turned("encoder") if len(reproductions) > tables.MOST_BESIDE else table


def averages_table(reproductions: Sequence[Reproduction]) -> Table:
    """Both averages of each encoder, how many of its cells have each verdict, and its worst."""
    rows = []
    for one in reproductions:
        row: list = [one.label]
        for _, metric in papers_tables():
            average = next(cell for cell in one.of(metric) if cell.group == "average")
            row += [average.ours.value, average.paper, signed_cell(average.difference)]
        largest = max(abs(cell.difference) for cell in one.cells)
        rows.append([*row, *map(one.count, VERDICTS), largest, one.verdict])
    metrics = [metric for _, metric in papers_tables()]
    headings = ["encoder", *(title for metric in metrics for title in (metric.split("_")[1], "paper", "diff"))]
    headings += ["rounding", "interval", "differ", "largest", "verdict"]
    caption = f"averages, and the verdicts of the {len(reproductions[0].cells)} cells of both tables"
    more: dict[str, Any] = {
        "spans": [*(3 for _ in metrics), 5],
        "notes": [DIFF, MARKED, VERDICT],
        "label": "tab:reproduction",
    }
    return tables.of_rows(caption, headings, rows, **more)


def cells_table(reproductions: Sequence[Reproduction]) -> Table:
    """Every number as it is, a row for each encoder and cell."""
    headings = [
        "encoder", "task", "metric", "group", "ours", "low", "high", "paper", "difference", "rounding", "verdict",
    ]  # fmt: skip
    rows = [
        [one.name, cell.task, cell.metric, cell.group, cell.ours.value, cell.ours.low, cell.ours.high, cell.paper,
         cell.difference, cell.rounding, cell.verdict]
        for one in reproductions for cell in one.cells
    ]  # fmt: skip
    return tables.of_rows("", headings, rows)


def _heading(one: Reproduction) -> str:
    dtype, registered = one.results[0].encoder.dtype, known_encoders()[one.name]["dtype"]
    other = f" (not {registered})" if dtype != registered else ""
    return f"{one.label} ({one.name}), {dtype}{other}, {max(r.created for r in one.results)[:10]}"
