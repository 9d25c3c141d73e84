"""What a paper says under its figures."""

import textwrap
from collections.abc import Sequence

from utils.figures import plane
from utils.figures.style import COLUMN
from utils.figures.tasks import named_figures
from utils.results.likeness import kind_of_baseline, shared_kind
from utils.results.tables import has_intervals
from utils.schema import Result, is_control
from utils.tables import latex_text
from utils.tasks import FIRST, TASKS, Drawing, Figure

KINDS = {"own": "the evaluated set itself", "beavertails": "BeaverTails"}


def caption(stem: str, results: Sequence[Result], maps: Sequence = ()) -> str:
    """The caption of a figure: what it shows, which direction is better, the data, and what intervals are.

    stem: the figure's name. results: those drawn, comparable. maps: of the task's prompts, if it has any.
    """
    if stem == plane.NAME:
        said = [f"{plane.description_of(results)}.", f"{plane.data_of(results)}."]
        drawn = [m for point in plane.points_of(results) for m in (point.topics, point.safety)]
        return " ".join(said + [_bootstrap(results[0])] * any(m.low is not None for m in drawn))
    figure, shown = next((figure, shown) for name, figure, shown in named_figures(results) if name == stem)
    first, text = shown[0], described(figure, shown)
    said = [f"{TASKS[first.task].title}. {text}."]
    if figure.how_to_read is not None:
        return " ".join([*said, *figure.how_to_read(Drawing(shown, "", None, maps))])
    data = [f"{first.dataset_items} items", f"data: {first.dataset_name}"]
    data += _settings(shown) if figure.has_settings else []
    said += [f"{figure.better or f'{TASKS[first.task].better.capitalize()} is better'}.", f"{', '.join(data)}."]
    if "95 % interval" in text:
        said.append(_bootstrap(first))
    return " ".join(said)


def described(figure: Figure, results: Sequence[Result], encoder: str = "") -> str:
    """What a figure shows, without a point. encoder: how the first encoder is called, by its label if not given."""
    task, first = TASKS[results[0].task], results[0]
    text = figure.caption.format(
        metric=task.metric,
        rows=task.rows,
        interval=" with its 95 % interval" if has_intervals(results) else "",
        first=FIRST[task.better],
        encoder=encoder or first.encoder.label,
    )
    return f"{text[0].upper()}{text[1:]}"


def _bootstrap(result: Result) -> str:
    return f"Intervals: bootstrap of {result.settings['bootstrap']:,} resamples {TASKS[result.task].resampled}."


def _settings(results: Sequence[Result]) -> list[str]:
    """k, or what average similarity was measured on."""
    first = results[0]
    if TASKS[first.task].uses_top_k:
        return [f"k = {first.settings['top_k']}"]
    source = shared_kind(results) or kind_of_baseline(first) or ""
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
