"""What of a figure a reader can't see whole, found by drawing it."""

from itertools import combinations
from unittest import mock

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def drawn_texts(figure):
    """Text and window extent of all that is drawn with letters; labels of ticks outside the axes are not drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # the layout of a figure is made by drawing it
    drawn, draw = {}, Text.draw

    def seen(text, renderer):
        if text.get_visible() and text.get_text():
            drawn[text] = text.get_window_extent(renderer)
        draw(text, renderer)

    with mock.patch.object(Text, "draw", seen):
        canvas.draw()
    return drawn


def cut_off(figure):
    """Texts that do not lie whole inside the figure, to a tenth of a dot."""
    box = figure.bbox
    return [
        text.get_text()
        for text, at in drawn_texts(figure).items()
        if at.x0 < box.x0 - 0.1 or at.y0 < box.y0 - 0.1 or at.x1 > box.x1 + 0.1 or at.y1 > box.y1 + 0.1
    ]


def overlapping(figure):
    """Pairs of titles of panels, of upright labels, or of entries of the legend that lie over each other."""
    upright = [(text.get_text(), at.padded(-1)) for text, at in drawn_texts(figure).items() if not text.get_rotation()]
    return [(one, other) for (one, a), (other, b) in combinations(upright, 2) if a.overlaps(b)]
