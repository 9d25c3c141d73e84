"""The figure of Safety-Challenging's pairwise accuracy."""

from typing import Any

import numpy as np

from utils.figures.style import COLUMN, TEXT, in_widths, name
from utils.figures.tasks import labelled, line_looks, single_axes
from utils.tasks import Drawing, Figure


@in_widths(COLUMN, TEXT)
def accuracy_curve(drawing: Drawing) -> Any:
    """Pairwise accuracy at every threshold from 0 to 1: the share of pairs whose normalized similarity is below it."""
    thresholds = np.linspace(0, 1, 201)
    figure, axes = single_axes()
    for result, look in zip(drawing.results, line_looks(drawing), strict=True):
        values = np.array(result.items["normalized_similarity"], dtype=float)
        shares = (values < thresholds[:, None]).mean(axis=1)
        axes.plot(thresholds, shares, label=name(result.encoder.label), markevery=20, clip_on=False, **look)
    axes.set_xlim(0, 1)
    return labelled(figure, drawing, "threshold on normalized similarity", "pairwise accuracy, higher is better")


FIGURES = (Figure("accuracy_curve", accuracy_curve, "pairwise accuracy at every threshold", better="Higher is better"),)
