"""The plane of purity and triplet accuracy, with what knowing nothing and word overlap get."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from utils.figures.style import (
    COLUMN,
    SCREEN,
    TEXT,
    Style,
    encoder_styles,
    fitted,
    in_widths,
    ink,
    legend,
    name,
)
from utils.figures.tasks import single_axes
from utils.results.likeness import shown_settings
from utils.schema import EncoderInfo, Metric, Result
from utils.tasks import TASKS, Drawing, Role

NAME = "purity_and_triplet_accuracy"
# What the controls show, by their names.
CONTROLS = {"random": "knows nothing", "tfidf": "word overlap"}
IDEAL = (1.0, 1.0)
LEGEND_LETTERS, LEGEND_ROWS = 36, 31


@dataclass(frozen=True)
class Point:
    """An encoder's averages: of the metric that tells whether it knows topics, and of the one that tells safety."""

    encoder: EncoderInfo
    topics: Metric
    safety: Metric

    @property
    def at(self) -> tuple[float, float]:
        return self.topics.value, self.safety.value

    @property
    def reach(self) -> tuple[float, float, float, float]:
        """Where its intervals end, or itself without any: left, lower, right, upper."""
        (left, right), (lower, upper) = (m.interval or (m.value, m.value) for m in (self.topics, self.safety))
        return left, lower, right, upper


def points_of(results: Sequence[Result]) -> list[Point]:
    """The points of the encoders that have both averages, in the order of their results of the task of topics.

    results: of any tasks, those of one task comparable. Two belong together if they are of one dataset and of the same
    vectors; names may differ, as they are made unique among the results of each task.
    """
    topics, safety = _of_both(results)
    points = []
    for result, knows_topics in topics:
        encoder = result.encoder
        same = [(r, role) for r, role in safety if r.encoder.fingerprint == encoder.fingerprint]
        for twin, tells_safety in sorted(same, key=lambda one: one[0].encoder.name != encoder.name)[:1]:
            across = result.metric(knows_topics.metric, "average")
            up = twin.metric(tells_safety.metric, "average")
            if across is not None and up is not None:
                points.append(Point(encoder, across, up))
    return points


def _of_both(results: Sequence[Result]) -> tuple[list[tuple[Result, Role]], list[tuple[Result, Role]]]:
    """Those of the task that tells who knows topics, and those of the one that tells safety on the same dataset.

    Each is with the metric that tells it.
    """
    topics = [(r, role) for r in results if (role := TASKS[r.task].knows_topics)]
    datasets = {r.dataset_name for r, _ in topics}
    return topics, [(r, role) for r in results if (role := TASKS[r.task].tells_safety) and r.dataset_name in datasets]


def plane_of(results: Sequence[Result], style: Style = SCREEN, labels: Sequence[str] = ()) -> dict:
    """The plane by its name, made inside `drawing`; empty if no encoder has both averages.

    results: as for points_of. labels: as in a Drawing.
    """
    if not points_of(results):
        return {}
    return {NAME: plane(Drawing(results, data_of(results), style, labels=labels))}


def titles(results: Sequence[Result]) -> str:
    """The titles of the two tasks. results: as for data_of."""
    ((topics, _), *_), ((safety, _), *_) = _of_both(results)
    return f"{TASKS[topics.task].title} and {TASKS[safety.task].title}"


def data_of(results: Sequence[Result]) -> str:
    """What the plane's numbers are computed from. results: as for points_of, at least one of each task."""
    ((topics, across), *_), ((safety, up), *_) = _of_both(results)
    sizes = f"{topics.dataset_items} {across.items} and {safety.dataset_items} {up.items}"
    return f"{sizes}, data: {topics.dataset_name}, {shown_settings([topics])}"


def description_of(results: Sequence[Result]) -> str:
    """What the plane shows, in sentences, the last without its point. results: those that plane_of drew."""
    points = points_of(results)
    interval = ", with 95 % intervals" if any(point.reach != 2 * point.at for point in points) else ""
    shown = [(point.encoder.label, CONTROLS.get(point.encoder.name)) for point in points]
    controls = ", ".join(f"{label} ({shows})" for label, shows in shown if shows)
    ((_, across), *_), ((_, up), *_) = _of_both(results)
    return (
        f"Average {across.words} and average {up.words} of each encoder{interval}. Higher is better, the "
        f"star is the ideal, dotted lines are chance{f'. Controls: {controls}' if controls else ''}"
    )


@in_widths(COLUMN, TEXT)
def plane(drawing: Drawing) -> Any:
    """Each encoder by how far it knows topics and tells safety, with 95 % intervals, chance, and the ideal corner."""
    points, style = points_of(drawing.results), drawing.style
    figure, axes = single_axes()
    screen = style.width is None
    looks = encoder_styles(drawing.labels or [point.encoder.label for point in points], style)
    bare = {"linestyle": "", "clip_on": False}
    marks = []
    for point in points:
        x, y = point.at
        left, lower, right, upper = point.reach
        look = {**looks[point.encoder.label], **bare, "elinewidth": 1.3 if screen else 0.9}
        bars = {"xerr": [[x - left], [right - x]]} if left < right else {}
        bars |= {"yerr": [[y - lower], [upper - y]]} if lower < upper else {}
        marks.append(axes.errorbar(x, y, **bars, **look).lines[0])
    marks += axes.plot(*IDEAL, color=ink(), marker="*", markersize=11 if screen else 8, **bare)
    thin = {"color": ink(), "linewidth": 0.8 if screen else 0.6, "linestyle": (0, (1, 3)), "zorder": 0}
    chance = axes.axvline(points[0].topics.chance, **thin)
    axes.axhline(points[0].safety.chance, **thin)
    reaches = np.array([point.reach for point in points])
    low, high = np.minimum(0, reaches[:, :2].min(axis=0)), np.maximum(1, reaches[:, 2:].max(axis=0))
    ticks = np.linspace(0, 1, 6)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=ticks, yticks=ticks)
    ((topics, across), *_), ((safety, up), *_) = _of_both(drawing.results)
    axes.set_xlabel(f"{across.words} ({TASKS[topics.task].title}), higher is better")
    axes.set_ylabel(f"{up.words} ({TASKS[safety.task].title}), higher is better")
    lines = replace(style, letters=min(style.letters, LEGEND_LETTERS))
    shown = [(name(point.encoder.label, lines), CONTROLS.get(point.encoder.name)) for point in points]
    names = [*("\n".join(filter(None, parts)) for parts in shown), "ideal", "chance"]
    columns = {"ncols": -(-sum(text.count("\n") + 1 for text in names) // LEGEND_ROWS)} if screen else {}
    legend(figure, [*marks, chance], names, "outside right upper", style, **columns)
    return fitted(figure, f"{titles(drawing.results)} ({drawing.data})", 4, 4, style, 1.9)
