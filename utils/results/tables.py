"""The tables of results, the paper's figures beside ours."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from utils.data.catalogue import group_title
from utils.encoders.paper import paper_entry
from utils.schema import SUMMARIES, Difference, Metric, Result
from utils.tables import MOST_BESIDE, Cell, Table, cell, number, of_rows, p_cell, signed_cell
from utils.tasks import TASKS, Task

# A metric's differences from the reference with their corrected p-values, by encoder and group.
Differences = Mapping[tuple[str, str], tuple[Difference, float | None]]


@dataclass(frozen=True)
class Measured:
    """What a table by group shows of one encoder.

    metrics: group to number; the rows of a table are the groups of its first encoder. differences: group to the
    difference from the reference and its p; empty if the encoder is the reference, or nothing is compared. paper: group
    to the paper's figure; empty if the encoder is none of the paper's. is_ranked: whether the best of a row can be this
    encoder's.
    """

    label: str
    metrics: Mapping[str, Metric]
    differences: Mapping[str, tuple[Difference, float | None]] = field(default_factory=dict)
    paper: Mapping[str, float | None] = field(default_factory=dict)
    is_ranked: bool = False

    @property
    def headings(self) -> list[str]:
        """Those of its columns."""
        return [self.label, *(["paper", "minus paper"] if self.paper else [])]

    def cells(self, group: str, best: str | None) -> list[Cell]:
        """Its columns' cells in the row of a group. best: the best number of the row, as it is printed."""
        metric = self.metrics.get(group)
        is_best = self.is_ranked and metric is not None and number(metric.value) == best
        row = [replace(cell(metric), is_best=is_best)]
        if self.paper:
            paper = self.paper[group]
            row += [cell(paper), signed_cell(None if metric is None or paper is None else metric.value - paper)]
        return row


def measured_tables(
    caption: str,
    heading: str,
    measured: Sequence[Measured],
    summaries: Collection[str] = SUMMARIES,
    notes: Sequence[str] = (),
    tested: Sequence[str] = (),
    label: str = "",
) -> list[Table]:
    """A metric by group, with chance and ceiling if they exist, and the differences from the reference if any.

    Of more than MOST_BESIDE encoders, these are the rows. heading: that of the groups. summaries: the groups that are
    means over the others, which come last. notes, tested: under the first table, and under that of differences.
    """
    numbers = _numbers(caption, heading, measured, summaries, notes=notes, label=label)
    return [numbers, *_differences(caption, heading, measured, summaries, tested, label)]


def _numbers(
    caption: str, heading: str, measured: Sequence[Measured], summaries: Collection[str], **more: Any
) -> Table:
    first = measured[0].metrics
    extras = [extra for extra in ("chance", "ceiling") if any(getattr(m, extra) is not None for m in first.values())]
    body: list[list] = []
    foot: list[list] = []
    for group, metric in first.items():
        ranked = [one.metrics[group] for one in measured if one.is_ranked]
        best = number(min(ranked, key=lambda m: m.loss).value) if len(ranked) > 1 else None
        row = [Cell(group_title(group), group), metric.n]
        row += [number for one in measured for number in one.cells(group, best)]
        row += [getattr(metric, extra) for extra in extras]
        (foot if group in summaries else body).append(row)
    headings = [heading, "n", *(title for one in measured for title in one.headings), *extras]
    spans = [*(len(one.headings) for one in measured), *(1 for _ in extras)]
    table = of_rows(caption, headings, body, foot, keys=2, spans=spans, **more)
    return table.turned("encoder", ["n", *extras]) if len(measured) > MOST_BESIDE else table


def _differences(
    caption: str,
    heading: str,
    measured: Sequence[Measured],
    summaries: Collection[str],
    notes: Sequence[str],
    label: str,
) -> list[Table]:
    """The table of differences from the reference with their p-values; none if nothing is compared."""
    tested = [one for one in measured if one.differences]
    if not tested:
        return []
    [reference] = [one.label for one in measured if not one.differences]
    rows = [
        [Cell(group_title(group), group), *(c for one in tested for c in _difference(*one.differences[group]))]
        for group in measured[0].metrics
    ]
    groups = list(measured[0].metrics)
    last = sum(group in summaries for group in groups)
    many, minus = len(measured) > MOST_BESIDE, f"minus {reference}"
    titles = [one.label if many else f"{one.label} {minus}" for one in tested]
    headings = [heading, *(text for title in titles for text in (title, "p"))]
    table = of_rows(
        f"{caption}; differences from {reference}",
        headings,
        rows[: len(rows) - last],
        rows[len(rows) - last :],
        spans=[2] * len(tested),
        notes=notes,
        label=label and f"{label}-differences",
        on_demand=True,
    )
    return [table.turned(minus) if many else table]


