"""Shows a comparison as text, Markdown, LaTeX or CSV."""

import csv
import io
import re
import textwrap

from utils import tables
from utils.compare.paired import Comparison
from utils.schema import SUMMARIES, Metric, shown
from utils.tables import p_text
from utils.tasks import DETECTION, TASKS


def rendered(comparison: Comparison, form: str) -> str:
    """A comparison as text of 80 columns, or as Markdown, LaTeX (booktabs) or CSV."""
    if form == "csv":
        return _csv(comparison)
    of_detectors = comparison.task == DETECTION.name
    title = f"{comparison.task.replace('_', '-')}: {comparison.metric.replace('_', ' ').replace('auroc/', 'AUROC of ')}"
    better = comparison.cells[0].metric.better
    head = f"{title}, {better} is better; data: {shown(comparison.dataset)}"
    effect = "" if of_detectors else "; d: Cohen's d of the pairs"
    ranked = comparison.ranked_by
    note = (
        f"diff: minus {shown(comparison.labels[comparison.reference])}{effect}\n"
        f"p: paired {'bootstrap of groups' if of_detectors else 'sign-flip test'}, corrected by Holm: of '{ranked}'\n"
        "over all pairs of encoders, else over the other rows of the table\n"
        f"rank: one more than the number of encoders better at 0.05 by '{ranked}'"
    )
    if comparison.note:
        note += f"\n{comparison.note if form == 'markdown' else textwrap.fill(comparison.note, tables.WIDTH)}"
    average = {cell.encoder: cell for cell in comparison.cells if cell.group == ranked}
    order = sorted(average, key=lambda name: (comparison.ranks[name], average[name].metric.value * _sign(better)))
    ranking = [
        [
            comparison.labels[name],
            str(comparison.ranks[name]),
            tables.number(average[name].metric.value),
            _interval(average[name].metric),
            tables.signed(average[name].difference),
            tables.signed(average[name].effect_size, decimals=2),
            p_text(average[name].p),
        ]
        for name in order
    ]
    headers = ["encoder", "rank", ranked, "95 % interval", "diff", "d", "p"]
    if of_detectors:
        del headers[5]
        ranking = [[*row[:5], row[6]] for row in ranking]
    groups = list(dict.fromkeys(cell.group for cell in comparison.cells))
    left = [(TASKS[comparison.task].rows, groups)]
    pairs = {cell.group for cell in comparison.cells if cell.metric.test is not None}
    summaries = len(groups) - len(pairs) if of_detectors else len(SUMMARIES)
    columns = []
    for name in comparison.labels:
        mine = {cell.group: cell for cell in comparison.cells if cell.encoder == name}
        block = [(comparison.labels[name], [tables.with_interval(mine[group].metric) for group in groups])]
        if name != comparison.reference:
            block.append(("diff", [tables.signed(mine[group].difference) for group in groups]))
            block.append(("p", [p_text(mine[group].p) for group in groups]))
        columns.append(block)
    ranks = [(header, [row[i] for row in ranking]) for i, header in enumerate(headers)]
    if form == "text":
        table = tables.blocks(left, columns, rule_before=len(groups) - summaries)
        return f"{head}\n\n{tables.blocks(ranks[:2], [[column] for column in ranks[2:]])}\n\n{table}\n\n{note}"
    flat = [*left, *(column for block in columns for column in block)]
    if form == "latex":
        comment = "\n".join(f"% {line}" for line in [head, *note.splitlines()])
        parts = [tables.flat(part, "latex_booktabs").replace("±", "$\\pm$") for part in (ranks, flat)]
        return "\n\n".join([comment, *(re.sub(r"(?<!\w)-(?=\d\.)", "$-$", part) for part in parts)])
    return "\n\n".join([f"**{head}**", tables.flat(ranks, "pipe"), tables.flat(flat, "pipe"), note.replace("\n", "; ")])


def _csv(comparison: Comparison) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["task", "dataset", "metric", "group", "encoder", "n", "value", "low", "high", "reference", "difference",
         "effect_size", "p_holm", "rank"]
    )  # fmt: skip
    for cell in comparison.cells:
        rank = comparison.ranks[cell.encoder] if cell.group == comparison.ranked_by else None
        writer.writerow(
            [comparison.task, comparison.dataset, comparison.metric, cell.group, cell.encoder, cell.metric.n,
             cell.metric.value, cell.metric.low, cell.metric.high, comparison.reference, cell.difference,
             cell.effect_size, cell.p, rank]
        )  # fmt: skip
    return text.getvalue().rstrip("\n")


def _sign(better: str) -> int:
    return 1 if better == "lower" else -1


def _interval(metric: Metric) -> str:
    return "-" if metric.low is None else f"{tables.number(metric.low)} to {tables.number(metric.high)}"
