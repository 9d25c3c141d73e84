"""The figure of Safety-Contrast's boundary similarity by word overlap."""

from collections.abc import Sequence
from typing import Any

from utils.figures.style import COLUMN, SCREEN, TEXT, Style, in_widths, name
from utils.figures.tasks import labelled, least, line_looks, means, single_axes
from utils.metrics.embedding import OVERLAP_BINS
from utils.schema import Result
from utils.tasks import Drawing, Figure


@in_widths(COLUMN, TEXT)
def boundary_by_overlap(
    results: Sequence[Result], title: str, style: Style = SCREEN, labels: Sequence[str] = ()
) -> Any:
    """Boundary similarity of edits by their word overlap with the original, with 95 % intervals.

    labels: as for averages.
    """
    figure, axes = single_axes()
    apart = min(0.08, 0.5 / len(results))
    for i, (result, look) in enumerate(zip(results, line_looks(results, labels, style), strict=True)):
        shift = (i - (len(results) - 1) / 2) * apart
        of_bins = [(j, result.metric("boundary_similarity", overlap)) for j, overlap in enumerate(OVERLAP_BINS)]
        found = [(j + shift, m) for j, m in of_bins if m is not None]
        at, values = [j for j, _ in found], [m.value for _, m in found]
        reach = None
        if found and found[0][1].low is not None:
            reach = [[m.value - m.low for _, m in found], [m.high - m.value for _, m in found]]
        axes.errorbar(
            at, values, yerr=reach, label=name(result.encoder.label), capsize=3 if style.width is None else 2, **look
        )
    axes.set_xticks(
        range(len(OVERLAP_BINS)), [overlap.removeprefix("overlap ").replace(">=", "≥") for overlap in OVERLAP_BINS]
    )
    shown = [m for r in results for m in means(r, "boundary_similarity") if m.group in OVERLAP_BINS]
    x, y = "word overlap (Jaccard) of original and edit", "boundary similarity, lower is better"
    return labelled(figure, title, x, y, style, min(0, *(least(m) for m in shown)))


def _drawn_overlap(drawing: Drawing) -> Any:
    title = f"Safety-Contrast ({drawing.data})"
    return boundary_by_overlap(drawing.results, title, style=drawing.style, labels=drawing.labels)


FIGURES = (Figure("overlap", _drawn_overlap, "{metric} by word overlap of original and edit{interval}"),)
