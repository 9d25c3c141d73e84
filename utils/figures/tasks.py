"""Draws the results of the three tasks that compare encoders item by item."""

from collections.abc import Sequence

import numpy as np

from utils.data.catalogue import CATEGORIES, group_title
from utils.figures.projection import TaxonomyMap
from utils.figures.style import (
    COLUMN,
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
    panels,
)
from utils.metrics.embedding import OVERLAP_BINS
from utils.results.likeness import shown_settings
from utils.schema import SUMMARIES, Metric, Result
from utils.tasks import TASKS

# The colours and marks of categories, the same in every figure: Krzywinski's twelve colours for the colour-blind,
# ordered so that neighbours differ in lightness too.
CATEGORY_COLORS = (
    "#9F0162", "#00C2F9", "#E20134", "#009F81", "#FFC33B", "#8400CD",
    "#FF6E3A", "#008DF9", "#FFB2FD", "#A40122", "#00FCCF", "#FF5AAF",
)  # fmt: skip
CATEGORY_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
MAPS_DRAWN = 6
# With more groups a heatmap has them as rows, so that it grows in height and not in width.
MOST_COLUMNS = 24
LEGEND_ROWS = 31


def _axes():
    figure, [axes] = panels(1, 1)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _labelled(figure, title: str, x: str, y: str, style: Style, lowest: float = 0):
    axes = figure.axes[0]
    axes.set_ylim(lowest, 1)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    legend(figure, *axes.get_legend_handles_labels(), "outside right upper", style)
    return fitted(figure, title, 5, 3, style, 2)


def _lines(results: Sequence[Result], labels: Sequence[str], style: Style) -> list[dict]:
    """How the line of each result is drawn. labels: of all encoders that figures show, else those of the results."""
    styles = encoder_styles(labels or [result.encoder.label for result in results], style)
    return [styles[result.encoder.label] for result in results]


def _means(result: Result, metric: str) -> list:
    return [m for m in result.metrics if m.metric == metric]


@in_widths(TEXT)
def heatmap(results: Sequence[Result], metric: str, title: str, style: Style = SCREEN):
    """A metric by encoder (rows) and type or category (columns), the average last, as in the paper's tables.

    With more groups than MOST_COLUMNS, or than a paper has room for, groups are the rows.
    """
    groups = [m.group for m in _means(results[0], metric) if m.group not in ("overall", *OVERLAP_BINS)]
    if len(groups) <= MOST_COLUMNS:
        figure = _heatmap(results, metric, groups, title, style, False)
        if style.width is None or figure.get_figwidth() == style.width:
            return figure
    return _heatmap(results, metric, groups, title, style, True)


def _heatmap(results: Sequence[Result], metric: str, groups: list[str], title: str, style: Style, turned: bool):
    values = np.array([[r.value(metric, group) for group in groups] for r in results])  # (encoders, groups)
    columns = [name(group_title(group), style) for group in groups]
    rows = [name(r.encoder.label, style) for r in results]
    figure, axes = _axes()
    if turned:
        values, columns, rows = values.T, rows, columns
        axes.axhline(len(groups) - 1.5, color=axes.get_facecolor(), linewidth=3)
    else:
        axes.axvline(len(groups) - 1.5, color=axes.get_facecolor(), linewidth=3)
    image = axes.imshow(values, cmap="cividis", vmin=min(0.0, float(values.min())), vmax=1, aspect="auto")
    middle = (image.norm.vmin + image.norm.vmax) / 2
    for (row, column), value in np.ndenumerate(values):
        look = {"color": "white" if value < middle else "black", "fontsize": style.small, "in_layout": False}
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
    better = _means(results[0], metric)[0].better
    room = max(width, (style.width or 0) - 1.3)  # a paper's figure without its labels
    color_bar(figure, image, axes, room, height, f"{metric.replace('_', ' ')}, {better} is better", style)
    return fitted(figure, title, width, height, style)


