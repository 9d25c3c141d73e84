"""Shows results in tables of 80 columns, the paper's figures beside ours."""

from collections.abc import Sequence

from utils.encoders.paper import paper_entry
from utils.schema import Result
from utils.tables import blocks, number, signed, with_interval
from utils.tasks import TASKS


def group_table(
    results: Sequence[Result], metric: str, groups: Sequence[str] | None = None, heading: str = "type"
) -> str:
    """A metric by group: a column for each result, then chance and ceiling if they exist.

    results: of one task on one dataset. For one of the paper's encoders on the paper's data, the paper's figure and the
    difference (ours minus the paper's) are added. groups: in order; all, average and overall last, if None.
    """
    rows = {m.group: m for m in results[0].metrics if m.metric == metric}
    groups = [group for group in (groups or rows) if group in rows]
    columns: list[list[tuple[str, list[str]]]] = []
    for result in results:
        found = [result.metric(metric, group) for group in groups]
        ours = [None if m is None else m.value for m in found]
        block = [(result.encoder.label, [with_interval(m) for m in found])]
        paper = papers_figures(result, metric, groups)
        if paper is not None:
            differences = [None if p is None or o is None else o - p for o, p in zip(ours, paper, strict=True)]
            block.append(("paper", [number(value) for value in paper]))
            block.append(("diff", [signed(d) for d in differences]))
        columns.append(block)
    for extra in ("chance", "ceiling"):
        values = [getattr(rows[group], extra) for group in groups]
        if any(value is not None for value in values):
            columns.append([(extra, [number(value) for value in values])])
    left = [(heading, list(groups)), ("n", [str(rows[group].n) for group in groups])]
    summaries = [i for i, group in enumerate(groups) if group in ("average", "overall")]
    return blocks(left, columns, rule_before=min(summaries) if summaries and len(groups) > 2 else None)


def metric_table(results: Sequence[Result], metrics: Sequence[tuple[str, str]]) -> str:
    """Several metrics' averages: a row for each (metric, group), a column for each result."""
    present = [row for row in metrics if results[0].value(*row) is not None]
    first = [next(m for m in results[0].metrics if (m.metric, m.group) == row) for row in present]
    left = [
        ("metric", [f"{metric.replace('_', ' ')} ({group})" for metric, group in present]),
        ("better", [m.better for m in first]),
    ]
    columns = [[(r.encoder.label, [with_interval(r.metric(*row)) for row in present])] for r in results]
    if any(m.chance is not None for m in first):
        columns.append([("chance", [number(m.chance) for m in first])])
    return blocks(left, columns)


def papers_figures(result: Result, metric: str, groups: Sequence[str]) -> list[float | None] | None:
    """The paper's figures for these groups if the result is of one of its encoders in its setting, else None."""
    about = TASKS[result.task]
    key = about.paper_figures if metric == about.headline else None
    entry = paper_entry(result.encoder)
    if key is None or entry is None or not is_papers_setting(result):
        return None
    figures = dict(entry[key])
    average = entry.get(f"average_{metric}")
    figures["average"] = average if average is not None else sum(figures.values()) / len(figures)
    return [figures.get(group) for group in groups]


def is_papers_setting(result: Result) -> bool:
    """Whether a result was computed on all of the paper's data, with the paper's k and average similarity."""
    card = TASKS[result.task].format.card
    return (
        all((file.sha256, file.rows) == (card.sha256, card.rows) for file in result.dataset_files)
        and result.settings["top_k"] in (None, 10)
        and (result.settings["baseline"] is None or result.settings["baseline"]["source"] == "paper")
    )
