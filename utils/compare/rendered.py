"""Shows a comparison as text, Markdown, LaTeX or CSV."""

import textwrap
from collections.abc import Sequence

from utils import tables
from utils.compare.paired import ALPHA, Cell, Comparison, comparing
from utils.data.catalogue import group_title
from utils.results.ranked import why_no_rank
from utils.schema import Difference, Metric, shown
from utils.tables import p_text
from utils.tasks import TASKS

# How many characters a row of a LaTeX table may have, in small type between margins of an inch.
LATEX_WIDTH = 90


def rendered(comparison: Comparison, form: str) -> str:
    """A comparison as text of 80 columns, or as Markdown, LaTeX (booktabs) or CSV."""
    if form == "csv":
        return _csv(comparison)
    if form == "latex":
        return _latex(comparison)
    head, note, ranks = _head(comparison, comparison.task.replace("_", "-")), _notes(comparison), _ranking(comparison)
    note += [comparison.note] if comparison.note else []
    groups = _groups(comparison)
    left, columns = [(TASKS[comparison.task].rows, groups)], []
    for name in comparison.labels:
        mine = _cells_of(comparison, name)
        block = [(comparison.labels[name], [tables.with_interval(mine[group].metric) for group in groups])]
        if name != comparison.reference:
            block.append(("diff", [tables.with_reach(mine[group].difference) for group in groups]))
            block.append(("p", [p_text(mine[group].p) for group in groups]))
        columns.append(block)
    if form == "text":
        table = tables.blocks(left, columns, rule_before=_first_summary(comparison))
        ranking = tables.blocks(ranks[:2], [[column] for column in ranks[2:]])
        return "\n\n".join([head, ranking, table, "\n".join(textwrap.fill(text, tables.WIDTH) for text in note)])
    flat = [*left, *(column for block in columns for column in block)]
    parts = [f"**{head}**", tables.flat(ranks, "pipe"), tables.flat(flat, "pipe")]
    return "\n\n".join([*parts, "; ".join(note)])


def _latex(comparison: Comparison) -> str:
    """The ranking as a table, and the groups by encoder as one or more, each with a caption and a label."""
    about, ranked = TASKS[comparison.task], comparison.ranked_by
    reference, test = comparison.labels[comparison.reference], _test(comparison)
    effect = "d: Cohen's d of the pairs; " if comparing(about).has_effect_size else ""
    captions = [
        f"{_head(comparison, about.title)}. By {ranked}, best first; diff: minus {reference}, with half the width of "
        f"its 95 % interval; {effect}p: {test}, corrected by Holm over all pairs of encoders; rank: one more than the "
        f"number of encoders that are better at {ALPHA}.",
        f"{_head(comparison, about.title)}. With half the width of 95 % intervals, or their ends; best of each row in "
        f"bold; diff: minus {reference}; *: differs from it at {ALPHA} by a {test}, corrected by Holm.",
    ]
    if comparison.unranked:
        captions = [f"{caption} {' '.join(_without_rank(comparison))}" for caption in captions]
    if comparison.note:
        captions = [f"{caption} {comparison.note[0].upper()}{comparison.note[1:]}." for caption in captions]
    groups, ranked_names = _groups(comparison), comparison.ranks or comparison.labels
    rows = list(map(group_title, groups))
    best = [_best([c.metric for c in comparison.cells if c.group == group and c.encoder in ranked_names])
            for group in groups]  # fmt: skip
    columns = []
    for name in comparison.labels:
        of = _cells_of(comparison, name)
        mine = [of[group] for group in groups]
        values = [tables.with_interval(cell.metric) for cell in mine]
        bold = {i for i, cell in enumerate(mine) if tables.number(cell.metric.value) == best[i]}
        bold = set() if name in comparison.unranked else bold
        block = [((comparison.labels[name], values), bold)]
        if name != comparison.reference:
            stars = ["*" if cell.p is not None and cell.p < ALPHA else "" for cell in mine]
            gaps = [tables.with_reach(cell.difference) for cell in mine]
            block.append((("diff", list(map("".join, zip(gaps, stars, strict=True)))), set()))
        columns.append(block)
    label, left = f"tab:{about.title.lower()}", (about.rows, rows)
    parts = [tables.LATEX_PREAMBLE, tables.latex(_ranking(comparison), captions[0], label)]
    beside = _beside(left, columns)
    for i, several in enumerate(beside, 1):
        part = f"{label}-groups{f'-{i}' if len(beside) > 1 else ''}"
        bold = {(row, at) for at, (_, rows) in enumerate(several, 1) for row in rows}
        its = [left, *(column for column, _ in several)]
        parts.append(tables.latex(its, captions[1], part, bold, rule_before=_first_summary(comparison)))
    return "\n\n".join(parts)


Column = tuple[str, list[str]]