@in_widths(COLUMN, TEXT)
def averages(results: Sequence[Result], metric: str, title: str, style: Style = SCREEN, labels: Sequence[str] = ()):
    """Each encoder's average with its 95 % interval, the lowest or highest first as is better; chance is a dashed line.

    labels: of all encoders that figures show, so that each has its colour and mark in all of them.
    """
    found = [(r.encoder.label, r.metric(metric, "average")) for r in results]
    looks = dict(zip((label for label, _ in found), _lines(results, labels, style), strict=True))
    found.sort(key=lambda pair: pair[1].value, reverse=found[0][1].better == "higher")
    figure, axes = _axes()
    above = {"textcoords": "offset points", "ha": "center", "fontsize": style.small}
    ground = {"facecolor": axes.get_facecolor(), "linewidth": 0, "pad": 0.5}
    for row, (label, m) in enumerate(found):
        reach = None if m.low is None else [[m.value - m.low], [m.high - m.value]]
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
    axes.set_xlim(min(0, *(_least(m) for _, m in found)), 1)
    better = f"{found[0][1].better} is better"
    if style.width is None:
        interval = "" if found[0][1].low is None else ", with 95 % interval"
        axes.set_xlabel(f"{metric.replace('_', ' ')}, average over groups{interval}; {better}")
        return fitted(figure, title, 5, 0.36 * len(found) + 0.4)
    axes.set_xlabel(f"average {metric.replace('_', ' ')}, {better}")
    row = max(0.3, 0.12 * max(one.count("\n") + 1 for one in names))
    return fitted(figure, title, 1.6, row * len(found) + 0.3, style)


def _least(m: Metric) -> float:
    return m.value if m.low is None else m.low


@in_widths(COLUMN, TEXT)
def purity_against_k(results: Sequence[Result], title: str, style: Style = SCREEN, labels: Sequence[str] = ()):
    """Average Categorical Purity for each k, with its 95 % interval, and chance. labels: as for averages."""
    figure, axes = _axes()
    for result, look in zip(results, _lines(results, labels, style), strict=True):
        rows = {m.k: m for m in result.metrics if m.k is not None and m.group == "average"}
        k = sorted(rows)
        axes.plot(k, [rows[one].value for one in k], label=name(result.encoder.label), **look)
        if rows[k[0]].low is not None:
            axes.fill_between(
                k,
                [rows[one].low for one in k],
                [rows[one].high for one in k],
                color=look["color"],
                alpha=0.2,
                linewidth=0,
            )
    axes.plot(k, [rows[one].chance for one in k], color=ink(), linewidth=1, linestyle=(0, (1, 2)), label="chance")
    axes.set_xscale("log")
    axes.set_xticks(k, [str(one) for one in k])
    axes.minorticks_off()
    return _labelled(figure, title, "k nearest neighbours", "average Categorical Purity, higher is better", style)


@in_widths(COLUMN, TEXT)
def accuracy_curve(
    results: Sequence[Result],
    items: Sequence[Sequence[float]],
    title: str,
    style: Style = SCREEN,
    labels: Sequence[str] = (),
):
    """Pairwise accuracy at every threshold from 0 to 1: the share of pairs whose normalized similarity is below it.

    items: each result's normalized similarities. labels: as for averages.
    """
    thresholds = np.linspace(0, 1, 201)
    figure, axes = _axes()
    for result, values, look in zip(results, items, _lines(results, labels, style), strict=True):
        shares = (np.asarray(values)[None, :] < thresholds[:, None]).mean(axis=1)
        axes.plot(thresholds, shares, label=name(result.encoder.label), markevery=20, clip_on=False, **look)
    axes.set_xlim(0, 1)
    y = "pairwise accuracy, higher is better"
    return _labelled(figure, title, "threshold on normalized similarity", y, style)


@in_widths(COLUMN, TEXT)
def boundary_by_overlap(results: Sequence[Result], title: str, style: Style = SCREEN, labels: Sequence[str] = ()):
    """Boundary similarity of edits by their word overlap with the original, with 95 % intervals.

    labels: as for averages.
    """
    figure, axes = _axes()
    apart = min(0.08, 0.5 / len(results))
    for i, (result, look) in enumerate(zip(results, _lines(results, labels, style), strict=True)):
        found = [(j, result.metric("boundary_similarity", overlap)) for j, overlap in enumerate(OVERLAP_BINS)]
        found = [(j + (i - (len(results) - 1) / 2) * apart, m) for j, m in found if m is not None]
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
    shown = [m for r in results for m in _means(r, "boundary_similarity") if m.group in OVERLAP_BINS]
    x, y = "word overlap (Jaccard) of original and edit", "boundary similarity, lower is better"
    return _labelled(figure, title, x, y, style, min(0, *(_least(m) for m in shown)))


