"""Figures of results, readable in grey and by the colour-blind; each is made from result files and nothing else."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils import config
from utils.compare import HEADLINES, find_results
from utils.results import read_items, read_result, write_bytes_whole
from utils.schema import InputError, Result
from utils.sources import shown_path

# Told apart without colour by mark and dash; the colours are Okabe and Ito's.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
OVERLAPS = ("overlap < 0.2", "overlap 0.2-0.5", "overlap >= 0.5")


def _axes(width: float, height: float):
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams.update({"svg.hashsalt": "safe-embed", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(width, height), layout="constrained")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _style(i: int) -> dict:
    return {"color": COLORS[i % 7], "marker": MARKS[i % 7], "linestyle": DASHES[i % 7], "markersize": 5}


def _named(figure, title: str, x: str, y: str):
    axes = figure.axes[0]
    axes.set_ylim(0, 1)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(frameon=False)
    axes.set_title(title, loc="left")
    return figure


def _means(result: Result, metric: str) -> list:
    return [m for m in result.metrics if m.metric == metric]


def heatmap(results: Sequence[Result], metric: str, title: str):
    """A metric by encoder (rows) and type or category (columns), the mean over those last, as in the paper's tables."""
    groups = [m.group for m in _means(results[0], metric) if m.group not in ("overall", *OVERLAPS)]
    values = np.array([[r.value(metric, group) for group in groups] for r in results])  # (encoders, groups)
    figure, axes = _axes(0.62 * len(groups) + 1.6, 0.36 * len(results) + 2.1)
    image = axes.imshow(values, cmap="cividis", vmin=min(0.0, float(values.min())), vmax=1, aspect="auto")
    middle = (image.norm.vmin + image.norm.vmax) / 2
    for (row, column), value in np.ndenumerate(values):
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if value < middle else "black")
    axes.axvline(len(groups) - 1.5, color="white", linewidth=3)
    names = [group.replace("_", " ") for group in groups]
    axes.set_xticks(range(len(groups)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(results)), [r.encoder.label for r in results])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_title(title, loc="left")
    return figure


def averages(results: Sequence[Result], metric: str, title: str):
    """Each encoder's average with its 95 % interval, best first; chance is a dashed line."""
    found = [(r.encoder.label, r.metric(metric, "average")) for r in results]
    found.sort(key=lambda pair: pair[1].value, reverse=found[0][1].better == "higher")
    figure, axes = _axes(6, 0.36 * len(found) + 1.2)
    for row, (_, m) in enumerate(found):
        reach = None if m.low is None else [[m.value - m.low], [m.high - m.value]]
        axes.errorbar(m.value, row, xerr=reach, fmt="o", color=COLORS[0], markersize=4, elinewidth=1.5, capsize=5)
        axes.annotate(f"{m.value:.3f}", (m.value, row), xytext=(0, 7), textcoords="offset points", ha="center")
    chance = found[0][1].chance
    if chance is not None:
        axes.axvline(chance, color="black", linestyle="--", linewidth=1)
        axes.annotate("chance", (chance, len(found) - 0.55), xytext=(3, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(found)), [label for label, _ in found])
    axes.set_ylim(len(found) - 0.4, -0.7)
    axes.set_xlim(0, 1)
    axes.set_xlabel(
        f"{metric.replace('_', ' ')}, average over groups, with 95 % interval; {found[0][1].better} is better"
    )
    axes.set_title(title, loc="left")
    return figure


def purity_against_k(results: Sequence[Result], title: str):
    """Average Categorical Purity for each k, with its 95 % interval, and chance."""
    figure, axes = _axes(6, 3.6)
    for i, result in enumerate(results):
        rows = {int(m.metric.split("@")[1]): m for m in result.metrics if "@" in m.metric and m.group == "average"}
        k = sorted(rows)
        axes.plot(k, [rows[one].value for one in k], label=result.encoder.label, **_style(i))
        if rows[k[0]].low is not None:
            axes.fill_between(
                k,
                [rows[one].low for one in k],
                [rows[one].high for one in k],
                color=COLORS[i % 7],
                alpha=0.2,
                linewidth=0,
            )
    axes.plot(k, [rows[one].chance for one in k], color="black", linewidth=1, linestyle=(0, (1, 2)), label="chance")
    axes.set_xscale("log")
    axes.set_xticks(k, [str(one) for one in k])
    axes.minorticks_off()
    return _named(figure, title, "k nearest neighbours", "average Categorical Purity")


