"""Draws the results of a task: the figures that every task of items has, and its own."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from utils.data.catalogue import group_title
from utils.figures.style import (
    COLUMN,
    HEAT,
    SCREEN,
    TEXT,
    Style,
    color_bar,
    encoder_styles,
    fitted,
    in_widths,
    ink,
    legend,
    name,
    on,
    panels,
)
from utils.results.likeness import shown_settings
from utils.results.result_file import kept_stem
from utils.schema import Metric, Result
from utils.tasks import TASKS, Drawing, Figure

# With more groups a heatmap has them as rows, so that it grows in height and not in width.
MOST_COLUMNS = 24


def single_axes() -> tuple[Any, Any]:
    """A figure of one panel, and its axes."""
    figure, [axes] = panels(1, 1)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def title_of(drawing: Drawing, what: str = "") -> str:
    """The task, what is shown of its results, and the data."""
    return f"{TASKS[drawing.results[0].task].title}{what} ({drawing.data})"


def labelled(figure: Any, drawing: Drawing, x: str, y: str, lowest: float = 0) -> Any:
    """The figure with names of its axes, a legend and a title. lowest: the end of its axis, which goes to 1."""
    axes = figure.axes[0]
    axes.set_ylim(lowest, 1)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    handles, labels = axes.get_legend_handles_labels()
    legend(figure, handles, labels, "outside right upper", drawing.style)
    return fitted(figure, title_of(drawing), 5, 3, drawing.style, 2)


def line_looks(drawing: Drawing) -> list[dict]:
    """How the line of each result is drawn."""
    labels = [result.encoder.label for result in drawing.results]
    styles = encoder_styles(drawing.labels or labels, drawing.style)
    return [styles[label] for label in labels]


@in_widths(TEXT)
def heatmap(drawing: Drawing) -> Any:
    """The headline metric by encoder (rows) and type or category (columns), the average last, as in the paper's tables.

    With more groups than MOST_COLUMNS, or than a paper has room for, groups are the rows.
    """
    first, width = drawing.results[0], drawing.style.width
    about = TASKS[first.task]
    left_out = {*about.summaries} - {"average"}
    groups = [m.group for m in first.by_group(about.headline) if m.group not in left_out]
    if len(groups) <= MOST_COLUMNS:
        figure = _heatmap(drawing, groups, False)
        if width is None or figure.get_figwidth() == width:
            return figure
    return _heatmap(drawing, groups, True)


def _heatmap(drawing: Drawing, groups: list[str], turned: bool) -> Any:
    results, style, metric = drawing.results, drawing.style, TASKS[drawing.results[0].task].headline
    values = np.array([[r.value(metric, group) for group in groups] for r in results])  # (encoders, groups)
    columns = [name(group_title(group), style) for group in groups]
    rows = [name(r.encoder.label, style) for r in results]
    figure, axes = single_axes()
    if turned:
        values, columns, rows = values.T, rows, columns
        axes.axhline(len(groups) - 1.5, color=axes.get_facecolor(), linewidth=3)
    else:
        axes.axvline(len(groups) - 1.5, color=axes.get_facecolor(), linewidth=3)
    better = TASKS[results[0].task].better
    image = axes.imshow(values, cmap=HEAT[better], vmin=min(0.0, float(values.min())), vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        look = {"color": on(image.to_rgba(value)), "fontsize": style.small, "in_layout": False}
        axes.text(column, row, f"{value:z.2f}", ha="center", va="center", **look)
    lines = max(column.count("\n") for column in columns) + 1
    slant = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(columns)), columns, **(slant if lines == 1 else {"rotation": 90}))
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if style.width is None:
        width, height = 0.62 * len(columns), 0.3 * len(rows)
    else:
        width = max(0.28, 0.12 * lines + 0.04) * len(columns)
        height = max(0.2, 0.12 * max(row.count("\n") + 1 for row in rows) + 0.04) * len(rows)
    room = max(width, (style.width or 0) - 1.3)  # a paper's figure without its labels
    color_bar(figure, image, axes, room, height, f"{metric.replace('_', ' ')}, {better} (darker) is better", style)
    title = title_of(drawing, f": {metric.replace('_', ' ')}, {better} is better")
    return fitted(figure, title, width, height, style)


@in_widths(COLUMN, TEXT)
def averages(drawing: Drawing, metric: str = "") -> Any:
    """Each encoder's average with its 95 % interval, the lowest or highest first as is better; chance is a dashed line.

    metric: the headline metric if not given.
    """
    style, metric = drawing.style, metric or TASKS[drawing.results[0].task].headline
    found = [(r.encoder.label, r.mean(metric)) for r in drawing.results]
    looks = dict(zip((label for label, _ in found), line_looks(drawing), strict=True))
    found.sort(key=lambda pair: pair[1].loss)
    figure, axes = single_axes()
    above = {"textcoords": "offset points", "ha": "center", "fontsize": style.small}
    ground = {"facecolor": axes.get_facecolor(), "linewidth": 0, "pad": 0.5}
    for row, (label, m) in enumerate(found):
        reach = None if m.interval is None else [[m.value - m.interval[0]], [m.interval[1] - m.value]]
        look = {**looks[label], "linestyle": "", "elinewidth": 1.5, "capsize": 5 if style.width is None else 3}
        axes.errorbar(m.value, row, xerr=reach, **look)
        at = (0, 7 if style.width is None else 5)
        axes.annotate(f"{m.value:z.3f}", (m.value, row), xytext=at, bbox=ground, **above)
    chance = found[0][1].chance
    if chance is not None:
        axes.axvline(chance, color=ink(), linestyle="--", linewidth=1, zorder=0)
        look = {"xytext": (3, 0), "textcoords": "offset points", "va": "center", "fontsize": style.small}
        axes.annotate("chance", (chance, len(found) - 0.55), **look)
    names = [name(label, style) for label, _ in found]
    axes.set_yticks(range(len(found)), names)
    axes.set_ylim(len(found) - 0.4, -0.7)
    axes.set_xlim(min(0, *(least(m) for _, m in found)), 1)
    better = f"{found[0][1].better} is better"
    if style.width is None:
        interval = "" if found[0][1].low is None else ", with 95 % interval"
        axes.set_xlabel(f"{metric.replace('_', ' ')}, average over groups{interval}; {better}")
        return fitted(figure, title_of(drawing), 5, 0.36 * len(found) + 0.4)
    axes.set_xlabel(f"average {metric.replace('_', ' ')}, {better}")
    height = max(0.3, 0.12 * max(one.count("\n") + 1 for one in names))
    return fitted(figure, "", 1.6, height * len(found) + 0.3, style)


def least(m: Metric) -> float:
    """The lower end of a number's interval, or the number."""
    return m.value if m.low is None else m.low


