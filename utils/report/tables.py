"""The tables of a report."""

from collections.abc import Sequence

from utils.report.gather import Evidence
from utils.report.parts import Section
from utils.schema import Result
from utils.tables import Table, of_rows
from utils.tasks import Task


def has_intervals(about: Task, results: Sequence[Result]) -> bool:
    """Whether every encoder's average has an interval."""
    return all(result.metric(about.headline, "average").low is not None for result in results)


def summary_table(sections: Sequence[Section]) -> Table | None:
    """Encoders by the headline metrics of all tasks that compare them item by item; None if there is no such task."""
    sections = [section for section in sections if section.about.by_items]
    if not sections:
        return None
    label = {r.encoder.name: r.encoder.label for section in sections for r in section.results}
    rows = []
    for name in label:
        row: list = [label[name]]
        for section in sections:
            result = next((r for r in section.results if r.encoder.name == name), None)
            row.append(result and result.metric(section.about.headline, "average"))
            rank = None if section.comparison is None or result is None else section.comparison.ranks.get(name)
            row.append(rank)
            row += [result and result.metric(metric, "average") for metric in section.about.beside_headline]
        rows.append(row)
    headings = ["encoder"]
    for section in sections:
        better = "↓" if section.results[0].metric(section.about.headline, "average").better == "lower" else "↑"
        headings += [f"{section.about.metric} {better}", "rank"]
        headings += [f"{metric.replace('_', ' ')} ↑" for metric in section.about.beside_headline]
    every = all(has_intervals(section.about, section.results) for section in sections)
    interval = ", with their 95 % intervals" if every else ""
    return of_rows(f"Averages over types or categories{interval}", headings, rows)


def task_tables(evidence: Evidence) -> list[Table]:
    """The task's own tables, with differences from the reference where encoders are compared."""
    compared = [evidence.comparison, *evidence.beside] if evidence.comparison else []
    differences = {
        one.metric: {(cell.encoder, cell.group): (cell.difference, cell.p) for cell in one.cells if cell.difference}
        for one in compared
    }
    return evidence.about.tables(evidence.results, differences)