def accuracy_curve(results: Sequence[Result], items: Sequence[Sequence[float]], title: str):
    """Pairwise accuracy at every threshold from 0 to 1: the share of pairs whose normalized similarity is below it.

    items: each result's normalized similarities.
    """
    thresholds = np.linspace(0, 1, 201)
    figure, axes = _axes(6, 3.6)
    for i, (result, values) in enumerate(zip(results, items, strict=True)):
        shares = (np.asarray(values)[None, :] < thresholds[:, None]).mean(axis=1)
        axes.plot(thresholds, shares, label=result.encoder.label, markevery=20, **_style(i))
    axes.set_xlim(0, 1)
    return _named(figure, title, "threshold on normalized similarity", "pairwise accuracy")


def boundary_by_overlap(results: Sequence[Result], title: str):
    """Boundary similarity of edits by their word overlap with the original, with 95 % intervals."""
    figure, axes = _axes(6, 3.6)
    for i, result in enumerate(results):
        found = [(j, result.metric("boundary_similarity", name)) for j, name in enumerate(OVERLAPS)]
        found = [(j + (i - (len(results) - 1) / 2) * 0.08, m) for j, m in found if m is not None]
        at, values = [j for j, _ in found], [m.value for _, m in found]
        reach = None
        if found and found[0][1].low is not None:
            reach = [[m.value - m.low for _, m in found], [m.high - m.value for _, m in found]]
        axes.errorbar(at, values, yerr=reach, label=result.encoder.label, capsize=3, **_style(i))
    axes.set_xticks(range(len(OVERLAPS)), [name.removeprefix("overlap ") for name in OVERLAPS])
    return _named(figure, title, "word overlap (Jaccard) of original and edit", "boundary similarity, lower is better")


def save(figure, path: Path) -> list[Path]:
    """Writes a figure as PNG (200 dots an inch) and SVG, each whole or not at all; returns both paths."""
    from matplotlib import pyplot

    written = []
    for form, more in (("png", {"dpi": 200}), ("svg", {})):
        content = io.BytesIO()
        figure.savefig(content, format=form, metadata={"Date": None} if form == "svg" else None, **more)
        written.append(path.with_suffix(f".{form}"))
        write_bytes_whole(written[-1], content.getvalue())
    pyplot.close(figure)
    return written


def draw_all(out: Path, dataset: str | None, encoders: Sequence[str]) -> list[Path]:
    """Draws what the results under `out` allow, in `<out>/<dataset>/figures`. Raises InputError if there are none."""
    written: list[Path] = []
    for task, metric in HEADLINES.items():
        files = find_results(out, dataset, task, encoders)
        if not files:
            continue
        results = [read_result(path) for path in files]
        name = results[0].dataset_name
        folder = out / name / "figures"
        n = f"{results[0].dataset_items} items, data: {name}"
        title = task.replace("_", " ").title().replace(" ", "-")
        figures = {
            f"{task}_heatmap": heatmap(results, metric, f"{title}: {metric.replace('_', ' ')} ({n})"),
            f"{task}_average": averages(results, metric, f"{title} ({n})"),
        }
        if task == "safety_taxonomy":
            figures["safety_taxonomy_purity_against_k"] = purity_against_k(results, f"{title} ({n})")
        if task == "safety_challenging":
            items = [[float(row[metric]) for row in read_items(path)] for path in files]
            figures["safety_challenging_accuracy_curve"] = accuracy_curve(results, items, f"{title} ({n})")
        if task == "safety_contrast":
            figures["safety_contrast_overlap"] = boundary_by_overlap(results, f"{title} ({n})")
        for stem, figure in figures.items():
            written += save(figure, folder / stem)
    if not written:
        raise InputError(f"{shown_path(out)}: no results to draw; run a task first, such as scripts/safety_taxonomy.sh")
    return written


def main(argv: Sequence[str] | None = None) -> int:
    """Draws the results there are, as PNG and SVG."""
    import argparse

    from utils.cli import run

    flags = argparse.ArgumentParser(prog="python -m utils.figures", description=main.__doc__, allow_abbrev=False)
    flags.add_argument("encoders", nargs="*", metavar="ENCODER", help="which, in this order (default: all)")
    flags.add_argument("--data", metavar="NAME", help="results on which data (default the paper's, else the only ones)")
    flags.add_argument("--out", metavar="FOLDER", help="folder of the result files (variable OUT)")
    arguments = flags.parse_args(argv)

    def work() -> None:
        written = draw_all(config.results_directory(arguments.out), arguments.data, arguments.encoders)
        for path in written:
            print(f"wrote {shown_path(path)}")

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
