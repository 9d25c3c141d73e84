"""The tables of a report."""

from collections.abc import Sequence
from dataclasses import replace

from utils.report.gather import Evidence
from utils.report.parts import Section
from utils.schema import Result
from utils.tables import Table, of_rows
from utils.tasks import Task

# Under a table of differences.
TESTED = (
    "Differences are on the same items, ± half the width of the 95 % interval. p: paired t-test within type or "
    "category; Holm's method corrects those of the average over all pairs of encoders, and the others together."
)


def has_intervals(about: Task, results: Sequence[Result]) -> bool:
    """Whether every encoder's average has an interval."""
    return all(result.metric(about.headline, "average").low is not None for result in results)


def summary_table(sections: Sequence[Section]) -> Table | None:
    """Encoders by the headline metrics of all tasks that compare them item by item; None if there is no such task.

    They are sorted by their rank in knowing topics, which every encoder has, and then by that average.
    """
    sections = [section for section in sections if section.about.by_items]
    if not sections:
        return None
    label = {r.encoder.name: r.encoder.label for section in sections for r in section.results}
    sorting = next((section for section in sections if section.about.knows_topics), sections[0])
    ranks = sorting.comparison.ranks if sorting.comparison else {}
    averages = {result.encoder.name: _average(sorting, result) for result in sorting.results}
    rows = []
    for name in sorted(label, key=lambda name: (ranks.get(name, len(label) + 1), averages.get(name, 0))):
        row: list = [label[name]]
        for section in sections:
            result = next((r for r in section.results if r.encoder.name == name), None)
            row.append(result and result.metric(section.about.headline, "average"))
            if section.comparison is not None:
                row.append(section.comparison.ranks.get(name))
            row += [result and result.metric(metric, "average") for metric in section.about.beside_headline]
        rows.append(row)
    headings = ["encoder"]
    for section in sections:
        headings.append(f"{section.about.metric}, {_better(section)} is better")
        headings += [] if section.comparison is None else ["rank"]
        headings += [f"{metric.replace('_', ' ')}, higher is better" for metric in section.about.beside_headline]
    every = all(has_intervals(section.about, section.results) for section in sections)
    interval = " with 95 % intervals" if every else ""
    order = f", by rank in {sorting.about.metric}" if ranks else ""
    return of_rows(f"Averages over types or categories{interval}{order}", headings, rows)


def _better(section: Section) -> str:
    return section.results[0].metric(section.about.headline, "average").better


def _average(section: Section, result: Result) -> float:
    """The average of a result, the best being the lowest."""
    return result.value(section.about.headline, "average") * (1 if _better(section) == "lower" else -1)


def task_tables(evidence: Evidence) -> list[Table]:
    """The task's own tables, with differences from the reference where encoders are compared."""
    compared = [evidence.comparison, *evidence.beside] if evidence.comparison else []
    differences = {
        one.metric: {(cell.encoder, cell.group): (cell.difference, cell.p) for cell in one.cells if cell.difference}
        for one in compared
    }
    tables = evidence.about.tables(evidence.results, differences)
    return [replace(table, notes=[*table.notes, TESTED]) if table.on_demand else table for table in tables]
