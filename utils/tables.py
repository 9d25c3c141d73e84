"""Tables as values, and rendered as text of 80 columns, Markdown, LaTeX and CSV."""

import csv
import io
import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import tabulate as tabulate_module
from tabulate import SEPARATING_LINE

from utils.schema import Difference, Metric, escaped, shown

WIDTH = 80
# Inches: a column and the text of a paper's page in two columns.
COLUMN, TEXT = 3.3, 6.8
# Points of TeX: an inch, the blanks around a column of a table, and in small type the width of the letters below and of
# all others, rounded up from Computer Modern's.
INCH, GAP = 72.27, 12
WIDE, NARROW = "MWmw%&@±<>≤", " .,:;'|!il()[]-tfj"
WIDE_LETTER, NARROW_LETTER, LETTER, CAPITAL = 8.5, 3.6, 5.1, 7.2
# More encoders than these have rows of their own in place of columns.
MOST_BESIDE = 3
# A table with more rows is collapsed at first on a page.
MOST_ROWS = 15
# A heading is broken into lines of at least so many characters, and a name of a row of so many.
NARROWEST_HEADING, NARROWEST_NAME = 10, 12
# A word of a heading that is longer is broken.
LONGEST_WORD = 24
# An interval is shown as ± up to this difference of its two sides, as a share of its width.
ASYMMETRY = 0.1
# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# The texts of cells that are aligned right: nothing, a hyphen, or a number, which stars, a unit or an interval may
# follow.
_NUMBER = re.compile(r"(|-|[<+-]?\d[\d.,]*[MB]?\**)( .*)?")
# The number that such a text begins with.
_NUMBER_ALONE = re.compile(r"^(?:-$|[<+-]?\d[\d.,]*[MB]?)")
INTERVAL = "± half the width of the 95 % interval, or [its ends] where it is not symmetric"


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
    """A p-value to three decimals, never 0. A hyphen if there is none."""
    return "-" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def percent(share: float | None, form: str = ".0f") -> str:
    """A share in percent. form: of the number. A hyphen if there is no share."""
    return "-" if share is None else f"{100 * share:{form}} %"


def with_reach(difference: Difference | None) -> str:
    """A difference with its sign, and half the width of its 95 % interval, which is symmetric. A hyphen if none."""
    if difference is None or difference.interval is None:
        return signed(None if difference is None else difference.value)
    low, high = difference.interval
    return f"{signed(difference.value)} ±{number((high - low) / 2)}"


def with_interval(metric: Metric | None) -> str:
    """A value and half the width of its 95 % interval, or its ends if it is not symmetric; the value if it has none.

    A number of a set that the encoder was tuned on says so.
    """
    if metric is None:
        return number(None)
    seen = " (seen)" if metric.seen else ""
    if metric.interval is None:
        return f"{number(metric.value)}{seen}"
    low, high = metric.interval
    below, above = metric.value - low, high - metric.value
    if abs(above - below) > max(ASYMMETRY * (above + below), 0.001):
        return f"{number(metric.value)} [{number(low)}, {number(high)}]{seen}"
    return f"{number(metric.value)} ±{number((above + below) / 2)}{seen}"


@dataclass(frozen=True)
class Cell:
    """A table's cell: its text, and the value that it is sorted by and that CSV has.

    prompt: the key of a text that is hidden at first. is_best: whether it is in bold. mark: what follows the text, such
    as a star; the texts of a column are aligned without.
    """

    text: str
    value: float | str | None = None
    prompt: str | None = None
    is_best: bool = False
    mark: str = ""


def _is_number(cell: Cell) -> bool:
    return cell.prompt is None and not isinstance(cell.value, str) and bool(_NUMBER.fullmatch(cell.text))


