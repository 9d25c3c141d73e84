"""Draws the results of the three tasks that compare encoders item by item."""

from collections.abc import Sequence

import numpy as np

from utils.data.catalogue import CATEGORIES
from utils.figures.projection import TaxonomyMap
from utils.figures.style import COLORS, DASHES, MARKS, color_bar, fitted, ink, name, panels
from utils.metrics.embedding import OVERLAP_BINS
from utils.results.likeness import shown_settings
from utils.schema import SUMMARIES, Metric, Result
from utils.tasks import CHALLENGING, CONTRAST, TASKS, TAXONOMY

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


def _style(i: int) -> dict:
    return {"color": COLORS[i % 7], "marker": MARKS[i % 7], "linestyle": DASHES[i % 5], "markersize": 5}


def _axes():
    figure, [axes] = panels(1, 1)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _labelled(figure, title: str, x: str, y: str, lowest: float = 0):
    axes = figure.axes[0]
    axes.set_ylim(lowest, 1)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    figure.legend(loc="outside right upper", frameon=False)
    return fitted(figure, title, 5, 3)


def _means(result: Result, metric: str) -> list:
    return [m for m in result.metrics if m.metric == metric]


def heatmap(results: Sequence[Result], metric: str, title: str):
    """A metric by encoder (rows) and type or category (columns), the average last, as in the paper's tables.

    With more groups than MOST_COLUMNS, groups are the rows.
    """
    groups = [m.group for m in _means(results[0], metric) if m.group not in ("overall", *OVERLAP_BINS)]
    values = np.array([[r.value(metric, group) for group in groups] for r in results])  # (encoders, groups)
    columns, rows = [name(group.replace("_", " ")) for group in groups], [name(r.encoder.label) for r in results]
    figure, axes = _axes()
    if len(groups) > MOST_COLUMNS:
        values, columns, rows = values.T, rows, columns
        axes.axhline(len(groups) - 1.5, color=axes.get_facecolor(), linewidth=3)
    else:
        axes.axvline(len(groups) - 1.5, color=axes.get_facecolor(), linewidth=3)
    image = axes.imshow(values, cmap="cividis", vmin=min(0.0, float(values.min())), vmax=1, aspect="auto")
    middle = (image.norm.vmin + image.norm.vmax) / 2
    for (row, column), value in np.ndenumerate(values):
        color = "white" if value < middle else "black"
        axes.text(column, row, f"{value:z.2f}", ha="center", va="center", color=color, in_layout=False)
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    width, height = 0.62 * len(columns), 0.3 * len(rows)
    color_bar(figure, image, axes, height)
    return fitted(figure, title, width, height)


def averages(results: Sequence[Result], metric: str, title: str):
    """Each encoder's average with its 95 % interval, best first; chance is a dashed line."""
    found = [(name(r.encoder.label), r.metric(metric, "average")) for r in results]
    found.sort(key=lambda pair: pair[1].value, reverse=found[0][1].better == "higher")
    figure, axes = _axes()
    for row, (_, m) in enumerate(found):
        reach = None if m.low is None else [[m.value - m.low], [m.high - m.value]]
        axes.errorbar(m.value, row, xerr=reach, fmt="o", color=COLORS[0], markersize=4, elinewidth=1.5, capsize=5)
        axes.annotate(f"{m.value:z.3f}", (m.value, row), xytext=(0, 7), textcoords="offset points", ha="center")
    chance = found[0][1].chance
    if chance is not None:
        axes.axvline(chance, color=ink(), linestyle="--", linewidth=1)
        axes.annotate("chance", (chance, len(found) - 0.55), xytext=(3, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(found)), [label for label, _ in found])
    axes.set_ylim(len(found) - 0.4, -0.7)
    axes.set_xlim(min(0, *(_least(m) for _, m in found)), 1)
    interval = "" if found[0][1].low is None else ", with 95 % interval"
    axes.set_xlabel(f"{metric.replace('_', ' ')}, average over groups{interval}; {found[0][1].better} is better")
    return fitted(figure, title, 5, 0.36 * len(found) + 0.4)


def _least(m: Metric) -> float:
    return m.value if m.low is None else m.low


def purity_against_k(results: Sequence[Result], title: str):
    """Average Categorical Purity for each k, with its 95 % interval, and chance."""
    figure, axes = _axes()
    for i, result in enumerate(results):
        rows = {m.k: m for m in result.metrics if m.k is not None and m.group == "average"}
        k = sorted(rows)
        axes.plot(k, [rows[one].value for one in k], label=name(result.encoder.label), **_style(i))
        if rows[k[0]].low is not None:
            axes.fill_between(
                k,
                [rows[one].low for one in k],
                [rows[one].high for one in k],
                color=COLORS[i % 7],
                alpha=0.2,
                linewidth=0,
            )
    axes.plot(k, [rows[one].chance for one in k], color=ink(), linewidth=1, linestyle=(0, (1, 2)), label="chance")
    axes.set_xscale("log")
    axes.set_xticks(k, [str(one) for one in k])
    axes.minorticks_off()
    return _labelled(figure, title, "k nearest neighbours", "average Categorical Purity")


