"""What of a figure a reader can't see whole, found by drawing it."""

from unittest import mock

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Affine2D


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


def seen_whole(figure):
    """drawn_texts of a figure of which nothing is cut off or covered; drawn once, as drawing is what takes the time."""
    drawn = drawn_texts(figure)
    assert cut_off(figure, drawn) == [] and overlapping(figure, drawn) == [] and over_data(figure) == []
    return drawn


def cut_off(figure, drawn=None):
    """Texts that do not lie whole inside the figure, to a tenth of a dot."""
    box = figure.bbox
    return [
        text.get_text()
        for text, at in (drawn or drawn_texts(figure)).items()
        if at.x0 < box.x0 - 0.1 or at.y0 < box.y0 - 0.1 or at.x1 > box.x1 + 0.1 or at.y1 > box.y1 + 0.1
    ]


def overlapping(figure, drawn=None):
    """Pairs of texts that lie over each other by more than a dot, slanted ones by the box along their letters."""
    boxes = [(text.get_text(), _corners(text, at)) for text, at in (drawn or drawn_texts(figure)).items()]
    corners = np.array([box for _, box in boxes]).reshape(-1, 4, 2)
    low, high = corners.min(axis=1), corners.max(axis=1)
    # Most pairs are far apart: only those whose upright boxes meet are looked at along their letters.
    near = ((low[:, None] < high) & (low < high[:, None])).all(axis=2)
    pairs = [(boxes[i], boxes[j]) for i, j in np.argwhere(np.triu(near, 1))]
    return [(one, other) for (one, a), (other, b) in pairs if not _apart(a, b)]


def _corners(text, extent):
    """The corners of a text's box, one dot smaller on each side: (4, 2), in order."""
    angle = text.get_rotation()
    if angle % 90 == 0:
        return extent.padded(-1).corners()[[0, 1, 3, 2]]
    assert text.get_rotation_mode() == "anchor"
    text.set_rotation(0)
    flat = text.get_window_extent().padded(-1).corners()[[0, 1, 3, 2]]
    text.set_rotation(angle)
    anchor = text.get_transform().transform(text.get_position())
    return Affine2D().rotate_deg_around(*anchor, angle).transform(flat)


def _apart(one, other):
    """Whether a line along a side of one of two boxes has them on different sides (separating axis theorem)."""
    for corners in (one, other):
        for side in (corners[1] - corners[0], corners[2] - corners[1]):
            a, b = one @ side, other @ side
            if a.max() <= b.min() or b.max() <= a.min():
                return True
    return False


def over_data(figure):
    """Legends that reach into a panel."""
    panels = [axes.get_window_extent() for axes in figure.axes]
    return [legend for legend in figure.legends if any(legend.get_window_extent().overlaps(box) for box in panels)]
