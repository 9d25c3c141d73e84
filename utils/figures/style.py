"""The look of every figure: ground, type, panels of a given size, and room for every label."""

import bisect
import contextlib
import functools
import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from utils.files import write_whole
from utils.schema import shown
from utils.tables import COLUMN as COLUMN
from utils.tables import TEXT as TEXT
from utils.tasks import Drawing

FORMS = ("png", "svg", "pdf")
# Mark and dash distinguish 35 encoders without colour. The colours are Okabe and Ito's.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)))
# Of heatmaps, by which values are better: the better, the darker. Lightness changes evenly, so that the order is seen
# in grey too, and by colour-blind readers.
HEAT = {"higher": "viridis_r", "lower": "viridis"}
# For pages with a dark background.
DARK = {
    "text.color": "#E8E6E3",
    "axes.labelcolor": "#E8E6E3",
    "axes.edgecolor": "#A8A6A3",
    "xtick.color": "#E8E6E3",
    "ytick.color": "#E8E6E3",
    "figure.facecolor": "#1B1D22",
    "axes.facecolor": "#1B1D22",
    "savefig.facecolor": "#1B1D22",
}
# Fonts for letters that DejaVu Sans lacks. Fonts that are not installed are skipped.
MORE_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "PingFang SC", "Microsoft YaHei",
              "Arial Unicode MS")  # fmt: skip
LONGEST_NAME = 200
MOST_PIXELS = 20_000
TITLE_SIZE, PANEL_TITLE_SIZE = 10, 9
# Inches: the height of a page that leaves room for a caption.
PAGE = 9.0


@dataclass(frozen=True)
class Style:
    """What figures are drawn for. Type is in points, lengths are in inches.

    width: that of a figure, None for as wide as its panels make it. dots: of a PNG, an inch.
    small: the size of numbers in a cell and beside a point. smallest: that of a second number in a cell.
    letters: the most letters in a line of a name. settings: matplotlib's.
    """

    name: str
    width: float | None = None
    dots: int = 200
    small: float = 9
    smallest: float = 7
    letters: int = LONGEST_NAME
    settings: dict = field(default_factory=dict)


SCREEN = Style("screen")
PAPER = Style(
    "paper",
    width=TEXT,
    dots=600,
    small=7,
    smallest=6,
    letters=26,
    settings={
        "font.size": 8,
        "axes.titlesize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "axes.linewidth": 0.6,
        "axes.labelpad": 3,
        "axes.titlepad": 4,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "lines.linewidth": 1.2,
        "legend.handlelength": 2.2,
        "legend.columnspacing": 1.2,
    },
)
STYLES = {style.name: style for style in (SCREEN, PAPER)}


@contextlib.contextmanager
def drawing(dark: bool = False, style: Style = SCREEN) -> Iterator[None]:
    """A context in which figures have the project's look, on a light or a dark background."""
    import matplotlib
    from matplotlib import font_manager

    there = set(font_manager.get_font_names())
    look = {
        "font.family": ["DejaVu Sans", *(font for font in MORE_FONTS if font in there)],
        "font.size": 9,
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "svg.hashsalt": "safe-embed",
        "text.parse_math": False,  # a name with two dollar signs is not a formula
    }
    with matplotlib.rc_context({**look, **style.settings, **(DARK if dark else {})}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # drawn as a box; the SVG keeps the letter
        yield


def ink() -> str:
    """The colour of text on the current background."""
    import matplotlib

    return matplotlib.rcParams["text.color"]


def on(color: Sequence[float]) -> str:
    """Black or white, whichever is read better on a colour of red, green and blue, in [0, 1]. WCAG 2.2, contrast."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3])
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else "white"


def name(text: str, style: Style = SCREEN) -> str:
    """A name as a figure shows it: cut at LONGEST_NAME characters, in lines of at most the style's letters."""
    return broken(shown(text, LONGEST_NAME), style.letters)


def broken(text: str, letters: int) -> str:
    """Text in lines of at most so many letters, broken after a space or a sign if there is one."""
    parts = [
        part[i : i + letters]
        for part in re.findall(r"[^\s_/@-]*[\s_/@-]*", text)
        for i in range(0, len(part.rstrip()), letters)
    ]
    lines = [""]
    for part in parts:
        if len(lines[-1] + part.rstrip()) > letters:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines if line)


