"""The tables of a report."""

from collections.abc import Sequence
from dataclasses import replace

from utils.compare.paired import comparing
from utils.metrics.uncertainty import holm
from utils.report.gather import Evidence
from utils.report.parts import Section
from utils.results.tables import has_intervals
from utils.schema import Result
from utils.tables import Table, of_rows, p_cell
from utils.tasks import TASKS

# Under a table of differences.
TESTED = (
    "Differences are on the same items, ± half the width of the 95 % interval. p: paired t-test within type or "
    "category; Holm's method corrects those of the average over all pairs of encoders, and the others together."
)


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
    losses = {result.encoder.name: result.mean(sorting.about.headline).loss for result in sorting.results}
    rows = []
    for name in sorted(label, key=lambda name: (ranks.get(name, len(label) + 1), losses.get(name, 0))):
        row: list = [label[name]]
        for section in sections:
            result = next((r for r in section.results if r.encoder.name == name), None)
            row.append(result and result.mean(section.about.headline))
            if section.comparison is not None:
                row.append(section.comparison.ranks.get(name))
            row += [result and result.metric(metric, "average") for metric in section.about.beside_headline]
        rows.append(row)
    headings = ["encoder"]
    for section in sections:
        headings.append(f"{section.about.metric}, {section.about.better} is better")
        headings += [] if section.comparison is None else ["rank"]
        headings += [f"{metric.replace('_', ' ')}, higher is better" for metric in section.about.beside_headline]
    every = all(has_intervals(section.results) for section in sections)
    interval = " with 95 % intervals" if every else ""
    order = f", by rank in {sorting.about.metric}" if ranks else ""
    return of_rows(f"Averages over types or categories{interval}{order}", headings, rows)


def task_tables(evidence: Evidence) -> list[Table]:
    """The task's own tables, with differences from the reference where encoders are compared."""
    compared = [evidence.comparison, *evidence.beside] if evidence.comparison else []
    differences = {
        one.metric: {(cell.encoder, cell.group): (cell.difference, cell.p) for cell in one.cells if cell.difference}
        for one in compared
    }
    tables = evidence.about.tables(evidence.results, differences)
    return [replace(table, notes=[*table.notes, TESTED]) if table.on_demand else table for table in tables]


def variants_tables(variants: Sequence[tuple[Result, Result]]) -> list[Table]:
    """A table of the variants of encoders of one task, each after the encoder's result; none without any."""
    if not variants:
        return []
    about = TASKS[variants[0][0].task]
    means = [comparing(about).main(main) for main, _ in variants]
    differences = [about.differences(list(pair), mean)[0] for pair, mean in zip(variants, means, strict=True)]
    corrected = holm([difference.p for difference in differences])
    rows = [
        [main.encoder.label, variant.encoder.label, variant.metric(mean.metric, mean.group, detector=mean.detector),
         difference, p_cell(p)]
        for (main, variant), mean, difference, p in zip(variants, means, differences, corrected, strict=True)
    ]  # fmt: skip
    metric = means[0].name.replace("_", " ").replace("/", " of ")
    caption = f"Variants by dtype or instruction of encoders above: {metric}, {means[0].better} is better"
    headings = ["encoder", "variant", f"variant's {means[0].group}", "variant minus encoder", "p"]
    note = "p: of the same distribution as the difference's interval, corrected by Holm's method over the table."
    return [of_rows(caption, headings, rows, keys=2, notes=[note], on_demand=True)]
