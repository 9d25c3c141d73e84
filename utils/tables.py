"""Lays out columns as text, for a terminal of 80 columns or in Markdown and LaTeX."""

from collections.abc import Sequence

import tabulate as tabulate_module
from tabulate import SEPARATING_LINE

from utils.schema import Metric, escaped, shown

WIDTH = 80


def number(value: float | None) -> str:
    """A number to three decimals; what rounds to zero has no sign. A hyphen if there is no number."""
    return "-" if value is None else f"{value:z.3f}"


def signed(value: float | None, decimals: int = 3) -> str:
    """A difference with its sign; what rounds to zero has none. A hyphen if there is no difference."""
    if value is None:
        return "-"
    text = f"{value:+.{decimals}f}"
    return text if float(text) else text[1:]


def p_text(p: float | None) -> str:
    """A p-value to three decimals, never 0."""
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def markdown_text(text: str) -> str:
    """A cell's text, escaped so that Markdown shows it as it is: no bar ends the cell, and no tag begins."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def with_interval(metric: Metric | None) -> str:
    """A value and half the width of its 95 % interval, if it has one."""
    if metric is None or metric.low is None:
        return number(None if metric is None else metric.value)
    return f"{number(metric.value)} ±{number((metric.high - metric.low) / 2)}"


def blocks(
    left: list[tuple[str, list[str]]],
    columns: list[list[tuple[str, list[str]]]],
    rule_before: int | None = None,
) -> str:
    """Lays columns out to the right of `left`, in several tables below one another if they are too wide for one.

    columns: blocks of columns that stay together. If a block is too wide for a table of its own, the part of a label
    in brackets becomes a second line of the header.
    """

    def width(column: tuple[str, list[str]]) -> int:
        return max(map(len, [*column[0].splitlines(), *column[1]])) + 2

    left, columns = _shown(left), [_shown(block) for block in columns]
    room = WIDTH - sum(width(column) for column in left) + 2
    tables: list[list[tuple[str, list[str]]]] = [[]]
    for block in columns:
        if sum(map(width, block)) > room:
            block = [(head.replace(" (", "\n("), cells) for head, cells in block]
        if tables[-1] and sum(map(width, tables[-1] + block)) > room:
            tables.append([])
        tables[-1].extend(block)
    return "\n\n".join(render(left + part, len(left), rule_before) for part in tables)


def _shown(columns: Sequence[tuple[str, Sequence[str]]]) -> list[tuple[str, list[str]]]:
    """The columns as a terminal shows them. A heading may have several lines; names in it may be anyone's."""
    return [("\n".join(map(shown, head.split("\n"))), list(map(shown, cells))) for head, cells in columns]


def render(columns: list[tuple[str, list[str]]], left: int, rule_before: int | None) -> str:
    """Columns as one table: the first of them aligned left, a rule above row `rule_before`."""
    columns = _shown(columns)
    rows: list = [list(cells) for cells in zip(*(cells for _, cells in columns), strict=True)]
    if rule_before is not None:
        rows.insert(rule_before, SEPARATING_LINE)
    align = ["left" if i == 0 or (i < left and head == "better") else "right" for i, (head, _) in enumerate(columns)]
    return _tabulated(
        rows, headers=[head for head, _ in columns], tablefmt="simple", colalign=align, disable_numparse=True
    )


def _tabulated(*arguments, **more) -> str:
    """A table by tabulate, without the two characters by which it pads each heading: 80 columns are few."""
    padding, tabulate_module.MIN_PADDING = tabulate_module.MIN_PADDING, 0
    try:
        return tabulate_module.tabulate(*arguments, **more)
    finally:
        tabulate_module.MIN_PADDING = padding


def flat(columns: Sequence[tuple[str, Sequence[str]]], form: str, align: Sequence[str] | None = None) -> str:
    """Columns as one table of any width in tabulate's format `form`; for Markdown (`pipe`) the cells are escaped.

    align: "left" or "right" for each column; the first left and the others right if None.
    """
    rows = [list(map(escaped, cells)) for cells in zip(*(cells for _, cells in columns), strict=True)]
    headers = [escaped(head) for head, _ in columns]
    if form == "pipe":
        rows, headers = [list(map(markdown_text, row)) for row in rows], list(map(markdown_text, headers))
    align = align or ["left", *["right"] * (len(columns) - 1)]
    return _tabulated(rows, headers=headers, tablefmt=form, colalign=align, disable_numparse=True)
