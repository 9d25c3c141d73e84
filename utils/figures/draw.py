"""Draws and saves the figures of all results in a folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

from utils.data.catalogue import FORMATS
from utils.data.loading import load_evaluated
from utils.figures.projection import TaxonomyMap, taxonomy_maps
from utils.figures.style import drawing, save
from utils.figures.tasks import figures_of
from utils.files import shown_path
from utils.results.find import find_results
from utils.results.likeness import side_by_side
from utils.results.result_file import read_with_items, rows_of
from utils.schema import InputError
from utils.tasks import DETECTION, OF_ITEMS, TAXONOMY
from utils.transfer import results as transfer


def draw_all(
    out: Path,
    dataset: str | None,
    encoders: Sequence[str],
    note: Callable[[str], None] = lambda sentence: None,
    titles: bool = True,
) -> list[Path]:
    """Draws all figures of the results in `out`, into `<out>/<dataset>/figures`. Raises InputError if there are none.

    note: called with a sentence for each map that can't be drawn, and for each result that is left out.
    """
    written: list[Path] = []
    without: list[tuple[str, InputError]] = []
    for task, about in OF_ITEMS.items():
        try:
            files = find_results([out], dataset, task, encoders)
            if not files:
                continue
            results, again = side_by_side([read_with_items(path, [about.headline]) for path in files], files)
        except InputError as error:
            without.append((task, error))
            continue
        items = [rows_of(result) for result in results]
        if again:
            note(again)
        maps: list[TaxonomyMap] = []
        if about is TAXONOMY:
            try:
                maps = taxonomy_maps(results, items, load_evaluated(FORMATS[task], results[0], dataset), note)
            except InputError as error:
                note(f"without maps: {error}")
        folder = out / results[0].dataset_name / "figures"
        with drawing():
            for stem, figure in figures_of(results, items, maps).items():
                written += save(figure, folder / stem, titles)
    try:
        files = find_results([out], dataset, DETECTION.name, encoders)
    except InputError as error:
        files = []
        without.append((DETECTION.name, error))
    if files:
        from utils.figures.detection import detection_figures

        results, notes = transfer.alike(files)
        for sentence in notes:
            note(sentence)
    if files and results:
        with drawing():
            for stem, figure in detection_figures(results).items():
                # The suffix is needed because an encoder's name may contain a dot.
                written += save(figure, out / results[0].dataset_name / "figures" / f"{stem}.png", titles)
    if not written and without:
        raise without[0][1]
    for task, error in without:
        note(f"without {task}: {error}")
    if not written:
        raise InputError(f"{shown_path(out)}: no results to draw; run a task first, such as scripts/safety_taxonomy.sh")
    return written