def cell(value: "Cell | Metric | Difference | str | float | None") -> Cell:
    """The cell of a name, a count, a number to three decimals, or a metric or a difference with its interval."""
    if isinstance(value, Cell):
        return value
    if isinstance(value, Metric):
        return Cell(with_interval(value), value.value)
    if isinstance(value, Difference):
        return Cell(with_reach(value), value.value)
    if isinstance(value, float):
        return Cell(number(value), value)
    return Cell("-" if value is None else str(value), value)


def signed_cell(value: float | None, decimals: int = 3) -> Cell:
    return Cell(signed(value, decimals), value)


def p_cell(p: float | None) -> Cell:
    return Cell(p_text(p), p)


@dataclass(frozen=True)
class Table:
    """A table, whatever it is rendered as.

    foot: rows under a rule, which are not sorted. keys: how many columns, from the first, name a row; if the table is
    too wide, each part of it has them. spans: numbers of columns after those that stay together, each alone if ().
    notes: sentences under the table. label: by which LaTeX refers to it. on_demand: whether a page shows it only to
    readers who ask for it.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    foot: Sequence[Sequence[Cell]] = ()
    keys: int = 1
    spans: Sequence[int] = ()
    notes: Sequence[str] = ()
    label: str = ""
    on_demand: bool = False

    @property
    def is_long(self) -> bool:
        """Whether the table has many rows."""
        return len(self.rows) > MOST_ROWS

    @property
    def is_collapsed(self) -> bool:
        """Whether the table is collapsed at first on a page, unless it is the first of its section."""
        return self.on_demand or self.is_long

    @property
    def cells(self) -> list[Cell]:
        """All cells, row by row."""
        return [cell for row in (*self.rows, *self.foot) for cell in row]

    @property
    def columns(self) -> list[list[Cell]]:
        """The cells of each column."""
        return [self.cells[at :: len(self.headings)] for at in range(len(self.headings))]

    @property
    def alignment(self) -> list[str]:
        """`right` for each column of numbers, else `left`; the first column names the rows."""
        numbers = [all(map(_is_number, column)) for column in self.columns]
        return ["left", *("right" if of_numbers else "left" for of_numbers in numbers[1:])]

    def sorts_by(self, at: int) -> bool:
        """Whether the rows have values in a column."""
        return any(row[at].value is not None for row in self.rows)

    def only(self, columns: Sequence[int]) -> "Table":
        """The table of these columns."""
        rows, foot = ([[row[at] for at in columns] for row in part] for part in (self.rows, self.foot))
        return replace(self, headings=[self.headings[at] for at in columns], rows=rows, foot=foot, spans=())

    def changed(self, change: Callable[[int, Cell], Cell]) -> "Table":
        """The table with every cell replaced by what `change` returns for it and the number of its column."""
        rows, foot = ([list(map(change, range(len(row)), row)) for row in part] for part in (self.rows, self.foot))
        return replace(self, rows=rows, foot=foot)

    def written(self, text: Callable[[str], str]) -> "Table":
        """The table with every text of a cell or heading replaced by what `text` returns for it."""
        cells = self.changed(lambda _, cell: replace(cell, text=text(cell.text)))
        return replace(cells, headings=list(map(text, self.headings)))

    def bold(self, before: str, after: str) -> "Table":
        """The table with the texts of its best cells between two others."""
        return self.changed(lambda _, cell: replace(cell, text=f"{before}{cell.text}{after}") if cell.is_best else cell)

    def marked(self, blank: Callable[[str], str] = lambda missing: "") -> "Table":
        """The table with the cells' marks in their texts, each followed by a blank as wide as what it lacks.

        blank: from what a mark lacks of the longest one in its column.
        """
        longest = [max((cell.mark for cell in column), key=len, default="") for column in self.columns]

        def with_mark(at: int, cell: Cell) -> Cell:
            return replace(cell, text=f"{cell.text}{cell.mark}{blank(longest[at][len(cell.mark) :])}", mark="")

        return self.changed(with_mark)

    def widths(self) -> list[int]:
        """How many characters each column takes, with two blanks after it."""
        columns = zip(self.headings, self.columns, strict=True)
        texts = ["\n".join([heading, *(cell.text for cell in column)]) for heading, column in columns]
        return [2 + max(map(len, text.split("\n"))) for text in texts]

    def blocks(self) -> list[list[int]]:
        """The columns after the keys, those that stay together in a list of their own."""
        columns = iter(range(self.keys, len(self.headings)))
        spans = self.spans or [1] * (len(self.headings) - self.keys)
        return [[next(columns) for _ in range(span)] for span in spans]

    def turned(self, corner: str, foot: Collection[str] = ()) -> "Table":
        """The table with its columns as rows, whose names have the heading `corner`.

        foot: the headings of columns that become the foot. A column after the first of those that stay together has
        the first one's heading before its own.
        """
        columns, keys = self.columns, [[at] for at in range(1, self.keys)]
        rows: list[list[Cell]] = []
        last: list[list[Cell]] = []
        for first, *others in (*keys, *self.blocks()):
            names = [self.headings[first], *(f"{self.headings[first]}: {self.headings[at]}" for at in others)]
            for name, at in zip(names, (first, *others), strict=True):
                (last if name in foot else rows).append([Cell(name, name), *columns[at]])
        return replace(
            self, headings=[corner, *(cell.text for cell in columns[0])], rows=rows, foot=last, keys=1, spans=()
        )

    def parts(self, width: float, widths: Sequence[float]) -> list["Table"]:
        """The table, or as few as are no wider than `width` if it is, about equally wide, each with the keys.

        widths: of the columns, in the same unit.
        """
        keys = list(range(self.keys))
        room = width - sum(widths[at] for at in keys)
        parts = self._within(room, widths)
        widest = max((sum(widths[at] for at in block) for block in self.blocks()), default=0)
        while room > widest and len(narrower := self._within(room - 1, widths)) == len(parts):
            parts, room = narrower, room - 1
        return [self.only([*keys, *part]) for part in parts]

    def _within(self, room: float, widths: Sequence[float]) -> list[list[int]]:
        """The columns after the keys in lists that are no wider than `room`, if no block is."""
        parts: list[list[int]] = [[]]
        for block in self.blocks():
            if parts[-1] and sum(widths[at] for at in (*parts[-1], *block)) > room:
                parts.append([])
            parts[-1] += block
        return parts


def of_rows(
    caption: str, headings: Sequence[str], rows: Sequence[Sequence], foot: Sequence[Sequence] = (), **more: Any
) -> Table:
    """A table of rows of values, as `cell` takes them."""
    body, last = ([list(map(cell, row)) for row in part] for part in (rows, foot))
    return Table(caption, headings, body, last, **more)


def of_columns(columns: Sequence[tuple[str, Sequence[str]]], foot: int = 0, caption: str = "", **more: Any) -> Table:
    """A table of columns of texts, each with its heading. foot: how many of the last rows are under a rule."""
    rows = [list(map(Cell, texts)) for texts in zip(*(texts for _, texts in columns), strict=True)]
    body = len(rows) - foot
    return Table(caption, [heading for heading, _ in columns], rows[:body], rows[body:], **more)


def rendered(parts: Sequence[Table | str], form: str) -> str:
    """Tables and paragraphs below one another as `text`, `markdown` or `latex`.

    A note of several tables is under the last of them; in LaTeX, where tables float, it is in each one's caption.
    """
    render = {"text": text_table, "markdown": markdown_table, "latex": latex_table}[form]
    last = {note: part for part in parts if isinstance(part, Table) for note in part.notes}
    lines = [LATEX_PREAMBLE] if form == "latex" else []
    for part in parts:
        if isinstance(part, str):
            lines.append(paragraph(part) if form == "text" else markdown_text(part))
        else:
            notes = part.notes if form == "latex" else [note for note in part.notes if last[note] is part]
            lines.append(render(replace(part, notes=notes)))
    return "\n\n".join(filter(None, lines))


def paragraph(text: str, hanging: str = "") -> str:
    """The text in lines of 80 columns, names whole at their hyphens. hanging: what lines after the first begin with."""
    return textwrap.fill(text, WIDTH, subsequent_indent=hanging, break_on_hyphens=False)


def text_table(table: Table) -> str:
    """The table as text of 80 columns, its caption above and its notes below; one that is too wide in several parts."""
    fitted = _fitted(table.written(shown).marked(lambda missing: " " * len(missing)))
    parts = fitted.parts(WIDTH + 2, fitted.widths())
    body = [_tabulated(part, "simple", part.alignment) for part in parts]
    notes = "\n".join(paragraph(note, "  ") for note in table.notes)
    return "\n\n".join(filter(None, [paragraph(table.caption), *body, notes]))


def _fitted(table: Table) -> Table:
    """The table with headings broken into lines, and with the names of rows too where they leave no room."""
    cells = replace(table, headings=[""] * len(table.headings))
    fitted = replace(table, headings=list(map(_heading, table.headings, cells.widths())))
    widths = fitted.widths()
    widest = max((sum(widths[at] for at in block) for block in fitted.blocks()), default=0)
    while (excess := sum(widths[: table.keys]) + widest - WIDTH - 2) > 0:
        at = max(range(table.keys), key=lambda at: widths[at])
        if widths[at] - 2 <= NARROWEST_NAME:
            break
        width = max(NARROWEST_NAME, widths[at] - 2 - excess)
        fitted, widths[at] = _broken(fitted, at, width), width + 2
    return fitted


def _heading(heading: str, width: int) -> str:
    """The heading in lines no longer than the cells, `width` with two blanks, if its words are not longer."""
    word = min(max(map(len, heading.split()), default=0), LONGEST_WORD)
    return _lines(heading, max(width - 2, word, NARROWEST_HEADING))


def _broken(table: Table, column: int, width: int) -> Table:
    return table.changed(lambda at, cell: replace(cell, text=_lines(cell.text, width)) if at == column else cell)


def _lines(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width, break_on_hyphens=False))


def markdown_table(table: Table) -> str:
    """The table in Markdown, its caption above and its notes below; every text is escaped."""
    written = table.written(lambda text: markdown_text(escaped(text))).bold("**", "**").marked()
    body = _tabulated(written, "pipe", table.alignment)
    return "\n\n".join(filter(None, [markdown_text(table.caption), body, markdown_text(_sentences(_notes(table)))]))


def markdown_text(text: str) -> str:
    """A cell's text, escaped so that Markdown shows it as it is: no bar ends the cell, and no tag begins."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def html_table(table: Table) -> str:
    """The table's cells as HTML; every text is escaped."""
    return _tabulated(table.written(escaped).marked(), "html", table.alignment)


