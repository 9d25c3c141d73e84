"""Figures of detection: the train x test heatmap and ROC curves, made from results and nothing else."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils import detection_metrics as dm
from utils import transfer
from utils.figures import COLORS, DASHES, ink
from utils.results import result_path
from utils.schema import Result


def detection_figures(results: Sequence[Result]) -> dict:
    """The figures of the task by name, made inside `drawing`. results: alike, with their items."""
    figures = {f"{transfer.TASK}_heatmap": transfer_heatmap(results)}
    for result in results:
        encoder = result_path(Path(), "", transfer.TASK, result.encoder.name).stem
        figures[f"{transfer.TASK}_roc_{encoder}"] = roc_curves(result)
    return figures


def _title(result: Result, what: str) -> str:
    return f"Safety-Detection: {what} ({result.dataset_items} prompts, data: {result.dataset_name})"


def transfer_heatmap(results: Sequence[Result]):
    """Area under the ROC curve by what was trained on (rows) and tested on (columns), a panel for each encoder.

    Lightness goes from chance, one half or less, to 1.
    """
    from matplotlib import pyplot

    sets, trains = transfer.sets_of(results[0]), transfer.trains_of(results[0])
    across = min(2, len(results))
    down = -(-len(results) // across)
    figure, panels = pyplot.subplots(
        down,
        across,
        figsize=((0.95 * len(sets) + 1.9) * across, (0.55 * len(trains) + 1.5) * down + 0.3),
        layout="constrained",
        squeeze=False,
    )
    for panel, result in zip(panels.flat, results, strict=False):
        values = np.array([[m.value for m in row] for row in transfer.matrix(result)])
        panel.imshow(values, cmap="cividis", vmin=0.5, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            within = row < len(sets) and row == column
            panel.text(
                column,
                row,
                f"{value:.2f}",
                ha="center",
                va="center",
                weight="bold" if within else "normal",
                color="white" if value < 0.75 else "black",
            )
        panel.set_xticks(range(len(sets)), sets, rotation=30, ha="right", rotation_mode="anchor")
        panel.set_yticks(range(len(trains)), trains)
        panel.tick_params(length=0)
        panel.set_xlabel("tested on")
        panel.set_ylabel("trained on")
        panel.set_title(result.encoder.label, fontsize=9)
        panel.spines[:].set_visible(False)
    for panel in panels.flat[len(results) :]:
        panel.set_visible(False)
    kind = transfer.headline_kind(results[0]).replace("_", " ")
    figure.suptitle(_title(results[0], f"AUROC of {kind}"), fontsize=10, x=0.01, ha="left")
    return figure


def roc_curves(result: Result):
    """ROC curves of the headline detector: a panel for each tested set, a line for each set trained on.

    result: with its items.
    """
    from matplotlib import pyplot

    kind, sets = transfer.headline_kind(result), transfer.sets_of(result)
    across = min(3, len(sets))
    down = -(-len(sets) // across)
    figure, panels = pyplot.subplots(
        down, across, figsize=(3.2 * across, 3.4 * down + 1.2), layout="constrained", squeeze=False
    )
    for panel, test in zip(panels.flat, sets, strict=False):
        mine = np.array([name == test for name in result.items["set"]])
        labels = np.array(result.items["label"])[mine]
        for i, train in enumerate(transfer.trains_of(result)):
            of = dm.curve(labels, np.array(result.items[f"{kind}/{train}"])[mine])
            panel.plot(
                of.false_positive_rates,
                of.true_positive_rates,
                color=COLORS[i % len(COLORS)],
                linestyle=DASHES[i % len(DASHES)],
                linewidth=2 if train == test else 1.3,
                label=train,
            )
        panel.plot([0, 1], [0, 1], color=ink(), linewidth=0.8, linestyle=(0, (1, 2)), label="chance")
        panel.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="false positive rate")
        panel.set_title(f"tested on {test}", fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[:, 0]:
        panel.set_ylabel("true positive rate")
    for panel in panels.flat[len(sets) :]:
        panel.set_visible(False)
    handles, names = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, title="trained on")
    title = _title(result, f"{kind.replace('_', ' ')} on {result.encoder.label}")
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure
