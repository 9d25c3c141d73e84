"""The figure of Safety-Challenging's pairwise accuracy."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from utils.figures.style import COLUMN, SCREEN, TEXT, Style, in_widths, name
from utils.figures.tasks import labelled, line_looks, single_axes
from utils.schema import Result
from utils.tasks import Drawing, Figure


@in_widths(COLUMN, TEXT)
def accuracy_curve(
    results: Sequence[Result],
    items: Sequence[Sequence[float]],
    title: str,
    style: Style = SCREEN,
    labels: Sequence[str] = (),
) -> Any:
    """Pairwise accuracy at every threshold from 0 to 1: the share of pairs whose normalized similarity is below it.

    items: each result's normalized similarities. labels: as for averages.
    """
    thresholds = np.linspace(0, 1, 201)
    figure, axes = single_axes()
    for result, values, look in zip(results, items, line_looks(results, labels, style), strict=True):
        shares = (np.asarray(values)[None, :] < thresholds[:, None]).mean(axis=1)
        axes.plot(thresholds, shares, label=name(result.encoder.label), markevery=20, clip_on=False, **look)
    axes.set_xlim(0, 1)
    y = "pairwise accuracy, higher is better"
    return labelled(figure, title, "threshold on normalized similarity", y, style)


def _drawn_curve(drawing: Drawing) -> Any:
    similarities = [list(map(float, result.items["normalized_similarity"])) for result in drawing.results]
    title = f"Safety-Challenging ({drawing.data})"
    return accuracy_curve(drawing.results, similarities, title, style=drawing.style, labels=drawing.labels)


FIGURES = (Figure("accuracy_curve", _drawn_curve, "pairwise accuracy at every threshold", better="Higher is better"),)
