"""Figures of results, readable in grey and by the colour-blind; each is made from result files and nothing else."""

import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from utils import config, transfer
from utils.compare import HEADLINES, find_results
from utils.likeness import shown_settings, side_by_side
from utils.metrics import OVERLAP_BINS
from utils.projection import TaxonomyMap, taxonomy_maps
from utils.results import read_with_items, rows_of, write_bytes_whole
from utils.schema import InputError, Metric, Result
from utils.sources import CATEGORIES, FORMATS, load_evaluated, shown_path

# Encoders are told apart without colour by mark and dash, 35 of them; the colours are Okabe and Ito's.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)))
# Categories by colour and mark, the same in every figure: Krzywinski's twelve colours for the colour-blind, in an order
# in which neighbours differ in lightness too.
CATEGORY_COLORS = (
    "#9F0162", "#00C2F9", "#E20134", "#009F81", "#FFC33B", "#8400CD",
    "#FF6E3A", "#008DF9", "#FFB2FD", "#A40122", "#00FCCF", "#FF5AAF",
)  # fmt: skip
CATEGORY_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
MAPS_DRAWN = 6
# For pages of a dark background.
DARK = {
    "text.color": "#E8E6E3",
    "axes.labelcolor": "#E8E6E3",
    "axes.edgecolor": "#A8A6A3",
    "xtick.color": "#E8E6E3",
    "ytick.color": "#E8E6E3",
    "figure.facecolor": "#1B1D22",
    "axes.facecolor": "#1B1D22",
    "savefig.facecolor": "#1B1D22",
}


@contextlib.contextmanager
def drawing(dark: bool = False):
    """What is drawn inside has the project's look, on a light or a dark background."""
    import matplotlib

    matplotlib.use("agg")
    # A name with two dollar signs in it is a name, not a formula.
    look = {"svg.hashsalt": "safe-embed", "svg.fonttype": "none", "font.size": 9, "text.parse_math": False}
    with matplotlib.rc_context({**look, **(DARK if dark else {})}):
        yield


def ink() -> str:
    """The colour of text on the ground that is drawn on."""
    import matplotlib

    return matplotlib.rcParams["text.color"]


def _axes(width: float, height: float):
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(width, height), layout="constrained")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _style(i: int) -> dict:
    return {"color": COLORS[i % 7], "marker": MARKS[i % 7], "linestyle": DASHES[i % 5], "markersize": 5}


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
    groups = [m.group for m in _means(results[0], metric) if m.group not in ("overall", *OVERLAP_BINS)]
    values = np.array([[r.value(metric, group) for group in groups] for r in results])  # (encoders, groups)
    figure, axes = _axes(0.62 * len(groups) + 1.6, 0.36 * len(results) + 2.1)
    image = axes.imshow(values, cmap="cividis", vmin=min(0.0, float(values.min())), vmax=1, aspect="auto")
    middle = (image.norm.vmin + image.norm.vmax) / 2
    for (row, column), value in np.ndenumerate(values):
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if value < middle else "black")
    axes.axvline(len(groups) - 1.5, color=axes.get_facecolor(), linewidth=3)
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
        axes.axvline(chance, color=ink(), linestyle="--", linewidth=1)
        axes.annotate("chance", (chance, len(found) - 0.55), xytext=(3, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(found)), [label for label, _ in found])
    axes.set_ylim(len(found) - 0.4, -0.7)
    axes.set_xlim(min(0, *(_least(m) for _, m in found)), 1)
    interval = "" if found[0][1].low is None else ", with 95 % interval"
    axes.set_xlabel(f"{metric.replace('_', ' ')}, average over groups{interval}; {found[0][1].better} is better")
    axes.set_title(title, loc="left")
    return figure


