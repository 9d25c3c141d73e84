"""The sections of a report, one for each task that has results."""

from collections.abc import Sequence
from pathlib import Path

from utils.figures.captions import described
from utils.figures.tasks import figures_of, named_figures
from utils.report.findings import findings_of
from utils.report.gather import Evidence, gather, nothing
from utils.report.items import item_views
from utils.report.parts import Section, drawn
from utils.report.tables import task_tables, variants_tables
from utils.results.tables import has_intervals
from utils.tables import INTERVAL
from utils.tasks import TASKS, tasks_by_items


def sections_of(
    out: Path, name: str, first: Sequence[str], reference: str | None, data: str | None, choice: str | float = "auto"
) -> list[Section]:
    """The sections of a report on the dataset `name`, tasks of items first. The parameters are those of `gather`.

    Raises InputError if there are no results.
    """
    own, why = [], []
    for task in TASKS.values():
        if task.section is not None:
            section, reasons = task.section(out, name, first)
            own += [] if section is None else [section]
            why += reasons if section is None else []
    if not any((out / name / task.name).is_dir() for task in tasks_by_items()):
        if own:
            return own
        if why:
            raise nothing(out / name, why)
    gathered = gather(out, name, first, reference, data, choice)
    labels = list(dict.fromkeys(result.encoder.label for evidence in gathered for result in evidence.results))
    sections = [_section(evidence, labels) for evidence in gathered]
    sections[0].notes.extend(why)
    return [*sections, *own]


def _section(evidence: Evidence, labels: Sequence[str]) -> Section:
    about, first, comparison = evidence.about, evidence.results[0], evidence.comparison
    note = f"{INTERVAL}." if has_intervals(evidence.results) else ""
    if evidence.dataset is not None and evidence.dataset.notes:
        note = f"{note} Data: {'. '.join(evidence.dataset.notes)}.".lstrip()
    shown = {stem: figure for stem, figure, _ in named_figures(evidence.results)}

    def caption(stem: str) -> str:
        return described(shown[stem], evidence.results)

    prompts: dict[str, str] = {}
    return Section(
        about=about,
        lead=f"{first.dataset_items} items; {about.metric}, {about.better} is better.",
        tables=[*task_tables(evidence), *variants_tables(evidence.variants)],
        figures=drawn(lambda style: figures_of(evidence.results, style=style, labels=labels), caption),
        findings=findings_of(evidence.results, comparison, evidence.unranked),
        notes=evidence.notes,
        results=evidence.results,
        variants=[variant for _, variant in evidence.variants],
        note=note,
        comparison=comparison,
        views=item_views(evidence, prompts),
        map=about.map_data(evidence.maps, evidence.dataset, prompts) if evidence.maps and evidence.dataset else None,
        prompts=prompts,
    )
