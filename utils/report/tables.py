"""The tables of a report's sections."""

from collections.abc import Sequence

from utils.metrics.embedding import OVERLAP_BINS
from utils.report.gather import Section
from utils.report.parts import Cell, Table
from utils.results.tables import papers_figures
from utils.schema import Metric
from utils.tables import number, p_text, with_interval
from utils.tasks import HEADLINES, TITLES


def has_intervals(section: Section) -> bool:
    return all(r.metric(HEADLINES[section.task], "average").low is not None for r in section.results)


def summary_table(sections: Sequence[Section]) -> Table:
    """Encoders by the headline metrics of all tasks."""
    columns = [(section, HEADLINES[section.task]) for section in sections]
    names = list(dict.fromkeys(r.encoder.name for section in sections for r in section.results))
    label = {r.encoder.name: r.encoder.label for section in sections for r in section.results}
    rows = []
    for name in names:
        row = [Cell(label[name], label[name])]
        for section, metric in columns:
            result = next((r for r in section.results if r.encoder.name == name), None)
            row.append(metric_cell(None if result is None else result.metric(metric, "average")))
            rank = None if section.comparison is None or result is None else section.comparison.ranks[name]
            row.append(Cell("-" if rank is None else str(rank), rank))
        rows.append(row)
    headers = [("encoder", False)]
    for section, metric in columns:
        better = "↓" if section.results[0].metric(metric, "average").better == "lower" else "↑"
        headers += [(f"{metric.replace('_', ' ')} {better}", True), ("rank", True)]
    interval = ", with half the width of their 95 % intervals" if all(map(has_intervals, sections)) else ""
    return Table(f"Averages over types or categories{interval}", headers, rows)


def metric_cell(metric: Metric | None) -> Cell:
    return Cell(with_interval(metric), None if metric is None else metric.value)


def headline_table(section: Section) -> Table:
    """The headline metric by type or category: each encoder's score, its difference to the reference, and p.

    Beside one of the paper's encoders, computed as the paper did, stand the paper's figure and ours minus it.
    """
    metric = HEADLINES[section.task]
    first = section.results[0]
    bins = OVERLAP_BINS if section.task == "safety_contrast" else ()
    rows = [m for m in first.metrics if m.metric == metric and m.group not in bins]
    cells = {} if section.comparison is None else {(c.encoder, c.group): c for c in section.comparison.cells}
    groups = [m.group for m in rows]
    papers = {result.encoder.name: papers_figures(result, metric, groups) for result in section.results}
    headers = [("type" if section.task == "safety_challenging" else "category", False), ("n", True)]
    for result in section.results:
        headers.append((result.encoder.label, True))
        if section.comparison is not None and result.encoder.name != section.comparison.reference:
            headers += [("difference", True), ("p", True)]
        if papers[result.encoder.name] is not None:
            headers += [("paper", True), ("minus paper", True)]
    extras = [extra for extra in ("chance", "ceiling") if getattr(rows[0], extra) is not None]
    headers += [(extra, True) for extra in extras]
    body, foot = [], []
    for at, m in enumerate(rows):
        row = [Cell(m.group.replace("_", " "), m.group), Cell(str(m.n), m.n)]
        for result in section.results:
            row.append(metric_cell(result.metric(metric, m.group)))
            if section.comparison is not None and result.encoder.name != section.comparison.reference:
                cell = cells[result.encoder.name, m.group]
                row += [Cell(f"{cell.difference:+.3f}", cell.difference), Cell(p_text(cell.p), cell.p)]
            if papers[result.encoder.name] is not None:
                row += _paper_cells(result.value(metric, m.group), papers[result.encoder.name][at])
        row += [Cell(number(getattr(m, extra)), getattr(m, extra)) for extra in extras]
        (foot if m.group in ("average", "overall") else body).append(row)
    caption = f"{metric.replace('_', ' ')}, {rows[0].better} is better"
    return Table(caption[0].upper() + caption[1:], headers, body, foot)


def _paper_cells(ours: float | None, paper: float | None) -> list[Cell]:
    difference = None if ours is None or paper is None else ours - paper
    return [Cell(number(paper), paper), Cell("-" if difference is None else f"{difference:+.3f}", difference)]


def more_tables(section: Section) -> list[Table]:
    """The metrics beside the headline, and for Safety-Contrast the headline by word overlap."""
    wanted = [(metric, group) for metric, group in TITLES[section.task][2]]
    if section.task == "safety_taxonomy":
        names = dict.fromkeys(m.metric for m in section.results[0].metrics if "@" in m.metric)
        headline = f"categorical_purity@{section.results[0].settings['top_k']}"
        wanted = [(name, "average") for name in names if name != headline] + wanted
    tables = [_rows_of(f"Other metrics of {TITLES[section.task][0]}", section, wanted)]
    if section.task == "safety_contrast":
        by_bin = [(metric, group) for metric in ("boundary_similarity", "mean_similarity") for group in OVERLAP_BINS]
        tables.insert(0, _rows_of("Similarity by word overlap of original and edit", section, by_bin))
    return tables


def _rows_of(caption: str, section: Section, wanted: Sequence[tuple[str, str]]) -> Table:
    first = section.results[0]
    present = [row for row in wanted if first.metric(*row) is not None]
    with_chance = any(first.metric(*row).chance is not None for row in present)
    headers = [("metric", False), ("better", False), *((r.encoder.label, True) for r in section.results)]
    rows = []
    for metric, group in present:
        shown = f"{metric.replace('_', ' ')} ({group})"
        row = [Cell(shown, shown), Cell(first.metric(metric, group).better, first.metric(metric, group).better)]
        row += [metric_cell(result.metric(metric, group)) for result in section.results]
        if with_chance:
            chance = first.metric(metric, group).chance
            row.append(Cell(number(chance), chance))
        rows.append(row)
    return Table(caption, [*headers, *([("chance", True)] if with_chance else [])], rows)
