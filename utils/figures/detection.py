"""Draws the results of detection: heatmaps of training set by tested set, and ROC curves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.figures.style import COLORS, DASHES, color_bar, fitted, ink, name, panels
from utils.metrics import detection as dm
from utils.results.result_file import result_path
from utils.schema import Result
from utils.tasks import DETECTION
from utils.transfer import results as transfer


def detection_figures(results: Sequence[Result]) -> dict:
    """The figures of the task by name, made inside `drawing`. results: comparable, with their items."""
    figures = {f"{DETECTION.name}_heatmap": transfer_heatmap(results)}
    for result in results:
        encoder = result_path(Path(), "", DETECTION.name, result.encoder.name).stem
        figures[f"{DETECTION.name}_roc_{encoder}"] = roc_curves(result)
    return figures


def _title(result: Result, what: str) -> str:
    return f"Safety-Detection: {what} ({result.dataset_items} prompts, data: {result.dataset_name})"


def transfer_heatmap(results: Sequence[Result]):
    """AUROC by set trained on (rows) and set tested on (columns), a panel for each encoder.

    Colours range from chance, one half or less, to 1.
    """
    sets, trains = transfer.sets_of(results[0]), transfer.trains_of(results[0])
    across = 2 if len(results) % 2 == 0 and len(sets) <= 8 else 1
    figure, axes = panels(len(results), across)
    width, height = 0.62 * len(sets), 0.4 * len(trains)
    for panel, result in zip(axes, results, strict=True):
        values = np.array([[m.value for m in row] for row in transfer.matrix(result)])
        image = panel.imshow(values, cmap="cividis", vmin=0.5, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            within = row < len(sets) and row == column
            panel.text(
                column,
                row,
                f"{value:z.2f}",
                ha="center",
                va="center",
                weight="bold" if within else "normal",
                color="white" if value < 0.75 else "black",
                in_layout=False,
            )
        panel.set_xticks(range(len(sets)), map(name, sets), rotation=30, ha="right", rotation_mode="anchor")
        panel.set_yticks(range(len(trains)), map(name, trains))
        panel.tick_params(length=0)
        panel.set_xlabel("tested on")
        panel.set_ylabel("trained on")
        panel.set_title(name(result.encoder.label))
        panel.spines[:].set_visible(False)
    color_bar(figure, image, axes, height * len(results) / across)
    kind = transfer.headline_kind(results[0]).replace("_", " ")
    return fitted(figure, _title(results[0], f"AUROC of {kind}, higher is better"), width, height)


def roc_curves(result: Result):
    """ROC curves of the headline detector: a panel for each tested set, a line for each set trained on.

    result: with its items.
    """
    kind, sets = transfer.headline_kind(result), transfer.sets_of(result)
    figure, axes = panels(len(sets), 3)
    for panel, test in zip(axes, sets, strict=True):
        mine = np.array([one == test for one in result.items["set"]])
        labels = np.array(result.items["label"])[mine]
        for i, train in enumerate(transfer.trains_of(result)):
            of = dm.curve(labels, np.array(result.items[f"{kind}/{train}"])[mine])
            panel.plot(
                of.false_positive_rates,
                of.true_positive_rates,
                color=COLORS[i % len(COLORS)],
                linestyle=DASHES[i % len(DASHES)],
                linewidth=2 if train == test else 1.3,
                label=name(train),
            )
        panel.plot([0, 1], [0, 1], color=ink(), linewidth=0.8, linestyle=(0, (1, 2)), label="chance")
        panel.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        panel.set(xlabel="false positive rate", ylabel="true positive rate")
        panel.set_title(f"tested on {name(test)}")
        panel.spines[["top", "right"]].set_visible(False)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", frameon=False, title="trained on")
    return fitted(figure, _title(result, f"{kind.replace('_', ' ')} on {result.encoder.label}"), 3, 3)
