"""Draws and saves the figures of all results in a folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

from utils.compare.paired import comparing
from utils.data.loading import load_evaluated
from utils.figures.captions import caption, latex_figure
from utils.figures.plane import plane_of
from utils.figures.style import PAGE, SCREEN, Style, drawing, rendered, save
from utils.figures.tasks import figures_of
from utils.files import shown_path, write_whole
from utils.results.find import find_results
from utils.results.result_file import kept_stem
from utils.schema import Dataset, InputError, Result, is_control
from utils.tasks import FIRST_SCRIPT, TASKS, Task


def draw_all(
    out: Path,
    dataset: str | None,
    encoders: Sequence[str],
    note: Callable[[str], None] = lambda sentence: None,
    titles: bool = True,
    style: Style = SCREEN,
) -> list[Path]:
    """Draws all figures of the results in `out`, into `<out>/<dataset>/figures`. Raises InputError if there are none.

    Those for a paper are in its folder `paper`, with `captions.tex`. Of a task that one of `encoders` has no result of,
    the figures are of the others; one that has none of any task raises InputError.
    note: called with a sentence for each map that can't be drawn, for each result that is missing or left out, and for
    each figure of a paper that is larger than its page.
    """
    read, without = _read(out, dataset, encoders, note)
    by_items = [result for name, (results, _) in read.items() if TASKS[name].by_items for result in results]
    labels = list(dict.fromkeys(result.encoder.label for result in by_items))
    written = []
    captions: dict[Path, str] = {}  # of a paper, by the figure's path without suffix

    def keep(results: Sequence[Result], figures: dict, maps: Sequence = ()) -> None:
        for stem, figure in figures.items():
            folder = out / results[0].dataset_name / "figures" / ("" if style is SCREEN else style.name)
            # The suffix is needed because an encoder's name may contain a dot.
            written.extend(save(figure, folder / f"{stem}.png", titles, style))
            if style.width is not None:
                width, height = figure.get_size_inches()
                captions[folder / stem] = latex_figure(stem, caption(stem, results, maps), width)
                if width > style.width:
                    note(f"{stem}: {width:.1f} in wide, more than a paper's {style.width}: name fewer encoders")
                if height > PAGE:
                    note(f"{stem}: {height:.1f} in high, more than a page's {PAGE}: name fewer encoders")

    for results, maps in read.values():
        with drawing(style=style):
            keep(results, figures_of(results, maps, style, labels), maps)
    with drawing(style=style):
        keep(by_items, plane_of(by_items, style, labels))
    if not written and without:
        raise without[0][1]
    for name, mistake in without:
        note(f"without {name}: {mistake}")
    if not written:
        raise InputError(f"{shown_path(out)}: no results to draw; run a task first, such as {FIRST_SCRIPT}")
    for folder in dict.fromkeys(path.parent for path in captions):
        written.append(folder / "captions.tex")
        write_whole(written[-1], "\n".join(text for path, text in captions.items() if path.parent == folder))
    return written


def _read(
    out: Path, dataset: str | None, encoders: Sequence[str], note: Callable[[str], None]
) -> tuple[dict[str, tuple[list[Result], Sequence]], list[tuple[str, InputError]]]:
    """By task its results and the maps of its prompts, and why each task without results has none.

    Raises InputError for an encoder that has no result of any task.
    """
    read: dict[str, tuple[list[Result], Sequence]] = {}
    without: list[tuple[str, InputError]] = []
    found = {task.name: _files(out, dataset, task, encoders) for task in TASKS.values()}
    lacking = [missing for files, missing in found.values() if files or missing]
    for name in encoders:
        if lacking and all(name in missing for missing in lacking):
            raise lacking[0][name]
    for task in TASKS.values():
        files, missing = found[task.name]
        try:
            if missing and not files:
                raise next(iter(missing.values()))
            results, notes = comparing(task).alike(files) if files else ([], [])
        except InputError as error:
            without.append((task.name, error))
            continue
        others = [f"{task.title} is drawn of the other encoders: {error}" for error in missing.values()]
        for sentence in (*others, *notes):
            note(sentence)
        if results:
            read[task.name] = results, _maps(task, results, dataset, note)
    return read, without


def _files(
    out: Path, dataset: str | None, task: Task, encoders: Sequence[str]
) -> tuple[list[Path], dict[str, InputError]]:
    """The result files of a task, of all encoders if none is named, and why each one that has none has none."""
    files: list[Path] = []
    missing: dict[str, InputError] = {}
    for wanted in [[name] for name in encoders] or [[]]:
        try:
            files += find_results([out], dataset, task.name, wanted)
        except InputError as error:
            missing["".join(wanted)] = error
    return list(dict.fromkeys(files)), missing


def draw_run(
    task: Task,
    results: Sequence[Result],
    dataset: Dataset,
    out: Path,
    note: Callable[[str], None] = lambda sentence: None,
) -> list[Path]:
    """Draws the figure of a task's run as PNG into `<out>/<dataset>/figures`, unless it is newer than all results.

    A figure of maps has one file for each encoder, controls aside. Any other has all results in the folder that can be
    compared with each other. Returns the paths. note: called with the reason for each missing map.
    """
    if task.maps is not None:
        shown = [[result] for result in results if not is_control(result.encoder)]
    else:
        files = find_results([out], dataset.name, task.name, [])
        try:
            shown = [comparing(task).alike(files)[0]]
        except InputError:  # those of earlier runs, which can't be compared
            shown = [list(results)]
    written = []
    for drawn in shown:
        stem = f"{task.name}_{task.run_figure}"
        if task.maps is not None:
            stem += f"_{kept_stem(drawn[0].encoder.name)}"
        path = out / dataset.name / "figures" / f"{stem}.png"
        if not is_newer(path, out / dataset.name / task.name):
            maps = () if task.maps is None else task.maps(drawn, dataset, note)
            with drawing():
                figure = figures_of(drawn, maps, only=task.run_figure).get(f"{task.name}_{task.run_figure}")
                if figure is None:
                    continue
                write_whole(path, rendered(figure, "png"))
        written.append(path)
    return written


def is_newer(path: Path, results: Path) -> bool:
    """Whether a figure is there and newer than all result files of a folder."""
    newest = max(result.stat().st_mtime_ns for result in results.glob("*.json"))
    return path.is_file() and path.stat().st_mtime_ns >= newest


def _maps(task: Task, results: list[Result], dataset: str | None, note: Callable[[str], None]) -> Sequence:
    """The maps of the evaluated prompts, if the task has any and the prompts are there."""
    if task.maps is None:
        return ()
    try:
        return task.maps(results, load_evaluated(results[0], dataset), note)
    except InputError as error:
        note(f"without maps: {error}")
        return ()