def _least(m: Metric) -> float:
    return m.value if m.low is None else m.low


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
    axes.plot(k, [rows[one].chance for one in k], color=ink(), linewidth=1, linestyle=(0, (1, 2)), label="chance")
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
        found = [(j, result.metric("boundary_similarity", name)) for j, name in enumerate(OVERLAP_BINS)]
        found = [(j + (i - (len(results) - 1) / 2) * 0.08, m) for j, m in found if m is not None]
        at, values = [j for j, _ in found], [m.value for _, m in found]
        reach = None
        if found and found[0][1].low is not None:
            reach = [[m.value - m.low for _, m in found], [m.high - m.value for _, m in found]]
        axes.errorbar(at, values, yerr=reach, label=result.encoder.label, capsize=3, **_style(i))
    axes.set_xticks(range(len(OVERLAP_BINS)), [name.removeprefix("overlap ") for name in OVERLAP_BINS])
    _named(figure, title, "word overlap (Jaccard) of original and edit", "boundary similarity, lower is better")
    axes.set_ylim(min(0, *(_least(m) for result in results for m in _overlap_means(result))), 1)
    return figure


def _overlap_means(result: Result) -> list[Metric]:
    return [m for m in _means(result, "boundary_similarity") if m.group in OVERLAP_BINS]