# The figures that every task has that compares encoders item by item.
BY_GROUP = (
    Figure("heatmap", heatmap, "{metric} by encoder and {rows}, darker is better; the average is last"),
    Figure("average", averages, "{metric}: the average of each encoder{interval}, {first} first"),
)


def named_figures(results: Sequence[Result]) -> Iterator[tuple[str, Figure, Sequence[Result]]]:
    """The figures of a task's results: the name of each one's files, the figure, and the results that it shows."""
    task = TASKS[results[0].task]
    for figure in (*(BY_GROUP if task.by_items else ()), *task.figures()):
        if figure.for_each:
            for result in results:
                yield f"{task.name}_{figure.name}_{kept_stem(result.encoder.name)}", figure, [result]
        else:
            yield f"{task.name}_{figure.name}", figure, results


def figures_of(
    results: Sequence[Result],
    maps: Sequence = (),
    style: Style = SCREEN,
    labels: Sequence[str] = (),
    only: str | None = None,
) -> dict:
    """The figures of one task by name, made inside `drawing`.

    results: of one task, comparable, with their items. maps: those of the task's prompts, if it has any.
    labels: of the encoders of all tasks, so that each has its colour and mark in every figure.
    only: the name of the figure to draw, if not all.
    """
    first = results[0]
    data = f"{first.dataset_items} items, data: {first.dataset_name}, {shown_settings(results)}"
    drawn = {
        stem: figure.draw(Drawing(shown, data, style, maps, labels))
        for stem, figure, shown in named_figures(results)
        if only in (None, figure.name)
    }
    return {stem: figure for stem, figure in drawn.items() if figure is not None}