def category_styles(order: Sequence[str]) -> dict[str, tuple[str, str]]:
    """(colour, mark) by category. Those of the twelve known categories do not depend on the data."""
    known = list(dict.fromkeys(CATEGORIES.values()))
    others = [category for category in order if category not in known]
    places = {category: i for names in (known, others) for i, category in enumerate(names)}
    return {
        category: (CATEGORY_COLORS[i % 12], CATEGORY_MARKS[(i + i // 12) % 12])
        for category, i in places.items()
        if category in order
    }


@in_widths(COLUMN, TEXT)
def tsne_maps(maps: Sequence[TaxonomyMap], order: Sequence[str], title: str, style: Style = SCREEN):
    """The taxonomy by t-SNE, a panel for each encoder, a colour and a mark for each category.

    order: the categories as they are listed.
    """
    figure, axes = panels(len(maps), 2 if len(maps) == 4 else 3)
    styles = category_styles(order)
    for panel, drawn in zip(axes, maps, strict=True):
        categories = np.array(drawn.categories, dtype=object)
        for category, (color, mark) in styles.items():
            x, y = drawn.points[categories == category].T
            look = {"color": color, "marker": mark, "edgecolor": ink(), "label": name(category)}
            panel.scatter(
                x, y, **look, **({"s": 16, "linewidth": 0.25} if style.width is None else {"s": 6, "linewidth": 0.15})
            )
        panel.set_title(f"{name(drawn.label)}\ntrustworthiness {drawn.trustworthiness:.2f}")
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    look = {"markerscale": 1.4}
    if style.width is None:
        look |= {"fontsize": 8, "ncols": -(-len(labels) // LEGEND_ROWS)}
    legend(figure, handles, labels, "outside right center", style, **look)
    return fitted(figure, title, 4, 4, style, 1.9)


def drawn_of(maps: Sequence[TaxonomyMap]) -> str:
    """Which of the maps are drawn, empty if all are."""
    return f"the first {MAPS_DRAWN} of {len(maps)} encoders" if len(maps) > MAPS_DRAWN else ""


def figures_of(
    results: Sequence[Result],
    items: Sequence[Sequence[dict]],
    maps: Sequence[TaxonomyMap] = (),
    style: Style = SCREEN,
    labels: Sequence[str] = (),
) -> dict:
    """The figures of one task by name, made inside `drawing`.

    results: of one task, comparable. items: those of each result, as rows_of gives them. maps: of the taxonomy.
    labels: of the encoders of all tasks, so that each has its colour and mark in every figure.
    """
    first = results[0]
    about = TASKS[first.task]
    task, title, metric = about.name, about.title, about.headline
    better = first.metric(metric, "average").better
    n = f"{first.dataset_items} items, data: {first.dataset_name}, {shown_settings(results)}"
    figures = {
        f"{task}_heatmap": heatmap(results, metric, f"{title}: {about.metric}, {better} is better ({n})", style=style),
        f"{task}_average": averages(results, metric, f"{title} ({n})", style=style, labels=labels),
    }
    if about.name == "safety_taxonomy":
        figures[f"{task}_purity_against_k"] = purity_against_k(results, f"{title} ({n})", style=style, labels=labels)
        if maps:
            order = [m.group for m in _means(first, metric) if m.group not in SUMMARIES]
            part = f"; {drawn_of(maps)}" if drawn_of(maps) else ""
            figures[f"{task}_tsne"] = tsne_maps(maps[:MAPS_DRAWN], order, f"{title}: t-SNE ({n}{part})", style=style)
    if about.name == "safety_challenging":
        similarities = [[float(row[metric]) for row in rows] for rows in items]
        figures[f"{task}_accuracy_curve"] = accuracy_curve(
            results, similarities, f"{title} ({n})", style=style, labels=labels
        )
    if about.name == "safety_contrast":
        figures[f"{task}_overlap"] = boundary_by_overlap(results, f"{title} ({n})", style=style, labels=labels)
    return figures