def category_styles(order: Sequence[str]) -> dict[str, tuple[str, str]]:
    """(colour, mark) by category; the known twelve have theirs whatever others are in the data."""
    known = list(dict.fromkeys(CATEGORIES.values()))
    others = [category for category in order if category not in known]
    places = {**{name: i for i, name in enumerate(known)}, **{name: i for i, name in enumerate(others)}}
    return {
        name: (CATEGORY_COLORS[i % 12], CATEGORY_MARKS[(i + i // 12) % 12])
        for name, i in places.items()
        if name in order
    }


def tsne_maps(maps: Sequence[TaxonomyMap], order: Sequence[str], title: str):
    """The taxonomy by t-SNE, a panel for each encoder, a colour and a mark for each category.

    order: the categories as they are listed.
    """
    from matplotlib import pyplot

    across = min(2, len(maps))
    down = -(-len(maps) // across)
    figure, panels = pyplot.subplots(
        down, across, figsize=(4.2 * across + 2.2, 4 * down + 0.3), layout="constrained", squeeze=False
    )
    styles = category_styles(order)
    for panel, drawn in zip(panels.flat, maps, strict=False):
        categories = np.array(drawn.categories, dtype=object)
        for name, (color, mark) in styles.items():
            x, y = drawn.points[categories == name].T
            panel.scatter(x, y, s=16, color=color, marker=mark, edgecolor=ink(), linewidth=0.25, label=name)
        panel.set_title(f"{drawn.label} (trustworthiness {drawn.trustworthiness:.2f})", fontsize=9)
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
        panel.spines[["top", "right", "left", "bottom"]].set_visible(False)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8, markerscale=1.4)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def figures_of(results: Sequence[Result], items: Sequence[Sequence[dict]], maps: Sequence[TaxonomyMap] = ()) -> dict:
    """The figures of one task by name, made inside `drawing`.

    results: of one task, comparable. items: those of each result, as read_items gives them. maps: of the taxonomy.
    """
    first = results[0]
    task, metric = first.task, HEADLINES[first.task]
    title = task.replace("_", " ").title().replace(" ", "-")
    n = f"{first.dataset_items} items, data: {first.dataset_name}, {shown_settings(results)}"
    figures = {
        f"{task}_heatmap": heatmap(results, metric, f"{title}: {metric.replace('_', ' ')} ({n})"),
        f"{task}_average": averages(results, metric, f"{title} ({n})"),
    }
    if task == "safety_taxonomy":
        figures[f"{task}_purity_against_k"] = purity_against_k(results, f"{title} ({n})")
        if maps:
            order = [m.group for m in _means(first, metric) if m.group not in ("average", "overall")]
            part = f"; the first {MAPS_DRAWN} of {len(maps)} encoders" if len(maps) > MAPS_DRAWN else ""
            figures[f"{task}_tsne"] = tsne_maps(maps[:MAPS_DRAWN], order, f"{title}: t-SNE ({n}{part})")
    if task == "safety_challenging":
        similarities = [[float(row[metric]) for row in rows] for rows in items]
        figures[f"{task}_accuracy_curve"] = accuracy_curve(results, similarities, f"{title} ({n})")
    if task == "safety_contrast":
        figures[f"{task}_overlap"] = boundary_by_overlap(results, f"{title} ({n})")
    return figures


def rendered(figure, form: str) -> bytes:
    """A figure as `png` (200 dots an inch) or `svg`: the same figure, the same bytes."""
    content = io.BytesIO()
    figure.savefig(content, format=form, dpi=200, metadata={"Date": None} if form == "svg" else None)
    return content.getvalue()


def save(figure, path: Path) -> list[Path]:
    """Writes a figure as PNG and SVG, each whole or not at all; returns both paths."""
    written = []
    for form in ("png", "svg"):
        written.append(path.with_suffix(f".{form}"))
        write_bytes_whole(written[-1], rendered(figure, form))
    return written


def draw_all(
    out: Path, dataset: str | None, encoders: Sequence[str], note: Callable[[str], None] = lambda sentence: None
) -> list[Path]:
    """Draws what the results under `out` allow, in `<out>/<dataset>/figures`. Raises InputError if there are none.

    note: called with a sentence for each map that can't be drawn, and for each result that is left out.
    """
    from matplotlib import pyplot

    written: list[Path] = []
    without: list[tuple[str, InputError]] = []
    for task in HEADLINES:
        try:
            files = find_results([out], dataset, task, encoders)
            if not files:
                continue
            results, again = side_by_side([read_with_items(path, [HEADLINES[task]]) for path in files], files)
        except InputError as error:
            without.append((task, error))
            continue
        items = [rows_of(result) for result in results]
        if again:
            note(again)
        maps: list[TaxonomyMap] = []
        if task == "safety_taxonomy":
            try:
                maps = taxonomy_maps(results, items, load_evaluated(FORMATS[task], results[0], dataset), note)
            except InputError as error:
                note(f"without maps: {error}")
        folder = out / results[0].dataset_name / "figures"
        with drawing():
            for stem, figure in figures_of(results, items, maps).items():
                written += save(figure, folder / stem)
                pyplot.close(figure)
    try:
        files = find_results([out], dataset, transfer.TASK, encoders)
    except InputError as error:
        files = []
        without.append((transfer.TASK, error))
    if files:
        from utils.detection_figures import detection_figures

        results, notes = transfer.alike(files)
        for sentence in notes:
            note(sentence)
    if files and results:
        with drawing():
            for stem, figure in detection_figures(results).items():
                # An encoder's name may hold a dot, which is not a suffix.
                written += save(figure, out / results[0].dataset_name / "figures" / f"{stem}.png")
                pyplot.close(figure)
    if not written and without:
        raise without[0][1]
    for task, error in without:
        note(f"without {task}: {error}")
    if not written:
        raise InputError(f"{shown_path(out)}: no results to draw; run a task first, such as scripts/safety_taxonomy.sh")
    return written


def main(argv: Sequence[str] | None = None) -> int:
    """Draws the results there are, as PNG and SVG."""
    from utils.cli import Parser, run

    flags = Parser(prog="python -m utils.figures", description=main.__doc__, allow_abbrev=False)
    flags.add_argument("encoders", nargs="*", metavar="ENCODER", help="which, in this order (default: all)")
    flags.add_argument("--data", metavar="NAME", help="results on which data, a name or a file (default the paper)")
    flags.add_argument("--out", metavar="FOLDER", help="folder of the result files (variable OUT)")

    def work() -> None:
        arguments = flags.parse_args(argv)
        out = config.results_directory(arguments.out)
        written = draw_all(out, arguments.data, arguments.encoders, lambda sentence: print(sentence, file=sys.stderr))
        for path in written:
            print(f"wrote {shown_path(path)}")

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
