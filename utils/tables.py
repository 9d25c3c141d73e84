"""Lays out columns as text, for a terminal of 80 columns or in Markdown and LaTeX."""

import csv
import io
import re
from collections.abc import Collection, Sequence

import tabulate as tabulate_module
from tabulate import SEPARATING_LINE

from utils.schema import Difference, Metric, escaped, shown

WIDTH = 80
# An interval is shown as ± up to this difference of its two sides, as a share of its width.
ASYMMETRY = 0.1
# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
INTERVAL = "± half the width of the 95 % interval, or [its ends] where it is not symmetric"


def number(value: float | None) -> str:
    """A number to three decimals; what rounds to zero has no sign. A hyphen if there is no number."""
    return "-" if value is None else f"{value:z.3f}"


def percent(share: float | None, form: str = ".0f") -> str:
    """A share in percent. form: of the number. A hyphen if there is no share."""
    return "-" if share is None else f"{100 * share:{form}} %"


def signed(value: float | None, decimals: int = 3) -> str:
    """A difference with its sign; what rounds to zero has none. A hyphen if there is no difference."""
    if value is None:
        return "-"
    text = f"{value:+.{decimals}f}"
    return text if float(text) else text[1:]


def p_text(p: float | None) -> str:
    """A p-value to three decimals, never 0. A hyphen if there is none."""
    return "-" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def with_reach(difference: Difference | None) -> str:
    """A difference with its sign, and half the width of its 95 % interval, which is symmetric. A hyphen if none."""
    if difference is None or difference.low is None:
        return signed(None if difference is None else difference.value)
    return f"{signed(difference.value)} ±{number((difference.high - difference.low) / 2)}"


def markdown_text(text: str) -> str:
    """A cell's text, escaped so that Markdown shows it as it is: no bar ends the cell, and no tag begins."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def csv_text(heading: Sequence[str], rows: Sequence[Sequence]) -> str:
    """A table as CSV, None as an empty cell, without a line end at its end.

    A text that a spreadsheet would take for a formula gets an apostrophe before it, by OWASP's advice on CSV injection.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows([[f"'{c}" if isinstance(c, str) and c.startswith(_FORMULA) else c for c in row] for row in rows])
    return text.getvalue().rstrip("\n")


LATEX_PREAMBLE = "% needs \\usepackage{booktabs} in the preamble"
# What LaTeX would read as a command, or set as a different character.
_LATEX = {
    "\\": "\\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    **{character: f"${character}$" for character in "<>|"},
    "±": "$\\pm$",
    "≤": "$\\leq$",
    '"': "''",
}


def latex_text(text: str) -> str:
    """A text that LaTeX sets as it is; a hyphen before a number is a minus sign, one that is alone a dash."""
    if text == "-":
        return "--"
    safe = "".join(_LATEX.get(character, character) for character in escaped(text)).replace(" \\%", "~\\%")
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", safe)


def latex(
    columns: Sequence[tuple[str, Sequence[str]]],
    caption: str,
    label: str,
    bold: Collection[tuple[int, int]] = (),
    rule_before: int | None = None,
    over: Sequence[tuple[str, int]] = (),
) -> str:
    """Columns as a LaTeX table for the package booktabs; every text is escaped. The first column is aligned left.

    bold: (row, column) of the cells in bold. rule_before: the row above which there is a rule. over: headings over the
    columns but the first, each with the number of columns that it spans.
    """
    rows = [
        [f"\\textbf{{{latex_text(cell)}}}" if (i, j) in bold else latex_text(cell) for j, cell in enumerate(row)]
        for i, row in enumerate(zip(*(cells for _, cells in columns), strict=True))
    ]
    heads, rules, at = [], [], 2
    for head, span in over:
        heads.append(f"\\multicolumn{{{span}}}{{c}}{{{latex_text(head)}}}")
        rules.append(f"\\cmidrule(lr){{{at}-{at + span - 1}}}")
        at += span
    lines = [f"{' & '.join(['', *heads])} \\\\", " ".join(rules)] if over else []
    lines += [f"{' & '.join(latex_text(head) for head, _ in columns)} \\\\", "\\midrule"]
    for i, row in enumerate(rows):
        lines += (["\\midrule"] if i == rule_before else []) + [f"{' & '.join(row)} \\\\"]
    before = ["\\begin{table}", "\\centering\\small", f"\\caption{{{latex_text(caption)}}}", f"\\label{{{label}}}"]
    begin = f"\\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}"
    end = ["\\bottomrule", "\\end{tabular}", "\\end{table}"]
    return "\n".join([*before, begin, "\\toprule", *lines, *end])


def with_interval(metric: Metric | None) -> str:
    """A value and half the width of its 95 % interval, or its ends if it is not symmetric; the value if it has none."""
    if metric is None or metric.low is None:
        return number(None if metric is None else metric.value)
    below, above = metric.value - metric.low, metric.high - metric.value
    if abs(above - below) > max(ASYMMETRY * (above + below), 0.001):
        return f"{number(metric.value)} [{number(metric.low)}, {number(metric.high)}]"
    return f"{number(metric.value)} ±{number((above + below) / 2)}"


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