def encoder_styles(labels: Sequence[str], style: Style = SCREEN) -> dict[str, dict]:
    """Colour, mark and dash of the line of each encoder, by label. labels: of all encoders drawn, in order."""
    import matplotlib

    ground = matplotlib.rcParams["axes.facecolor"]
    size = 5 if style.width is None else 3.5
    return {
        label: {
            "color": COLORS[i % 7],
            "marker": MARKS[i % 7],
            "linestyle": DASHES[i % 5],
            "markersize": size,
            # Of encoders of the same colour and mark the second is hollow.
            "markerfacecolor": ground if i // 7 % 2 else COLORS[i % 7],
        }
        for i, label in enumerate(labels)
    }


def in_widths(*widths: float) -> Callable[[Callable], Callable]:
    """Decorates a function that draws a figure, so that one for a paper has the first of the widths that it fits."""

    def decorate(draw: Callable) -> Callable:
        @functools.wraps(draw)
        def drawn(drawing: Drawing, *more: Any) -> Any:
            if drawing.style.width is None:
                return draw(drawing, *more)
            for width in widths:
                figure = draw(replace(drawing, style=replace(drawing.style, width=width)), *more)
                if figure is None or figure.get_figwidth() == width:
                    break
            return figure

        return drawn

    return decorate


