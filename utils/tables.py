"""Results as tables that fit a terminal of 80 columns."""

from collections.abc import Sequence

import tabulate as tabulate_module
from tabulate import SEPARATING_LINE, tabulate

from utils.data.catalogue import CARDS
from utils.encoders import paper_entry
from utils.schema import Metric, Result

WIDTH = 80
tabulate_module.MIN_PADDING = 0  # else every header is padded by two, which 80 columns have no room for
PAPER_FIGURES_OF = {
    ("safety_challenging", "normalized_similarity"): "normalized_similarity",
    ("safety_taxonomy", "categorical_purity"): "categorical_purity_at_10",
}


def number(value: float | None) -> str:
    """Three decimals; a hyphen where there is no number."""
    return "-" if value is None else f"{value:.3f}"


def p_text(p: float | None) -> str:
    """A p-value to three decimals, never 0."""
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def markdown_text(text: str) -> str:
    """A cell's text that Markdown takes for text: no bar ends the cell, no tag begins."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def with_interval(metric: Metric | None) -> str:
    """A value and half the width of its 95 % interval, where it has one."""
    if metric is None or metric.low is None:
        return number(None if metric is None else metric.value)
    return f"{metric.value:.3f} ±{(metric.high - metric.low) / 2:.3f}"


def group_table(
    results: Sequence[Result], metric: str, groups: Sequence[str] | None = None, heading: str = "type"
) -> str:
    """A metric by group: a column for each result, then chance and ceiling where they exist.

    results: of one task on one dataset. Beside a paper encoder on the paper's data stand the paper's figure and
    ours minus the paper's. groups: which, in order; all of the metric's, average and overall last, if None.
    """
    rows = {m.group: m for m in results[0].metrics if m.metric == metric}
    groups = [group for group in (groups or rows) if group in rows]
    columns: list[list[tuple[str, list[str]]]] = []
    for result in results:
        found = [result.metric(metric, group) for group in groups]
        ours = [None if m is None else m.value for m in found]
        block = [(result.encoder.label, [with_interval(m) for m in found])]
        paper = papers_figures(result, metric, groups)
        if paper is not None:
            differences = [None if p is None or o is None else o - p for o, p in zip(ours, paper, strict=True)]
            block.append(("paper", [number(value) for value in paper]))
            block.append(("diff", ["-" if d is None else f"{d:+.3f}" for d in differences]))
        columns.append(block)
    for extra in ("chance", "ceiling"):
        values = [getattr(rows[group], extra) for group in groups]
        if any(value is not None for value in values):
            columns.append([(extra, [number(value) for value in values])])
    left = [(heading, list(groups)), ("n", [str(rows[group].n) for group in groups])]
    summaries = [i for i, group in enumerate(groups) if group in ("average", "overall")]
    return blocks(left, columns, rule_before=min(summaries) if summaries and len(groups) > 2 else None)


def metric_table(results: Sequence[Result], metrics: Sequence[tuple[str, str]]) -> str:
    """Several metrics' averages: a row for each (metric, group), a column for each result."""
    present = [row for row in metrics if results[0].value(*row) is not None]
    first = [next(m for m in results[0].metrics if (m.metric, m.group) == row) for row in present]
    left = [
        ("metric", [f"{metric.replace('_', ' ')} ({group})" for metric, group in present]),
        ("better", [m.better for m in first]),
    ]
    columns = [[(r.encoder.label, [with_interval(r.metric(*row)) for row in present])] for r in results]
    if any(m.chance is not None for m in first):
        columns.append([("chance", [number(m.chance) for m in first])])
    return blocks(left, columns)


def papers_figures(result: Result, metric: str, groups: Sequence[str]) -> list[float | None] | None:
    """The paper's figures for these groups, if the result is of one of its encoders, on all of its data, as it did."""
    key = PAPER_FIGURES_OF.get((result.task, metric))
    entry = paper_entry(result.encoder)
    if key is None or entry is None or not is_papers_setting(result):
        return None
    figures = dict(entry[key])
    average = entry.get("average_categorical_purity") if key == "categorical_purity_at_10" else None
    figures["average"] = average if average is not None else sum(figures.values()) / len(figures)
    return [figures.get(group) for group in groups]


def is_papers_setting(result: Result) -> bool:
    """Whether a result was computed on the whole of the paper's data, with the paper's k and average similarity."""
    whole = {(card.sha256, card.rows) for card in CARDS}
    return (
        all((file.sha256, file.rows) in whole for file in result.dataset_files)
        and result.settings["top_k"] in (None, 10)
        and (result.settings["baseline"] is None or result.settings["baseline"]["source"] == "paper")
    )


def blocks(
    left: list[tuple[str, list[str]]],
    columns: list[list[tuple[str, list[str]]]],
    rule_before: int | None = None,
) -> str:
    """Lays columns out beside `left`, in as many tables below one another as the width asks for.

    columns: blocks of columns that stay together. What a label says in brackets goes into a second line of the header
    where a block is too wide for a table of its own.
    """

    def width(column: tuple[str, list[str]]) -> int:
        return max(map(len, [*column[0].splitlines(), *column[1]])) + 2

    room = WIDTH - sum(width(column) for column in left) + 2
    tables: list[list[tuple[str, list[str]]]] = [[]]
    for block in columns:
        if sum(map(width, block)) > room:
            block = [(head.replace(" (", "\n("), cells) for head, cells in block]
        if tables[-1] and sum(map(width, tables[-1] + block)) > room:
            tables.append([])
        tables[-1].extend(block)
    return "\n\n".join(render(left + part, len(left), rule_before) for part in tables)


def render(columns: list[tuple[str, list[str]]], left: int, rule_before: int | None) -> str:
    """Columns as one table: the first of them aligned left, a rule above row `rule_before`."""
    rows: list = [list(cells) for cells in zip(*(cells for _, cells in columns), strict=True)]
    if rule_before is not None:
        rows.insert(rule_before, SEPARATING_LINE)
    align = ["left" if i == 0 or (i < left and head == "better") else "right" for i, (head, _) in enumerate(columns)]
    return tabulate(
        rows, headers=[head for head, _ in columns], tablefmt="simple", colalign=align, disable_numparse=True
    )


def flat(columns: Sequence[tuple[str, Sequence[str]]], form: str, align: Sequence[str] | None = None) -> str:
    """Columns as one table of any width in tabulate's format `form`; in Markdown (`pipe`) as text, never as markup.

    align: "left" or "right" for each column; the first left and the others right if None.
    """
    rows = [list(cells) for cells in zip(*(cells for _, cells in columns), strict=True)]
    headers = [head for head, _ in columns]
    if form == "pipe":
        rows, headers = [list(map(markdown_text, row)) for row in rows], list(map(markdown_text, headers))
    align = align or ["left", *["right"] * (len(columns) - 1)]
    return tabulate(rows, headers=headers, tablefmt=form, colalign=align, disable_numparse=True)
