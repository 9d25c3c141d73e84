"""The figures of Safety-Taxonomy's purity by the number of neighbours, and of its map."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from Safety_Taxonomy.map import TaxonomyMap
from utils.data.catalogue import CATEGORIES
from utils.figures.style import COLUMN, TEXT, fitted, in_widths, ink, legend, name, panels
from utils.figures.tasks import labelled, line_looks, single_axes
from utils.schema import SUMMARIES
from utils.tasks import Drawing, Figure

# The colours and marks of categories, the same in every figure: Krzywinski's twelve colours for the colour-blind,
# ordered so that neighbours differ in lightness too.
CATEGORY_COLORS = (
    "#9F0162", "#00C2F9", "#E20134", "#009F81", "#FFC33B", "#8400CD",
    "#FF6E3A", "#008DF9", "#FFB2FD", "#A40122", "#00FCCF", "#FF5AAF",
)  # fmt: skip
CATEGORY_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
MAPS_DRAWN = 6
LEGEND_ROWS = 31


@in_widths(COLUMN, TEXT)
def purity_against_k(drawing: Drawing) -> Any:
    """Average Categorical Purity for each k, with its 95 % interval, and chance."""
    figure, axes = single_axes()
    for result, look in zip(drawing.results, line_looks(drawing), strict=True):
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
    return labelled(figure, drawing, "k nearest neighbours", "average Categorical Purity, higher is better")


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
def tsne_maps(drawing: Drawing) -> Any:
    """The taxonomy by t-SNE, a panel for each of the first encoders, a colour and a mark for each category."""
    if not drawing.maps:
        return None
    maps, style = drawing.maps[:MAPS_DRAWN], drawing.style
    order = [m.group for m in drawing.results[0].by_group("categorical_purity") if m.group not in SUMMARIES]
    figure, axes = panels(len(maps), 2 if len(maps) == 4 else 3)
    styles = category_styles(order)
    for panel, one in zip(axes, maps, strict=True):
        categories = np.array(one.categories, dtype=object)
        for category, (color, mark) in styles.items():
            x, y = one.points[categories == category].T
            look = {"color": color, "marker": mark, "edgecolor": ink(), "label": name(category)}
            panel.scatter(
                x, y, **look, **({"s": 16, "linewidth": 0.25} if style.width is None else {"s": 6, "linewidth": 0.15})
            )
        panel.set_title(f"{name(one.label)}\ntrustworthiness {one.trustworthiness:.2f}")
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    on_screen = {"fontsize": 8, "ncols": -(-len(labels) // LEGEND_ROWS)} if style.width is None else {}
    legend(figure, handles, labels, "outside right center", style, markerscale=1.4, **on_screen)
    part = f"; {drawn_of(drawing.maps)}" if drawn_of(drawing.maps) else ""
    title = f"Safety-Taxonomy: t-SNE ({drawing.data}{part})"
    return fitted(figure, title, 4, 4, style, 1.9)


def drawn_of(maps: Sequence[TaxonomyMap]) -> str:
    """Which of the maps are drawn, empty if all are."""
    return f"the first {MAPS_DRAWN} of {len(maps)} encoders" if len(maps) > MAPS_DRAWN else ""


def _how_to_read_maps(drawing: Drawing) -> list[str]:
    first = drawing.results[0]
    data = [f"{first.dataset_items} items", f"data: {first.dataset_name}", drawn_of(drawing.maps)]
    return ["Large distances have no meaning.", f"{', '.join(filter(None, data))}."]


FIGURES = (
    Figure(
        "purity_against_k",
        purity_against_k,
        "average Categorical Purity against the number of neighbours{interval}, and chance",
        has_settings=False,
    ),
    Figure(
        "tsne",
        tsne_maps,
        "a t-SNE map of the prompts' standardised vectors for each encoder, a colour and a mark for each {rows}; "
        "trustworthiness is how far neighbours on a map are neighbours in the encoder's space, 1 is best",
        how_to_read=_how_to_read_maps,
    ),
)
