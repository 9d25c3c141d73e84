"""Draws the results of detection: heatmaps of areas under the ROC curve, and ROC curves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.figures.style import COLORS, DASHES, color_bar, fitted, ink, name, panels
from utils.metrics import detection as dm
from utils.results.result_file import result_path
from utils.schema import Result
from utils.tasks import DETECTION
from utils.transfer import results as transfer
from utils.transfer.differences import MOST_SETS

# Grey on a light and on a dark background: the cell of a pair of sets that was not evaluated.
NO_VALUE = (0.6, 0.6, 0.6, 0.35)
SMALLER = 7


def detection_figures(results: Sequence[Result]) -> dict:
    """The figures of the task by name, made inside `drawing`. results: comparable, with their items."""
    figures = {f"{DETECTION.name}_{stem}": figure for stem, figure in heatmaps(results).items()}
    for result in results:
        if transfer.sets_of(result):
            encoder = result_path(Path(), "", DETECTION.name, result.encoder.name).stem
            figures[f"{DETECTION.name}_roc_{encoder}"] = roc_curves(result)
    return figures


def heatmaps(results: Sequence[Result]) -> dict:
    """`heatmap` of sets of two classes and `one_class` of unsafe-only sets against safe-only ones, if there are any."""
    figures = {}
    if transfer.sets_of(results[0]):
        figures["heatmap"] = transfer_heatmap(results)
    if transfer.crossings_of(results[0]):
        figures["one_class"] = one_class_heatmap(results)
    return figures


def _title(result: Result, what: str) -> str:
    return f"Safety-Detection: {what} ({result.dataset_items} prompts, data: {result.dataset_name})"


def transfer_heatmap(results: Sequence[Result]):
    """AUROC by set trained on (rows) and set tested on (columns), a panel for each encoder.

    A pair that was not evaluated is an empty grey cell.
    """
    sets, trains = transfer.sets_of(results[0]), transfer.trains_of(results[0])
    found = [np.array([[_value(m) for m in row] for row in transfer.matrix(result)]) for result in results]
    figure = _heatmap(results, found, [None] * len(found), ("trained on", trains), ("tested on", sets))
    kind = transfer.plain_name(transfer.headline_kind(results[0]))
    return fitted(figure, _title(results[0], f"AUROC of {kind}, higher is better"), 0.62 * len(sets), 0.4 * len(trains))


def one_class_heatmap(results: Sequence[Result]):
    """AUROC of unsafe-only sets (rows) against safe-only sets (columns), a panel for each encoder.

    In smaller type in the same cell: the true positive rate at 1 % false positives, in percent.
    """
    unsafe, safe = (list(dict.fromkeys(names)) for names in zip(*transfer.crossings_of(results[0]), strict=True))
    kind = transfer.headline_kind(results[0])

    def of(result: Result, metric: str) -> np.ndarray:
        name_of = transfer.metric_of(metric, kind)
        return np.array([[_value(result.metric(name_of, transfer.crossing_of(a, b))) for b in safe] for a in unsafe])

    found, small = ([of(result, metric) for result in results] for metric in ("auroc", "tpr_at_1_fpr"))
    figure = _heatmap(results, found, small, ("unsafe-only set", unsafe), ("safe-only set", safe))
    what = f"AUROC and, smaller, TPR at 1 % FPR of {transfer.plain_name(kind)} trained on neither set, higher is better"
    return fitted(figure, _title(results[0], what), 0.75 * len(safe), 0.5 * len(unsafe))


def _value(metric) -> float:
    return np.nan if metric is None else metric.value


def _heatmap(
    results: Sequence[Result],
    found: Sequence[np.ndarray],
    small: Sequence[np.ndarray | None],
    rows: tuple[str, list[str]],
    columns: tuple[str, list[str]],
):
    """A panel for each result: AUROC (rows, columns), from chance, one half or less, to 1; nothing for NaN.

    A row and a column of the same name are bold. small: a share for each cell, below the AUROC.
    """
    from matplotlib import colormaps

    across = 2 if len(results) % 2 == 0 and len(columns[1]) <= 8 else 1
    figure, axes = panels(len(results), across)
    colors = colormaps["cividis"].with_extremes(bad=NO_VALUE)
    for panel, result, values, shares in zip(axes, results, found, small, strict=True):
        image = panel.imshow(values, cmap=colors, vmin=0.5, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            if np.isnan(value):
                continue
            look = {"ha": "center", "color": "white" if value < 0.75 else "black", "in_layout": False}
            weight = "bold" if rows[1][row] == columns[1][column] else "normal"
            up = 0 if shares is None else 0.13
            panel.text(column, row - up, f"{value:z.2f}", va="center", weight=weight, **look)
            if shares is not None:
                share = f"{100 * shares[row, column]:z.0f} %"
                panel.text(column, row + 0.25, share, va="center", fontsize=SMALLER, **look)
        panel.set_xticks(range(len(columns[1])), map(name, columns[1]), rotation=30, ha="right", rotation_mode="anchor")
        panel.set_yticks(range(len(rows[1])), map(name, rows[1]))
        panel.tick_params(length=0)
        panel.set_xlabel(columns[0])
        panel.set_ylabel(rows[0])
        panel.set_title(name(result.encoder.label))
        panel.spines[:].set_visible(False)
    color_bar(figure, image, axes, 0.4 * len(rows[1]) * len(results) / across)
    return figure


def roc_curves(result: Result):
    """ROC curves of the headline detector: a panel for each tested set of two classes.

    result: with its items. A line for each training side; of more than MOST_SETS sets only the set itself and all
    others.
    """
    kind, sets = transfer.headline_kind(result), transfer.sets_of(result)
    figure, axes = panels(len(sets), 2 if len(sets) == 4 else 3)
    for panel, test in zip(axes, sets, strict=True):
        mine = np.array([one == test for one in result.items["set"]])
        labels = np.array(result.items["label"])[mine]
        lines = {train: train for train in transfer.trains_of(result)}
        if len(sets) > MOST_SETS:
            lines = {test: "the tested set", transfer.OTHERS: transfer.OTHERS}
        for i, (train, title) in enumerate(lines.items()):
            if result.metric(transfer.metric_of("auroc", kind), transfer.group_of(train, test)) is None:
                continue
            of = dm.curve(labels, np.array(result.items[f"{kind}/{train}"])[mine])
            panel.plot(
                of.false_positive_rates,
                of.true_positive_rates,
                color=COLORS[i],
                linestyle=DASHES[i],
                linewidth=2 if train == test else 1.3,
                label=name(title),
            )
        panel.plot([0, 1], [0, 1], color=ink(), linewidth=0.8, linestyle=(0, (1, 2)), label="chance")
        panel.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        panel.set(xlabel="false positive rate", ylabel="true positive rate")
        panel.set_title(f"tested on {name(test)}")
        panel.spines[["top", "right"]].set_visible(False)
    entries = dict(pair[::-1] for panel in axes for pair in zip(*panel.get_legend_handles_labels(), strict=True))
    entries["chance"] = entries.pop("chance")
    figure.legend(entries.values(), entries, loc="outside right center", frameon=False, title="trained on")
    what = f"ROC of {transfer.plain_name(kind)} on {result.encoder.label}, nearer to the upper left corner is better"
    return fitted(figure, _title(result, what), 3, 3)