def accuracy_curve(results: Sequence[Result], items: Sequence[Sequence[float]], title: str):
    """Pairwise accuracy at every threshold from 0 to 1: the share of pairs whose normalized similarity is below it.

    items: each result's normalized similarities.
    """
    thresholds = np.linspace(0, 1, 201)
    figure, axes = _axes()
    for i, (result, values) in enumerate(zip(results, items, strict=True)):
        shares = (np.asarray(values)[None, :] < thresholds[:, None]).mean(axis=1)
        axes.plot(thresholds, shares, label=name(result.encoder.label), markevery=20, **_style(i))
    axes.set_xlim(0, 1)
    return _labelled(figure, title, "threshold on normalized similarity", "pairwise accuracy")


def boundary_by_overlap(results: Sequence[Result], title: str):
    """Boundary similarity of edits by their word overlap with the original, with 95 % intervals."""
    figure, axes = _axes()
    apart = min(0.08, 0.8 / len(results))
    for i, result in enumerate(results):
        found = [(j, result.metric("boundary_similarity", overlap)) for j, overlap in enumerate(OVERLAP_BINS)]
        found = [(j + (i - (len(results) - 1) / 2) * apart, m) for j, m in found if m is not None]
        at, values = [j for j, _ in found], [m.value for _, m in found]
        reach = None
        if found and found[0][1].low is not None:
            reach = [[m.value - m.low for _, m in found], [m.high - m.value for _, m in found]]
        axes.errorbar(at, values, yerr=reach, label=name(result.encoder.label), capsize=3, **_style(i))
    axes.set_xticks(range(len(OVERLAP_BINS)), [overlap.removeprefix("overlap ") for overlap in OVERLAP_BINS])
    shown = [m for r in results for m in _means(r, "boundary_similarity") if m.group in OVERLAP_BINS]
    x, y = "word overlap (Jaccard) of original and edit", "boundary similarity, lower is better"
    return _labelled(figure, title, x, y, min(0, *(_least(m) for m in shown)))


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


def tsne_maps(maps: Sequence[TaxonomyMap], order: Sequence[str], title: str):
    """The taxonomy by t-SNE, a panel for each encoder, a colour and a mark for each category.

    order: the categories as they are listed.
    """
    figure, axes = panels(len(maps), 2 if len(maps) == 4 else 3)
    styles = category_styles(order)
    for panel, drawn in zip(axes, maps, strict=True):
        categories = np.array(drawn.categories, dtype=object)
        for category, (color, mark) in styles.items():
            x, y = drawn.points[categories == category].T
            panel.scatter(x, y, s=16, color=color, marker=mark, edgecolor=ink(), linewidth=0.25, label=name(category))
        panel.set_title(f"{name(drawn.label)} (trustworthiness {drawn.trustworthiness:.2f})")
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside right center",
        frameon=False,
        fontsize=8,
        markerscale=1.4,
        ncols=-(-len(labels) // LEGEND_ROWS),
    )
    return fitted(figure, title, 4, 4)


def figures_of(results: Sequence[Result], items: Sequence[Sequence[dict]], maps: Sequence[TaxonomyMap] = ()) -> dict:
    """The figures of one task by name, made inside `drawing`.

    results: of one task, comparable. items: those of each result, as rows_of gives them. maps: of the taxonomy.
    """
    first = results[0]
    about = TASKS[first.task]
    task, title, metric = about.name, about.title, about.headline
    better = first.metric(metric, "average").better
    n = f"{first.dataset_items} items, data: {first.dataset_name}, {shown_settings(results)}"
    figures = {
        f"{task}_heatmap": heatmap(results, metric, f"{title}: {about.metric}, {better} is better ({n})"),
        f"{task}_average": averages(results, metric, f"{title} ({n})"),
    }
    if about is TAXONOMY:
        figures[f"{task}_purity_against_k"] = purity_against_k(results, f"{title} ({n})")
        if maps:
            order = [m.group for m in _means(first, metric) if m.group not in SUMMARIES]
            part = f"; the first {MAPS_DRAWN} of {len(maps)} encoders" if len(maps) > MAPS_DRAWN else ""
            figures[f"{task}_tsne"] = tsne_maps(maps[:MAPS_DRAWN], order, f"{title}: t-SNE ({n}{part})")
    if about is CHALLENGING:
        similarities = [[float(row[metric]) for row in rows] for rows in items]
        figures[f"{task}_accuracy_curve"] = accuracy_curve(results, similarities, f"{title} ({n})")
    if about is CONTRAST:
        figures[f"{task}_overlap"] = boundary_by_overlap(results, f"{title} ({n})")
    return figures
