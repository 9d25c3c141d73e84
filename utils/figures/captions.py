"""What a paper says under its figures."""

import textwrap
from collections.abc import Sequence

from utils.figures import plane
from utils.figures.detection import roc_name
from utils.figures.projection import TaxonomyMap
from utils.figures.style import COLUMN
from utils.figures.tasks import drawn_of
from utils.results.likeness import kind_of_baseline, shared_kind
from utils.schema import Result, is_control
from utils.tables import latex_text
from utils.tasks import FIRST, TASKS
from utils.transfer import results as transfer

KINDS = {"own": "the evaluated set itself", "beavertails": "BeaverTails"}
# Those that do not show the headline metric.
BETTER = {
    "accuracy_curve": "Higher is better",
    "tsne": "Large distances have no meaning",
    "roc": "Nearer to the upper left corner is better, the diagonal is chance",
}


def caption(stem: str, results: Sequence[Result], maps: Sequence[TaxonomyMap] = ()) -> str:
    """The caption of a figure: what it shows, which direction is better, the data, and what intervals are.

    stem: the figure's name. results: those drawn, comparable. maps: of the taxonomy.
    """
    first = results[0]
    if stem == plane.NAME:
        said = [f"{plane.description_of(results)}.", f"{plane.data_of(results)}."]
        drawn = [m for point in plane.points_of(results) for m in (point.purity, point.accuracy)]
        return " ".join(said + [_bootstrap(first)] * any(m.low is not None for m in drawn))
    about = TASKS[first.task]
    kind = stem.removeprefix(f"{about.name}_")
    if about.name == "safety_detection":
        shown = results
        if kind not in about.captions:  # roc_<encoder>
            shown, kind = [r for r in results if stem == roc_name(r)], "roc"
        better = BETTER.get(kind, "Higher is better, 0.5 is chance")
        said = [
            about.captions[kind].format(encoder=shown[0].encoder.label),
            f"The detector is {transfer.plain_name(transfer.headline_kind(first))}. {better}.",
            f"{first.dataset_items} prompts, data: {first.dataset_name}, seed {first.settings['seed']}.",
        ]
    else:
        average = first.metric(about.headline, "average")
        interval = "" if average.low is None else " with its 95 % interval"
        text = about.captions[kind]
        data = [f"{first.dataset_items} items", f"data: {first.dataset_name}", *_settings(results, kind)]
        if kind == "tsne" and drawn_of(maps):
            data.append(drawn_of(maps))
        said = [
            text.format(metric=about.metric, rows=about.rows, interval=interval, first=FIRST[average.better]),
            f"{BETTER.get(kind, f'{average.better.capitalize()} is better')}.",
            f"{', '.join(data)}.",
        ]
        if interval and "{interval}" in text:
            said.append(_bootstrap(first))
    said[0] = f"{about.title}. {said[0][0].upper()}{said[0][1:]}."
    return " ".join(said)


def _bootstrap(result: Result) -> str:
    return f"Intervals: bootstrap of {result.settings['bootstrap']:,} resamples {TASKS[result.task].resampled}."


def _settings(results: Sequence[Result], kind: str) -> list[str]:
    """k, or what average similarity was measured on; none for a figure that depends on neither."""
    first = results[0]
    if kind in ("tsne", "purity_against_k"):
        return []
    if "top_k" in TASKS[first.task].settings:
        return [f"k = {first.settings['top_k']}"]
    source = shared_kind(results) or kind_of_baseline(first)
    controls = [] if source == "own" else [r.encoder.label for r in results if is_control(r.encoder)]
    own = f" ({', '.join(controls)}: {KINDS['own']})" if controls else ""
    return [f"average similarity measured on {KINDS.get(source, source)}{own}"]


def latex_figure(stem: str, text: str, width: float) -> str:
    """A LaTeX figure with its caption, in one column or over both. width: of the figure, in inches."""
    environment = "figure" if width <= COLUMN else "figure*"
    lines = textwrap.fill(latex_text(text), 100, break_long_words=False, break_on_hyphens=False)
    return (
        f"\\begin{{{environment}}}\n\\centering\n\\includegraphics{{{stem}.pdf}}\n"
        f"\\caption{{{lines}}}\n\\label{{fig:{stem}}}\n\\end{{{environment}}}\n"
    )
