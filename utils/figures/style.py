"""The look of every figure: ground, type, panels of a given size, and room for every label."""

import contextlib
import io
import textwrap
import warnings
from pathlib import Path

import numpy as np

from utils.files import write_bytes_whole
from utils.schema import shown

FORMS = ("png", "svg", "pdf")
# Mark and dash distinguish 35 encoders without colour. The colours are Okabe and Ito's.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)))
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


@contextlib.contextmanager
def drawing(dark: bool = False):
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
    with matplotlib.rc_context({**look, **(DARK if dark else {})}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # drawn as a box; the SVG keeps the letter
        yield


def ink() -> str:
    """The colour of text on the current background."""
    import matplotlib

    return matplotlib.rcParams["text.color"]


def name(text: str) -> str:
    """A name as a figure shows it: on one line, cut at LONGEST_NAME characters."""
    return shown(text, LONGEST_NAME)


def panels(n: int, across: int):
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


def fitted(figure, title: str, width: float, height: float):
    """Gives a figure of `panels` its title, panels of width x height inches, and room for every label; returns it."""
    place = figure.axes[0].get_subplotspec()
    grid = place.get_gridspec()
    across_and_down = np.array([grid.ncols / len(place.colspan), grid.nrows / len(place.rowspan)])
    wanted = np.array([width, height])

    def resize(size) -> None:
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
    for _ in range(5):
        size = figure.get_size_inches()
        box = figure.get_tightbbox()
        over = np.maximum(np.maximum(-box.min, box.max - size), 0)
        if over.max() < 0.001:
            break
        figure.set_size_inches(size + 2 * over + 0.02)
        figure.get_layout_engine().execute(figure)
    return figure


def _wrapped(title: str, width: float, size: float) -> str:
    """A title in lines of about `width` inches, at least 24 letters of about 0.56 of the type's size."""
    return "\n".join(textwrap.fill(line, max(24, int(width * 72 / (0.56 * size)))) for line in title.split("\n"))


def color_bar(figure, image, axes, height: float) -> None:
    """Adds a colour bar beside axes with a total height of `height` inches."""
    bar = figure.colorbar(image, ax=axes, aspect=height / 0.12, pad=0.01)
    bar.outline.set_visible(False)


def rendered(figure, form: str) -> bytes:
    """A figure's bytes as `png` (200 dots an inch, fewer if it is huge), `svg` or `pdf`, the same in every run."""
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    content = io.BytesIO()
    dots = min(200, MOST_PIXELS / max(figure.get_size_inches()))
    figure.savefig(content, format=form, dpi=dots, metadata=undated.get(form))
    return content.getvalue()


def save(figure, path: Path, title: bool = True) -> list[Path]:
    """Writes a figure in each of FORMS, each whole or not at all; returns the paths. title: whether to keep it."""
    if not title:
        figure.suptitle("")
    written = []
    for form in FORMS:
        written.append(path.with_suffix(f".{form}"))
        write_bytes_whole(written[-1], rendered(figure, form))
    return written
