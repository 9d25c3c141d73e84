"""The figure of Safety-Contrast's boundary similarity by word overlap."""

import math
from typing import Any

from utils.figures.style import COLUMN, TEXT, in_widths, name
from utils.figures.tasks import labelled, least, line_looks, single_axes
from utils.metrics.embedding import OVERLAP_BINS
from utils.tasks import Drawing, Figure

NO_BAR = math.nan, math.nan


@in_widths(COLUMN, TEXT)
def boundary_by_overlap(drawing: Drawing) -> Any:
    """Boundary similarity of edits by their word overlap with the original, with 95 % intervals."""
    results, capsize = drawing.results, 3 if drawing.style.width is None else 2
    figure, axes = single_axes()
    apart = min(0.08, 0.5 / len(results))
    for i, (result, look) in enumerate(zip(results, line_looks(drawing), strict=True)):
        shift = (i - (len(results) - 1) / 2) * apart
        of_bins = [(j, result.metric("boundary_similarity", overlap)) for j, overlap in enumerate(OVERLAP_BINS)]
        found = [(j + shift, m) for j, m in of_bins if m is not None]
        at, values = [j for j, _ in found], [m.value for _, m in found]
        # A bin of one original has no interval, and so no bar.
        ends = [(m.value - m.interval[0], m.interval[1] - m.value) if m.interval else NO_BAR for _, m in found]
        reach = list(zip(*ends, strict=True)) if any(m.interval for _, m in found) else None
        axes.errorbar(at, values, yerr=reach, label=name(result.encoder.label), capsize=capsize, **look)
    axes.set_xticks(
        range(len(OVERLAP_BINS)), [overlap.removeprefix("overlap ").replace(">=", "≥") for overlap in OVERLAP_BINS]
    )
    shown = [m for r in results for m in r.by_group("boundary_similarity") if m.group in OVERLAP_BINS]
    x, y = "word overlap (Jaccard) of original and edit", "boundary similarity, lower is better"
    return labelled(figure, drawing, x, y, min(0, *(least(m) for m in shown)))


FIGURES = (Figure("overlap", boundary_by_overlap, "{metric} by word overlap of original and edit{interval}"),)
