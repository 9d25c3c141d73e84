"""Draws the paper's tables as heatmaps, our rows under the paper's."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from utils.encoders.paper import paper_figures
from utils.encoders.registry import known_encoders
from utils.figures.draw import is_newer
from utils.figures.style import SCREEN, drawing, rendered
from utils.figures.tasks import heatmap
from utils.files import write_whole
from utils.reproduce.cells import Reproduction, papers_tables
from utils.results.tables import papers_row
from utils.schema import Metric, Result
from utils.tasks import TASKS, Drawing, Task


def draw_heatmaps(reproductions: Sequence[Reproduction], out: Path, dtype: str = "auto") -> list[Path]:
    """Draws each of the paper's two tables as PNG into `<out>/paper/figures`, unless it is newer than all results.

    The rows are the paper's eleven encoders, and under each one our result, if `reproductions` has one. dtype: of ours.
    Returns the paths.
    """
    paths = []
    for name, _ in papers_tables():
        end = "" if dtype == "auto" else f"_{dtype}"
        paths.append(out / "paper" / "figures" / f"{name}_reproduction{end}.png")
        if not is_newer(paths[-1], out / "paper" / name):
            rows = list(_rows(reproductions, TASKS[name]))
            with drawing():
                figure = heatmap(Drawing(rows, "the paper's figures and ours", SCREEN))
                write_whole(paths[-1], rendered(figure, "png"))
    return paths


def _rows(reproductions: Sequence[Reproduction], task: Task) -> Iterator[Result]:
    """The paper's row of each encoder, as a result, and ours under it."""
    ours = {one.name: result for one in reproductions for result in one.results if result.task == task.name}
    first = next(iter(ours.values()))
    groups = first.by_group(task.headline)
    for name, entry in paper_figures().items():
        figures = papers_row(entry, task)
        row = tuple(Metric(m.metric, m.group, figures[m.group], m.n, m.better) for m in groups if m.group in figures)
        label = known_encoders()[name]["label"]
        yield replace(first, encoder=replace(first.encoder, label=f"{label}, paper"), metrics=row)
        if name in ours:
            result = ours[name]
            yield replace(result, encoder=replace(result.encoder, label=f"{result.encoder.label}, ours"))
