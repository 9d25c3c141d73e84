"""The report's section on detection."""

from collections.abc import Sequence
from pathlib import Path

from Safety_Detection.sets import naming
from Safety_Detection.shown import reading
from Safety_Detection.shown.comparison import AREA_OF, compare_detectors
from Safety_Detection.shown.finding import finding, on_unseen
from Safety_Detection.shown.guards import on_same_prompts
from Safety_Detection.shown.tables import detection_tables
from utils.compare.rendered import groups_tables
from utils.figures.captions import described
from utils.figures.style import Style
from utils.figures.tasks import named_figures
from utils.report.findings import Finding, place
from utils.report.gather import folded_away
from utils.report.parts import Section, drawn
from utils.report.tables import variants_tables
from utils.results.find import find_results, folded
from utils.results.paired import Scores
from utils.results.result_file import read_result
from utils.schema import CONTROLS, InputError, Result
from utils.tables import Table
from utils.tasks import Drawing, Task


def detection_section(task: Task, out: Path, name: str, first: Sequence[str]) -> tuple[Section | None, list[str]]:
    """The section on dataset `name`, of results comparable with the newest, or None; and the reasons if None.

    first: encoders that come first, in that order; controls come last.
    """
    folder = out / name / task.name
    files = find_results([out], name, task.name, ()) if folder.is_dir() else []
    results, notes = reading.alike(files)
    if not results:
        return None, notes
    results, variants = folded(results, first)
    results.sort(key=lambda result: place(result.encoder.name, first))
    top, kind = results[0], reading.headline_kind(results[0])
    guards, more = _guards(files, results)

    # Of the curves, which are many, those of the first encoder only.
    shown = {stem: (figure, of) for stem, figure, of in named_figures(results) if of[0] is top}

    def figures(style: Style) -> dict:
        found = {stem: figure.draw(Drawing(of, "", style)) for stem, (figure, of) in shown.items()}
        return {stem: figure for stem, figure in found.items() if figure is not None}

    def caption(stem: str) -> str:
        return described(*shown[stem], "the first encoder")

    plain = reading.plain_name(kind)
    plain = f"{plain[0].upper()}{plain[1:]}"
    resamples = top.settings["bootstrap"]
    resampled = f" Intervals are of {resamples} resamples of whole groups of prompts." if resamples else ""
    unseen = [result for result in results if naming.OTHERS in reading.trains_of(result)]
    section = Section(
        about=task,
        lead=f"{_numbers(top)}; AUROC, higher is better, 0.5 is chance.{resampled}",
        points=[Finding(f"{plain} on {r.encoder.label}", on_unseen(r, kind)) for r in unseen],
        tables=[*detection_tables(results), *guards, *variants_tables(variants)],
        figures=drawn(figures, caption, True),
        findings=[
            Finding(f"Detection elsewhere, {result.encoder.label}", finding(result))
            for result in [one for one in results if one.encoder.name not in CONTROLS] or results[:1]
        ],
        notes=list(dict.fromkeys([*notes, *folded_away(variants), *more])),
        results=results,
        variants=[variant for _, variant in variants],
    )
    return section, []


def _numbers(result: Result) -> str:
    """The number of items, and of sets of each kind."""
    two, labels = reading.sets_of(result), list(reading.one_class_of(result).values())
    text = f"{result.dataset_items} items of {len(two) + len(labels)} sets"
    if not labels:
        return text
    return f"{text}: {len(two)} of two classes, {labels.count(1)} unsafe-only and {labels.count(0)} safe-only"


def _guards(files: Sequence[Path], results: Sequence[Result]) -> tuple[list[Table], list[str]]:
    """A table for each guard among the files, beside the encoders on the same prompts, and a sentence on each other."""
    tables, notes = [], []
    for path in files:
        try:
            if not reading.is_guard(read_result(path)):
                continue
            together, note = on_same_prompts([reading.read(path), *results])
        except InputError as error:
            notes.append(f"Left out: {error}.")
            continue
        label, metric = together[0].encoder.label, f"{AREA_OF}{reading.headline_kind(together[0])}"
        compared = compare_detectors([Scores(one) for one in together], metric, together[0].encoder.name)
        tables += groups_tables(compared, f"AUROC of the guard {label}; {note}")
    return tables, notes