def _difference(difference: Difference, p: float | None) -> list[Cell]:
    return [cell(difference), p_cell(p)]


def group_tables(
    results: Sequence[Result],
    metric: str,
    differences: Mapping[str, Differences] | None = None,
    caption: str | None = None,
    heading: str | None = None,
    groups: Sequence[str] | None = None,
) -> list[Table]:
    """A metric of results of one task on one dataset by group, and its differences; none if they do not have it.

    For one of the paper's encoders on the paper's data, the paper's figure and the difference (ours minus the paper's)
    are added. differences: by metric. caption: the metric's name if None. heading: as for the task's groups if None.
    groups: in order; all if None.
    """
    there = {m.group: m for m in results[0].by_group(metric)}
    groups = [group for group in (groups or there) if group in there]
    if not groups:
        return []
    tested = (differences or {}).get(metric, {})
    measured = []
    for result in results:
        name = result.encoder.name
        paper = papers_figures(result, metric, groups)
        measured.append(
            Measured(
                result.encoder.label,
                {group: m for group in groups if (m := result.metric(metric, group))},
                {group: tested[name, group] for group in groups if (name, group) in tested},
                {} if paper is None else dict(zip(groups, paper, strict=True)),
            )
        )
    caption = caption or metric.replace("_", " ")
    caption = f"{caption[0].upper()}{caption[1:]}, {there[groups[0]].better} is better"
    return measured_tables(caption, heading or TASKS[results[0].task].rows, measured)


def metric_table(results: Sequence[Result], metrics: Sequence[tuple[str, str]]) -> Table:
    """Several metrics' averages: a row for each (metric, group), or for each of more than MOST_BESIDE results."""
    first = results[0]
    present = [m for row in metrics if (m := first.metric(*row))]
    chance = ["chance"] if any(m.chance is not None for m in present) else []
    rows = [
        [f"{m.metric.replace('_', ' ')} ({m.group})", m.better,
         *(result.metric(m.metric, m.group) for result in results), *(m.chance for _ in chance)]
        for m in present
    ]  # fmt: skip
    headings = ["better", *(result.encoder.label for result in results), *chance]
    caption = f"Other metrics of {TASKS[first.task].title}"
    if len(results) <= MOST_BESIDE:
        return of_rows(caption, ["metric", *headings], rows, keys=2)
    rows = [[f"{metric}, {better} is better", *numbers] for metric, better, *numbers in rows]
    return of_rows(caption, ["metric", *headings[1:]], rows).turned("encoder", chance)


def has_intervals(results: Sequence[Result]) -> bool:
    """Whether the average of the headline metric has an interval for every one of results of one task."""
    averages = [result.metric(TASKS[result.task].headline, "average") for result in results]
    return all(m is not None and m.interval for m in averages)


def papers_row(entry: dict, task: Task) -> dict[str, float]:
    """The paper's figures for an encoder by group, and their average. entry: of utils.encoders.paper.paper_figures."""
    figures = dict(entry[task.paper_figures])
    average = entry.get(f"average_{task.headline}")
    return {**figures, "average": sum(figures.values()) / len(figures) if average is None else average}


def papers_figures(result: Result, metric: str, groups: Sequence[str]) -> list[float | None] | None:
    """The paper's figures for these groups if the result is of one of its encoders in its setting, else None."""
    about = TASKS[result.task]
    key = about.paper_figures if metric == about.headline else None
    entry = paper_entry(result.encoder)
    if key is None or entry is None or not is_papers_setting(result):
        return None
    return [papers_row(entry, about).get(group) for group in groups]


def is_papers_setting(result: Result) -> bool:
    """Whether a result was computed on all of the paper's data, with the paper's k and average similarity."""
    fmt = TASKS[result.task].format
    return (
        fmt is not None
        and all((file.sha256, file.rows) == (fmt.card.sha256, fmt.card.rows) for file in result.dataset_files)
        and result.settings["top_k"] in (None, 10)
        and (result.settings["baseline"] is None or result.settings["baseline"]["source"] == "paper")
    )