def _beside(left: Column, blocks: Sequence[list[tuple[Column, set[int]]]]) -> list[list[tuple[Column, set[int]]]]:
    """The columns, of which each has its rows in bold, in parts that fit on a page to the right of `left`.

    blocks: columns that stay together.
    """

    def width(column: Column) -> int:
        return max(map(len, (column[0], *column[1]))) + 2

    parts, room = [], LATEX_WIDTH - width(left)
    for block in blocks:
        if not parts or sum(width(one) for one, _ in (*parts[-1], *block)) > room:
            parts.append([])
        parts[-1] += block
    return parts


def _best(metrics: Sequence[Metric]) -> str:
    """The best of several values of a metric, as it is printed."""
    values = [m.value for m in metrics]
    return tables.number(min(values) if metrics[0].better == "lower" else max(values))


def _head(comparison: Comparison, title: str) -> str:
    metric, better = (
        comparison.metric.replace("_", " ").replace("auroc/", "AUROC of "),
        comparison.cells[0].metric.better,
    )
    return f"{title}: {metric}, {better} is better; data: {shown(comparison.dataset)}"


def _test(comparison: Comparison) -> str:
    return comparing(TASKS[comparison.task]).test


def _notes(comparison: Comparison) -> list[str]:
    """What the columns mean, a line each."""
    has_effect, ranked = comparing(TASKS[comparison.task]).has_effect_size, comparison.ranked_by
    effect = "; d: Cohen's d of the pairs" if has_effect else ""
    notes = [
        tables.INTERVAL,
        f"diff: minus {shown(comparison.labels[comparison.reference])}, ± half its 95 % interval{effect}",
        f"p: {_test(comparison)}, of the same distribution as the interval of diff, then corrected by Holm: of "
        f"'{ranked}' over all pairs of encoders, else over the other rows of the table",
        f"rank: one more than the number of encoders better at 0.05 by '{ranked}'",
    ]
    for pair in comparison.same.items():
        group, its = map(shown, pair)
        notes.append(f"'{group}' is the same mean as '{its}', and one test with it")
    return notes + _without_rank(comparison)


def _without_rank(comparison: Comparison) -> list[str]:
    """Why encoders have no rank, a line each, and what the rule is for."""
    lines = [f"no rank: {shown(comparison.labels[name])}, {why}" for name, why in comparison.unranked.items()]
    return [*lines, why_no_rank()] if lines else []


def _ranking(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """The columns of the encoders by rank and average."""
    average = {cell.encoder: cell for cell in comparison.cells if cell.group == comparison.ranked_by}
    sign = 1 if comparison.cells[0].metric.better == "lower" else -1
    last = len(average) + 1
    order = sorted(average, key=lambda name: (comparison.ranks.get(name, last), average[name].metric.value * sign))
    cells = [average[name] for name in order]
    columns = [
        ("encoder", [comparison.labels[name] for name in order]),
        ("rank", [str(comparison.ranks.get(name, "-")) for name in order]),
        (comparison.ranked_by, [tables.number(cell.metric.value) for cell in cells]),
        ("95 % interval", [_interval(cell.metric) for cell in cells]),
        ("diff", [tables.with_reach(cell.difference) for cell in cells]),
        ("d", [tables.signed(cell.effect_size, decimals=2) for cell in cells]),
        ("p", [p_text(cell.p) for cell in cells]),
    ]
    return [column for column in columns if column[0] != "d" or comparing(TASKS[comparison.task]).has_effect_size]


def _groups(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(cell.group for cell in comparison.cells))


def _first_summary(comparison: Comparison) -> int:
    """The number of rows that are no means over other rows, which come first."""
    return len(_groups(comparison)) - comparing(TASKS[comparison.task]).means(comparison)


def _cells_of(comparison: Comparison, name: str) -> dict[str, Cell]:
    return {cell.group: cell for cell in comparison.cells if cell.encoder == name}


def _csv(comparison: Comparison) -> str:
    heading = [
        "task", "dataset", "metric", "group", "encoder", "n", "value", "low", "high", "reference", "difference",
        "difference_low", "difference_high", "effect_size", "p", "p_holm", "rank", "no_rank",
    ]  # fmt: skip
    rows = []
    for cell in comparison.cells:
        ranked = cell.group == comparison.ranked_by
        rank = comparison.ranks.get(cell.encoder) if ranked else None
        why = comparison.unranked.get(cell.encoder) if ranked else None
        of = cell.difference or Difference(None)
        rows.append(
            [comparison.task, comparison.dataset, comparison.metric, cell.group, cell.encoder, cell.metric.n,
             cell.metric.value, cell.metric.low, cell.metric.high, comparison.reference, of.value, of.low, of.high,
             cell.effect_size, of.p, cell.p, rank, why]
        )  # fmt: skip
    return tables.csv_text(heading, rows)


def _interval(metric: Metric) -> str:
    return "-" if metric.low is None else f"{tables.number(metric.low)} to {tables.number(metric.high)}"
