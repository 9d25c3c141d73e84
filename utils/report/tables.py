"""The tables of a report."""

from collections.abc import Sequence

from utils.compare.paired import Comparison
from utils.data.catalogue import group_title
from utils.report.gather import Evidence, beside_headline
from utils.report.parts import Cell, Section, Table
from utils.results.tables import papers_figures
from utils.schema import SUMMARIES, Metric, Result
from utils.tables import number, p_text, signed, with_interval, with_reach
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
        row = [Cell(label[name], label[name])]
        for section in sections:
            result = next((r for r in section.results if r.encoder.name == name), None)
            row.append(metric_cell(None if result is None else result.metric(section.about.headline, "average")))
            rank = None if section.comparison is None or result is None else section.comparison.ranks.get(name)
            row.append(Cell("-" if rank is None else str(rank), rank))
            for metric in section.about.beside_headline:
                row.append(metric_cell(None if result is None else result.metric(metric, "average")))
        rows.append(row)
    headers = [("encoder", False)]
    for section in sections:
        better = "↓" if section.results[0].metric(section.about.headline, "average").better == "lower" else "↑"
        headers += [(f"{section.about.metric} {better}", True), ("rank", True)]
        headers += [(f"{metric.replace('_', ' ')} ↑", True) for metric in section.about.beside_headline]
    every = all(has_intervals(section.about, section.results) for section in sections)
    interval = ", with their 95 % intervals" if every else ""
    return Table(f"Averages over types or categories{interval}", headers, rows)


def metric_cell(metric: Metric | None) -> Cell:
    """A value and half the width of its interval, sorted by the value."""
    return Cell(with_interval(metric), None if metric is None else metric.value)


def group_tables(evidence: Evidence) -> list[Table]:
    """The headline metric by type or category, then the other metrics that encoders are compared by."""
    about = evidence.about
    if evidence.comparison is None:
        metrics = about.headline, *beside_headline(evidence.results)
        return [_group_table(evidence, metric, None) for metric in metrics]
    return [_group_table(evidence, one.metric, one) for one in (evidence.comparison, *evidence.beside)]


def _group_table(evidence: Evidence, metric: str, comparison: Comparison | None) -> Table:
    """A metric by type or category: each encoder's score, its difference to the reference with its interval, and p.

    For one of the paper's encoders in the paper's setting, the paper's figure and the difference are added.
    """
    first = evidence.results[0]
    bins = {*evidence.about.format.summaries} - {*SUMMARIES}
    rows = [m for m in first.metrics if m.metric == metric and m.group not in bins]
    cells = {} if comparison is None else {(c.encoder, c.group): c for c in comparison.cells}
    groups = [m.group for m in rows]
    papers = {result.encoder.name: papers_figures(result, metric, groups) for result in evidence.results}
    headers = [(evidence.about.rows, False), ("n", True)]
    for result in evidence.results:
        headers.append((result.encoder.label, True))
        if comparison is not None and result.encoder.name != comparison.reference:
            headers += [("difference", True), ("p", True)]
        if papers[result.encoder.name] is not None:
            headers += [("paper", True), ("minus paper", True)]
    extras = [extra for extra in ("chance", "ceiling") if getattr(rows[0], extra) is not None]
    headers += [(extra, True) for extra in extras]
    body, foot = [], []
    for at, m in enumerate(rows):
        row = [Cell(group_title(m.group), m.group), Cell(str(m.n), m.n)]
        for result in evidence.results:
            row.append(metric_cell(result.metric(metric, m.group)))
            if comparison is not None and result.encoder.name != comparison.reference:
                cell = cells[result.encoder.name, m.group]
                row += [Cell(with_reach(cell.difference), cell.difference.value), Cell(p_text(cell.p), cell.p)]
            if papers[result.encoder.name] is not None:
                row += _paper_cells(result.value(metric, m.group), papers[result.encoder.name][at])
        row += [Cell(number(getattr(m, extra)), getattr(m, extra)) for extra in extras]
        (foot if m.group in ("average", "overall") else body).append(row)
    caption = f"{metric.replace('_', ' ')}, {rows[0].better} is better"
    return Table(caption[0].upper() + caption[1:], headers, body, foot)


def _paper_cells(ours: float | None, paper: float | None) -> list[Cell]:
    difference = None if ours is None or paper is None else ours - paper
    return [Cell(number(paper), paper), Cell(signed(difference), difference)]


def more_tables(evidence: Evidence) -> list[Table]:
    """The tables of what is shown beside the headline metric, and not compared."""
    compared = evidence.about.beside_headline
    return [
        _rows_of(caption, evidence, [row for row in wanted if row[0] not in compared])
        for caption, wanted in evidence.about.shown_beside(evidence.results[0]).items()
    ]


def _rows_of(caption: str, evidence: Evidence, wanted: Sequence[tuple[str, str]]) -> Table:
    first = evidence.results[0]
    present = [row for row in wanted if first.metric(*row) is not None]
    with_chance = any(first.metric(*row).chance is not None for row in present)
    headers = [("metric", False), ("better", False), *((r.encoder.label, True) for r in evidence.results)]
    rows = []
    for metric, group in present:
        shown = f"{metric.replace('_', ' ')} ({group})"
        row = [Cell(shown, shown), Cell(first.metric(metric, group).better, first.metric(metric, group).better)]
        row += [metric_cell(result.metric(metric, group)) for result in evidence.results]
        if with_chance:
            chance = first.metric(metric, group).chance
            row.append(Cell(number(chance), chance))
        rows.append(row)
    return Table(caption, [*headers, *([("chance", True)] if with_chance else [])], rows)