def panels(n: int, across: int) -> tuple[Any, list]:
    """A figure of n equal panels, at most `across` in a row, the last row in the middle; returns it and the panels."""
    from matplotlib.figure import Figure

    across = min(across, n)
    figure = Figure(layout="constrained")
    grid = figure.add_gridspec(-(-n // across), 2 * across)
    made = []
    for i in range(n):
        row, column = divmod(i, across)
        start = 2 * column + max(0, across - (n - row * across))
        made.append(figure.add_subplot(grid[row, start : start + 2]))
    return figure, made


def fitted(
    figure: Any, title: str, width: float, height: float, style: Style = SCREEN, least: float | None = None
) -> Any:
    """Gives a figure of `panels` its title, panels of width x height inches, and room for every label; returns it.

    A figure for a paper has no title and the style's width; one whose panels would be narrower than `width` is wider.
    least: what a paper's panels may be narrowed to, in their shape.
    """
    if style.width is not None:
        _fit_to_width(figure, style.width, width if least is None else least, height, least and height / width)
        return figure
    place = figure.axes[0].get_subplotspec()
    grid = place.get_gridspec()
    across_and_down = np.array([grid.ncols / len(place.colspan), grid.nrows / len(place.rowspan)])
    wanted = np.array([width, height])

    def resize(size: np.ndarray) -> None:
        """Sets the figure's size so that panels have the wanted size, in steps, as the margins grow with the figure."""
        for _ in range(5):
            figure.set_size_inches(size)
            figure.get_layout_engine().execute(figure)
            panel = figure.axes[0].get_position(original=True).size * size
            if np.abs(panel - wanted).max() < 0.02:
                break
            size = size + across_and_down * (wanted - panel)

    for panel in figure.axes:
        panel.set_title(_wrapped(panel.get_title(), width, PANEL_TITLE_SIZE), fontsize=PANEL_TITLE_SIZE)
    resize(across_and_down * (wanted + 15) + 10)  # larger than any label, because the layout fails if there is no room
    if title:
        legends = sum(legend.get_window_extent().width for legend in figure.legends) / figure.dpi
        whole = _wrapped(title, figure.get_figwidth() - legends, TITLE_SIZE)
        figure.suptitle(whole, fontsize=TITLE_SIZE, x=0.01, ha="left")
        resize(figure.get_size_inches() + np.array([0, 1 + whole.count("\n")]))
    _make_room(figure)
    return figure


def _make_room(figure: Any) -> None:
    """Enlarges a figure until no label lies outside it."""
    for _ in range(5):
        over = _outside(figure)
        if over.max() < 0.001:
            break
        figure.set_size_inches(figure.get_size_inches() + np.where(over > 0.001, 2 * over + 0.02, 0))
        figure.get_layout_engine().execute(figure)


def _outside(figure: Any) -> np.ndarray:
    """How far labels reach outside a figure, in inches: width, height."""
    box = figure.get_tightbbox()
    return np.maximum(np.maximum(-box.min, box.max - figure.get_size_inches()), 0)


def _fit_to_width(figure: Any, width: float, least: float, height: float, shape: float | None) -> None:
    """Makes a figure so wide, or, if panels would be narrower than `least`, wider; its labels are wrapped to them.

    height: of a panel, unless it has a shape: its height for its width.
    """
    place = figure.axes[0].get_subplotspec()
    grid = place.get_gridspec()
    across_and_down = np.array([grid.ncols / len(place.colspan), grid.nrows / len(place.rowspan)])
    drawn = [axes for axes in figure.axes if axes.get_subplotspec()]  # a colour bar has no place in the grid
    titles = {axes.title: axes.title.get_text() for axes in drawn}
    labels = {label: label.get_text() for axes in drawn for label in (axes.xaxis.label, axes.yaxis.label)}
    size = across_and_down * (np.array([least, height]) + 15) + 10  # larger than any label
    for _ in range(8):
        figure.set_size_inches(size)
        figure.get_layout_engine().execute(figure)
        panel = figure.axes[0].get_position(original=True).size * size
        around = size - across_and_down * panel
        wide = max(least, (width - around[0]) / across_and_down[0])
        wanted = np.array([wide, wide * shape if shape else height])
        for text, whole in titles.items():
            _wrap(text, whole, wide)
        for text, whole in labels.items():
            _wrap(text, whole, max(0.9, wanted[1]) if text.get_rotation() else max(1.3, wide))
        before, size = size, around + across_and_down * wanted
        if wide > least:
            size[0] = width
        if np.abs(size - before).max() < 0.002:
            break
    figure.set_size_inches(size)
    figure.get_layout_engine().execute(figure)
    _make_room(figure)


def _wrap(text: Any, whole: str, inches: float) -> None:
    """Breaks a drawn text into lines that are not longer than so many inches, first before what is better."""

    def too_long(letters: int) -> bool:
        text.set_text("\n".join(broken(line, letters) for line in whole.split("\n")))
        return max(text.get_window_extent().size) / text.get_figure().dpi > inches

    if too_long(max(8, len(whole))):
        whole = re.sub(r"([,;]) (?=\w+ (\(\w+\) )?is better)", r"\1\n", whole)
    letters = max(8, *map(len, whole.split("\n")))
    if too_long(letters):
        # The most letters that are not too long, but not fewer than 8.
        too_long(7 + max(1, bisect.bisect_left(range(8, letters), True, key=too_long)))


def legend(
    figure: Any, handles: Sequence, labels: Sequence[str], place: str, style: Style = SCREEN, **look: Any
) -> Any:
    """Adds a legend outside the panels: at `place`, or in a paper below them, in as many columns as there is room."""
    look = {"frameon": False, **look}
    if style.width is None:
        return figure.legend(handles, labels, loc=place, **look)
    look = {**look, "loc": "outside lower center", "fontsize": style.small}
    for columns in dict.fromkeys(-(-len(labels) // rows) for rows in range(1, len(labels) + 1)):
        below = figure.legend(handles, labels, ncols=columns, **look)
        if columns == 1 or below.get_window_extent().width / figure.dpi < style.width - 0.1:
            break
        below.remove()
    for text in below.get_texts():
        _wrap(text, text.get_text(), style.width - 0.6)
    return below


def _wrapped(title: str, width: float, size: float) -> str:
    """A title in lines of about `width` inches, at least 24 letters of about 0.56 of the type's size."""
    letters = max(24, int(width * 72 / (0.56 * size)))
    whole = title.replace(" = ", "\u00a0=\u00a0")  # a line does not end amid "k = 10"
    return "\n".join(textwrap.fill(line, letters) for line in whole.split("\n")).replace("\u00a0", " ")


def color_bar(
    figure: Any, image: Any, axes: Any, width: float, height: float, label: str, style: Style = SCREEN
) -> None:
    """Adds a colour bar with its label beside axes of width x height inches; above them if the label is longer."""
    import matplotlib

    length = 0.6 * len(label) * matplotlib.rcParams["font.size"] / 72
    thick = 0.12 if style.width is None else 0.09
    look: dict[str, Any] = {"aspect": height / thick, "pad": 0.01}
    if length > height:
        long = min(length, width)
        look = {"location": "top", "shrink": long / width, "anchor": (1, 0), "aspect": long / thick}
        look["pad"] = 0.08 / height
    bar = figure.colorbar(image, ax=axes, **look)
    bar.set_label(label, loc="right" if length > height else "center")  # so that its end is not cut
    bar.outline.set_visible(False)


def rendered(figure: Any, form: str, style: Style = SCREEN) -> bytes:
    """A figure's bytes as `png` (the style's dots an inch, fewer if it is huge), `svg` or `pdf`, always the same."""
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    content = io.BytesIO()
    dots = min(style.dots, MOST_PIXELS / max(figure.get_size_inches()))
    figure.savefig(content, format=form, dpi=dots, metadata=undated.get(form))
    return content.getvalue()


def save(figure: Any, path: Path, title: bool = True, style: Style = SCREEN) -> list[Path]:
    """Writes a figure in each of FORMS, each whole or not at all; returns the paths. title: whether to keep it."""
    if not title:
        figure.suptitle("")
    written = []
    for form in FORMS:
        written.append(path.with_suffix(f".{form}"))
        write_whole(written[-1], rendered(figure, form, style))
    return written
