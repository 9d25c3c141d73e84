"""Draws and saves the figures of all results in a folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

from utils.data.loading import load_evaluated
from utils.figures.captions import caption, latex_figure
from utils.figures.plane import plane_of
from utils.figures.projection import TaxonomyMap, taxonomy_maps
from utils.figures.style import PAGE, SCREEN, Style, drawing, save
from utils.figures.tasks import figures_of
from utils.files import shown_path, write_whole
from utils.results.find import find_results
from utils.results.likeness import side_by_side
from utils.results.result_file import read_with_items, rows_of
from utils.schema import InputError, Result
from utils.tasks import tasks_by_items
from utils.transfer import results as transfer


def draw_all(
    out: Path,
    dataset: str | None,
    encoders: Sequence[str],
    note: Callable[[str], None] = lambda sentence: None,
    titles: bool = True,
    style: Style = SCREEN,
) -> list[Path]:
    """Draws all figures of the results in `out`, into `<out>/<dataset>/figures`. Raises InputError if there are none.

    Those for a paper are in its folder `paper`, with `captions.tex`.
    note: called with a sentence for each map that can't be drawn, for each result that is left out, and for each figure
    of a paper that is larger than its page.
    """
    found: list[tuple[list[Result], list[TaxonomyMap]]] = []
    without: list[tuple[str, InputError]] = []
    for about in tasks_by_items():
        task = about.name
        try:
            files = find_results([out], dataset, task, encoders)
            if not files:
                continue
            results, again = side_by_side([read_with_items(path, [about.headline]) for path in files], files)
        except InputError as error:
            without.append((task, error))
            continue
        if again:
            note(again)
        maps: list[TaxonomyMap] = []
        if about.name == "safety_taxonomy":
            items = [rows_of(result) for result in results]
            try:
                maps = taxonomy_maps(results, items, load_evaluated(about.format, results[0], dataset), note)
            except InputError as error:
                note(f"without maps: {error}")
        found.append((results, maps))
    labels = list(dict.fromkeys(result.encoder.label for results, _ in found for result in results))
    written = []
    captions: dict[Path, str] = {}  # of a paper, by the figure's path without suffix

    def keep(results: Sequence[Result], figures: dict, maps: Sequence[TaxonomyMap] = ()) -> None:
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

    for results, maps in found:
        with drawing(style=style):
            keep(results, figures_of(results, [rows_of(result) for result in results], maps, style, labels), maps)
    both = [result for results, _ in found for result in results]
    with drawing(style=style):
        keep(both, plane_of(both, style, labels))
    try:
        files = find_results([out], dataset, "safety_detection", encoders)
    except InputError as error:
        files = []
        without.append(("safety_detection", error))
    if files:
        from utils.figures.detection import detection_figures

        results, notes = transfer.alike(files)
        for sentence in notes:
            note(sentence)
        if results:
            with drawing(style=style):
                keep(results, detection_figures(results, style))
    if not written and without:
        raise without[0][1]
    for task, error in without:
        note(f"without {task}: {error}")
    if not written:
        raise InputError(f"{shown_path(out)}: no results to draw; run a task first, such as scripts/safety_taxonomy.sh")
    for folder in dict.fromkeys(path.parent for path in captions):
        written.append(folder / "captions.tex")
        write_whole(written[-1], "\n".join(text for path, text in captions.items() if path.parent == folder))
    return written