def _notes(table: Table) -> list[str]:
    """The notes where the best are in bold."""
    return [*table.notes, *(["Bold: the best value"] if any(cell.is_best for cell in table.cells) else [])]


def _sentences(notes: Sequence[str]) -> str:
    return "".join(f"{note.removesuffix('.')}. " for note in notes).rstrip()


def _tabulated(table: Table, form: str, alignment: Sequence[str]) -> str:
    """A table by tabulate, without the two characters by which it pads each heading: 80 columns are few."""
    rows: list = [[cell.text for cell in row] for row in (*table.rows, *table.foot)]
    if table.foot and table.rows and form == "simple":
        rows.insert(len(table.rows), SEPARATING_LINE)
    padding, tabulate_module.MIN_PADDING = tabulate_module.MIN_PADDING, 0
    try:
        return tabulate_module.tabulate(
            rows,
            headers=table.headings,
            tablefmt=form,
            colalign=alignment,
            disable_numparse=True,
            preserve_whitespace=True,
        )
    finally:
        tabulate_module.MIN_PADDING = padding


def csv_table(table: Table) -> str:
    """The values of a table as CSV, None as an empty cell, without a line end at its end.

    A text that a spreadsheet would take for a formula gets an apostrophe before it, by OWASP's advice on CSV injection.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.headings)
    for row in (*table.rows, *table.foot):
        values = [cell.value for cell in row]
        writer.writerow([f"'{one}" if isinstance(one, str) and one.startswith(_FORMULA) else one for one in values])
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


def latex_table(table: Table) -> str:
    """The table in LaTeX for the package booktabs, every text escaped, for a paper of two columns.

    One that is wider than a column is over both, and one that is wider than both is in several. The notes are in the
    caption, and the parts of one that is too wide have numbers after their labels.
    """
    bare = replace(table, headings=[""] * len(table.headings)).marked(lambda missing: missing)
    broken = replace(table, headings=list(map(_heading, table.headings, bare.widths())))
    parts = broken.parts(TEXT * INCH, _points(broken))
    labels = [f"{table.label}-{i}" for i in range(1, len(parts) + 1)] if len(parts) > 1 else [table.label]
    return "\n\n".join(_latex(replace(part, label=label)) for part, label in zip(parts, labels, strict=True))


def _points(table: Table) -> list[float]:
    """About how wide each column is in LaTeX, in points and rather too wide."""
    marked = table.marked(lambda missing: missing)
    texts = ["\n".join([heading, *(cell.text for cell in column)])
             for heading, column in zip(marked.headings, marked.columns, strict=True)]  # fmt: skip
    return [GAP + max(map(_width, text.split("\n"))) for text in texts]


def _letter(letter: str) -> float:
    if letter in WIDE:
        return WIDE_LETTER
    return NARROW_LETTER if letter in NARROW else CAPITAL if letter.isupper() else LETTER


def _latex(table: Table) -> str:
    caption = _sentences([table.caption, *_notes(table)])
    columns = "".join(side[0] for side in table.alignment)
    environment = "table" if sum(_points(table)) <= COLUMN * INCH else "table*"
    texts = _aligned(table.marked())
    rows = [_latex_row(cell.text for cell in row) for row in (*texts.rows, *texts.foot)]
    if table.foot:
        rows.insert(len(table.rows), "\\midrule")
    # A heading of several lines is as many rows, the last of which are above the rule.
    lines = zip_longest(*(reversed(heading.split("\n")) for heading in table.headings), fillvalue="")
    headings = [_latex_row(map(latex_text, line)) for line in lines][::-1]
    return "\n".join([
        f"\\begin{{{environment}}}", "\\centering\\small", f"\\caption{{{latex_text(caption)}}}",
        f"\\label{{{table.label}}}", f"\\begin{{tabular}}{{{columns}}}", "\\toprule", *headings, "\\midrule", *rows,
        "\\bottomrule", "\\end{tabular}", f"\\end{{{environment}}}",
    ])  # fmt: skip


def _aligned(table: Table) -> Table:
    """The table with its texts in LaTeX. The numbers of a column are below each other, whatever follows them.

    What follows, an interval or a mark, is followed by a blank unless it is as wide as the widest of its column.
    """
    follows = [[_NUMBER_ALONE.sub("", cell.text, count=1) for cell in column] for column in table.columns]
    widest = [max((re.sub(r"\d", "0", text) for text in texts), key=_width) for texts in follows]

    def in_latex(at: int, cell: Cell) -> Cell:
        text, follows, blank = latex_text(cell.text), _NUMBER_ALONE.sub("", cell.text, count=1), ""
        if table.alignment[at] == "right" and re.sub(r"\d", "0", follows) != widest[at]:
            text, blank = latex_text(cell.text.removesuffix(follows)), f"\\phantom{{{latex_text(widest[at])}}}"
            text += f"\\rlap{{{latex_text(follows)}}}" if follows else ""
        return replace(cell, text=f"\\textbf{{{text}}}{blank}" if cell.is_best else f"{text}{blank}")

    return table.changed(in_latex)


def _width(text: str) -> float:
    """About how wide a text is in LaTeX, in points and rather too wide."""
    return sum(map(_letter, text))


def _latex_row(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"
