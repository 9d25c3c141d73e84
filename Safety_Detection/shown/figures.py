"""Draws the results of detection: heatmaps of areas under the ROC curve, and ROC curves."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from Safety_Detection.sets import naming
from Safety_Detection.shown import reading
from Safety_Detection.shown.differences import MOST_SETS
from utils.figures.style import (
    COLORS,
    COLUMN,
    DASHES,
    HEAT,
    TEXT,
    Style,
    color_bar,
    fitted,
    in_widths,
    ink,
    legend,
    name,
    on,
    panels,
)
from utils.metrics import detection as dm
from utils.schema import Metric, Result
from utils.tasks import Drawing, Figure

# Grey on a light and on a dark background: the cell of a pair of sets that was not evaluated.
NO_VALUE = (0.6, 0.6, 0.6, 0.35)
# Inches of a panel on a screen: a title in lines of 24 letters does not reach over the colour bar beside it.
NARROWEST = 1.9


def _title(result: Result, what: str) -> str:
    return f"Safety-Detection: {what} ({result.dataset_items} prompts, data: {result.dataset_name})"


@in_widths(COLUMN, TEXT)
def transfer_heatmap(drawing: Drawing) -> Any:
    """AUROC by set trained on (rows) and set tested on (columns), a panel for each encoder.

    A pair that was not evaluated is an empty grey cell. None without sets of two classes.
    """
    results, style = drawing.results, drawing.style
    if not reading.sets_of(results[0]):
        return None
    sets, trains = reading.sets_of(results[0]), reading.trains_of(results[0])
    found = [np.array([[_value(m) for m in row] for row in reading.matrix(result)]) for result in results]
    kind = reading.plain_name(reading.headline_kind(results[0]))
    title, cell = _title(results[0], f"AUROC of {kind}, higher is better"), (0.62, 0.4)
    if style.width is not None:
        cell = (0.28, 0.2)
    return _heatmap(
        results, found, [None] * len(found), ("trained on", trains), ("tested on", sets), title, cell, style
    )


@in_widths(COLUMN, TEXT)
def one_class_heatmap(drawing: Drawing) -> Any:
    """AUROC of unsafe-only sets (rows) against safe-only sets (columns), a panel for each encoder.

    In smaller type in the same cell: the true positive rate at 1 % false positives, in percent. None without such sets.
    """
    results, style = drawing.results, drawing.style
    if not reading.crossings_of(results[0]):
        return None
    unsafe, safe = (list(dict.fromkeys(names)) for names in zip(*reading.crossings_of(results[0]), strict=True))
    kind = reading.headline_kind(results[0])

    def of(result: Result, metric: str) -> np.ndarray:
        where = {"detector": kind, "train": naming.OTHERS}
        return np.array([[_value(result.metric(metric, test=a, against=b, **where)) for b in safe] for a in unsafe])

    found, small = ([of(result, metric) for result in results] for metric in ("auroc", "tpr_at_1_fpr"))
    what = f"AUROC and, smaller, TPR at 1 % FPR of {reading.plain_name(kind)} trained on neither set, higher is better"
    cell = (0.75, 0.5) if style.width is None else (0.36, 0.3)
    rows, columns = ("unsafe-only set", unsafe), ("safe-only set", safe)
    return _heatmap(results, found, small, rows, columns, _title(results[0], what), cell, style)


def _value(metric: Metric | None) -> float:
    return np.nan if metric is None else metric.value


def _heatmap(
    results: Sequence[Result],
    found: Sequence[np.ndarray],
    small: Sequence[np.ndarray | None],
    rows: tuple[str, list[str]],
    columns: tuple[str, list[str]],
    title: str,
    cell: tuple[float, float],
    style: Style,
    across: int | None = None,
) -> Any:
    """A panel for each result: AUROC (rows, columns), from chance, one half or less, to 1; nothing for NaN.

    A row and a column of the same name are bold. small: a share for each cell, below the AUROC. cell: its inches.
    across: panels in a row; in a paper as many as fit, at most three.
    """
    from matplotlib import colormaps

    if across is None and style.width is not None:
        for across in range(min(3, len(results)), 0, -1):
            figure = _heatmap(results, found, small, rows, columns, title, cell, style, across)
            if figure.get_figwidth() == style.width:
                break
        return figure
    across = across or (2 if len(results) % 2 == 0 and len(columns[1]) <= 8 else 1)
    figure, axes = panels(len(results), across)
    colors = colormaps[HEAT["higher"]].with_extremes(bad=NO_VALUE)
    for panel, result, values, shares in zip(axes, results, found, small, strict=True):
        image = panel.imshow(values, cmap=colors, vmin=0.5, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            if np.isnan(value):
                continue
            look = {"ha": "center", "va": "center", "in_layout": False, "color": on(image.to_rgba(value))}
            weight = "bold" if rows[1][row] == columns[1][column] else "normal"
            up = 0 if shares is None else 0.13
            panel.text(column, row - up, f"{value:z.2f}", weight=weight, fontsize=style.small, **look)
            if shares is not None:
                share = f"{100 * shares[row, column]:z.0f} %"
                panel.text(column, row + 0.25, share, fontsize=style.smallest, **look)
        panel.set_xticks(range(len(columns[1])), map(name, columns[1]), rotation=30, ha="right", rotation_mode="anchor")
        panel.set_yticks(range(len(rows[1])), [name(row, style) for row in rows[1]])
        panel.tick_params(length=0)
        panel.set_xlabel(columns[0])
        panel.set_ylabel(rows[0])
        panel.set_title(name(result.encoder.label))
        panel.spines[:].set_visible(False)
    width, height = cell[0] * len(columns[1]), cell[1] * len(rows[1])
    if style.width is None:
        width = max(width, NARROWEST)
    whole = max(width, ((style.width or 0) - 1.3) / across) * across, height * -(-len(results) // across)
    color_bar(figure, image, axes, *whole, "AUROC, higher (darker) is better", style)
    return fitted(figure, title, width, height, style)


@in_widths(COLUMN, TEXT)
def roc_curves(drawing: Drawing) -> Any:
    """ROC curves of the headline detector of one result: a panel for each tested set of two classes, None without.

    A line for each training side; of more than MOST_SETS sets only the set itself and all others.
    """
    [result], style = drawing.results, drawing.style
    if not reading.sets_of(result):
        return None
    kind, sets = reading.headline_kind(result), reading.sets_of(result)
    across = 2 if len(sets) == 4 else 3
    if style.width is not None:
        across = 3 if len(sets) in (3, 5, 6, 9) else 4 if len(sets) <= 12 else 5
    figure, axes = panels(len(sets), across)
    for panel, test in zip(axes, sets, strict=True):
        mine = np.array([one == test for one in result.items["set"]])
        labels = np.array(result.items["label"])[mine]
        lines = {train: train for train in reading.trains_of(result)}
        if len(sets) > MOST_SETS:
            lines = {test: "the tested set", naming.OTHERS: naming.OTHERS}
        for i, (train, title) in enumerate(lines.items()):
            if result.metric("auroc", detector=kind, train=train, test=test) is None:
                continue
            of = dm.curve(labels, np.array(result.items[f"{kind}/{train}"])[mine])
            panel.plot(
                of.false_positive_rates,
                of.true_positive_rates,
                color=COLORS[i],
                linestyle=DASHES[i],
                linewidth=(2 if train == test else 1.3) * (1 if style.width is None else 0.7),
                label=name(title),
            )
        panel.plot([0, 1], [0, 1], color=ink(), linewidth=0.8, linestyle=(0, (1, 2)), label="chance")
        panel.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        place = panel.get_subplotspec()
        # A paper's panels are small and have the same axes: only the outer ones name them.
        if style.width is None or place.is_last_row():
            panel.set_xlabel("false positive rate")
        if style.width is None or place.is_first_col():
            panel.set_ylabel("true positive rate")
        if style.width is not None:
            panel.set(xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        panel.set_title(f"tested on {name(test)}" if style.width is None else name(test, style))
        panel.spines[["top", "right"]].set_visible(False)
    entries = dict(pair[::-1] for panel in axes for pair in zip(*panel.get_legend_handles_labels(), strict=True))
    entries["chance"] = entries.pop("chance")
    legend(figure, list(entries.values()), list(entries), "outside right center", style, title="trained on")
    what = f"ROC of {reading.plain_name(kind)} on {result.encoder.label}, nearer to the upper left corner is better"
    return fitted(figure, _title(result, what), 3, 3, style, 0.9)


def _how_to_read(drawing: Drawing, better: str = "Higher is better, 0.5 is chance.") -> list[str]:
    first = drawing.results[0]
    return [
        f"The detector is {reading.plain_name(reading.headline_kind(first))}.",
        better,
        f"{first.dataset_items} prompts, data: {first.dataset_name}, seed {first.settings['seed']}.",
    ]


FIGURES = (
    Figure(
        "heatmap",
        transfer_heatmap,
        "area under the ROC curve by set trained on and set tested on, darker is better; bold within a set by grouped "
        "five-fold; grey is a pair that was not evaluated, because both are of one family",
        how_to_read=_how_to_read,
    ),
    Figure(
        "one_class",
        one_class_heatmap,
        "area under the ROC curve of unsafe-only sets against safe-only sets, neither family trained on, darker is "
        "better, and in smaller type the true positive rate at 1 % false positives; grey is a pair that was not "
        "evaluated, mostly because both are of one family",
        how_to_read=_how_to_read,
    ),
    Figure(
        "roc",
        roc_curves,
        "ROC curves of {encoder}, a panel for each tested set, a line for each training side; of more than three sets, "
        "only the tested set itself and others",
        for_each=True,
        how_to_read=partial(_how_to_read, better="Nearer to the upper left corner is better, the diagonal is chance."),
    ),
)
