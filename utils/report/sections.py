"""The sections of a report, one for each task that has results."""

from collections.abc import Sequence
from pathlib import Path

from utils.figures.tasks import figures_of
from utils.report.detection import detection_section
from utils.report.findings import findings_of
from utils.report.gather import Evidence, gather, nothing
from utils.report.items import item_views, map_data_of
from utils.report.parts import Section, drawn
from utils.report.tables import group_tables, has_intervals, more_tables
from utils.tables import INTERVAL
from utils.tasks import FIRST, tasks_by_items


def sections_of(
    out: Path, name: str, first: Sequence[str], reference: str | None, data: str | None, choice: str | float = "auto"
) -> list[Section]:
    """The sections of a report on the dataset `name`, detection last. The parameters are those of `gather`.

    Raises InputError if there are no results.
    """
    detection, why = detection_section(out, name, first)
    last = [] if detection is None else [detection]
    if not any((out / name / task).is_dir() for task in (one.name for one in tasks_by_items())):
        if last:
            return last
        if why:
            raise nothing(out / name, why)
    gathered = gather(out, name, first, reference, data, choice)
    labels = list(dict.fromkeys(result.encoder.label for evidence in gathered for result in evidence.results))
    sections = [_section(evidence, labels) for evidence in gathered]
    sections[0].notes.extend(why)
    return [*sections, *last]


def _section(evidence: Evidence, labels: Sequence[str]) -> Section:
    about, first, comparison = evidence.about, evidence.results[0], evidence.comparison
    better = first.metric(about.headline, "average").better
    note = ""
    if comparison is not None:
        note = (
            f"{INTERVAL}. difference: minus {comparison.labels[comparison.reference]}, on the same items. p: paired "
            "t-test within type or category, of the same distribution as the difference's interval, corrected by "
            "Holm's method: of the average over all pairs of encoders, else over the other rows of the table."
        )
    if evidence.dataset is not None and evidence.dataset.notes:
        note = f"{note} Data: {'. '.join(evidence.dataset.notes)}.".lstrip()
    interval = " with its 95 % interval" if has_intervals(about, evidence.results) else ""

    def caption(stem: str) -> str:
        text = about.captions[stem.removeprefix(f"{about.name}_")]
        text = text.format(metric=about.metric, rows=about.rows, interval=interval, first=FIRST[better])
        return f"{text[0].upper()}{text[1:]}"

    prompts: dict[str, str] = {}
    return Section(
        about=about,
        lead=f"{first.dataset_items} items; {about.metric}, {better} is better.",
        tables=[*group_tables(evidence), *more_tables(evidence)],
        figures=drawn(lambda: figures_of(evidence.results, evidence.items, labels=labels), caption),
        findings=findings_of(evidence.results, comparison, evidence.unranked),
        notes=evidence.notes,
        results=evidence.results,
        note=note,
        comparison=comparison,
        views=item_views(evidence, prompts),
        map=map_data_of(evidence, prompts) if evidence.maps else None,
        prompts=prompts,
    )
