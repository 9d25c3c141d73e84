"""The tables of a comparison, as text, Markdown, LaTeX or CSV."""

from utils import tables
from utils.compare.paired import ALPHA, Cell, Comparison, comparing
from utils.results.ranked import why_no_rank
from utils.results.tables import Measured, measured_tables
from utils.schema import Metric, shown
from utils.tables import Table, p_cell, signed_cell
from utils.tasks import TASKS


def rendered(comparison: Comparison, form: str) -> str:
    """A comparison as text of 80 columns, or as Markdown, LaTeX (booktabs) or CSV."""
    if form == "csv":
        return tables.csv_table(cells_table(comparison))
    return tables.rendered([ranking_table(comparison), *groups_tables(comparison)], form)


def ranking_table(comparison: Comparison) -> Table:
    """The encoders by rank and average, those without a rank last."""
    average = {cell.encoder: cell for cell in comparison.cells if cell.group == comparison.ranked_by}
    last = len(average) + 1
    order = sorted(average, key=lambda name: (comparison.ranks.get(name, last), average[name].metric.loss))
    has_effect = comparing(TASKS[comparison.task]).has_effect_size
    rows = []
    for name in order:
        one = average[name]
        effect = [signed_cell(one.effect_size, 2)] if has_effect else []
        numbers = [one.metric.value, _interval(one.metric), one.difference, *effect, p_cell(one.p)]
        rows.append([comparison.labels[name], comparison.ranks.get(name), *numbers])
    minus = f"minus {comparison.labels[comparison.reference]}"
    headings = ["encoder", "rank", comparison.ranked_by, "95 % interval", minus, *(["d"] * has_effect), "p"]
    notes, label = _notes(comparison), _label(comparison)
    return tables.of_rows(_caption(comparison, ""), headings, rows, keys=2, notes=notes, label=label)


def groups_tables(comparison: Comparison, caption: str = "") -> list[Table]:
    """Every encoder by type, category or pair of sets, the best of each row in bold, and the differences.

    caption: in place of what names the task and the metric.
    """
    about = TASKS[comparison.task]
    cells = {name: [cell for cell in comparison.cells if cell.encoder == name] for name in comparison.labels}
    measured = [
        Measured(
            comparison.labels[name],
            {cell.group: cell.metric for cell in mine},
            {cell.group: (cell.difference, cell.p) for cell in mine if cell.difference},
            is_ranked=name not in comparison.unranked,
        )
        for name, mine in cells.items()
    ]
    groups = list(dict.fromkeys(cell.group for cell in comparison.cells))
    summaries = groups[len(groups) - comparing(about).means(comparison) :]
    caption = caption or _caption(comparison, f" by {about.rows}")
    tested, label = _notes(comparison), f"{_label(comparison)}-groups"
    return measured_tables(caption, about.rows, measured, summaries, [tables.INTERVAL], tested, label)


def cells_table(comparison: Comparison) -> Table:
    """Every number of the comparison as it is, a row for each group and encoder."""
    headings = [
        "task", "dataset", "metric", "group", "encoder", "n", "value", "low", "high", "reference", "difference",
        "difference_low", "difference_high", "effect_size", "p", "p_holm", "rank", "no_rank",
    ]  # fmt: skip
    return tables.of_rows("", headings, [_values(comparison, cell) for cell in comparison.cells])


def _values(comparison: Comparison, cell: Cell) -> list:
    ranked = cell.group == comparison.ranked_by
    rank = comparison.ranks.get(cell.encoder) if ranked else None
    why = comparison.unranked.get(cell.encoder) if ranked else None
    metric, difference = cell.metric, cell.difference
    differing = (difference.value, difference.low, difference.high) if difference else (None, None, None)
    return [
        comparison.task, comparison.dataset, comparison.metric, cell.group, cell.encoder, metric.n, metric.value,
        metric.low, metric.high, comparison.reference, *differing,
        cell.effect_size, difference and difference.p, cell.p, rank, why,
    ]  # fmt: skip


def _label(comparison: Comparison) -> str:
    return f"tab:{TASKS[comparison.task].title.lower()}"


def _caption(comparison: Comparison, by: str) -> str:
    metric = comparison.metric.replace("_", " ").replace("auroc/", "AUROC of ")
    better = comparison.cells[0].metric.better
    return f"{TASKS[comparison.task].title}{by}: {metric}, {better} is better; data: {shown(comparison.dataset)}"


def _notes(comparison: Comparison) -> list[str]:
    """What the columns mean."""
    how, ranked = comparing(TASKS[comparison.task]), comparison.ranked_by
    effect = "; d: Cohen's d of the differences" if how.has_effect_size else ""
    notes = [
        f"minus {shown(comparison.labels[comparison.reference])}: the difference from it on the same items, ± half the "
        f"width of its 95 % interval{effect}",
        f"p: {how.test}; Holm's method corrects those of '{ranked}' over all pairs of encoders, the others together",
        f"rank: one more than the number of encoders whose '{ranked}' is better at {ALPHA}",
    ]
    for pair in comparison.same.items():
        group, earlier = map(shown, pair)
        notes.append(f"'{group}' is the same number as '{earlier}' here, so it has the same p")
    notes += [f"{shown(comparison.labels[name])} has no rank: {why}" for name, why in comparison.unranked.items()]
    if comparison.unranked and comparison.metric in TASKS[comparison.task].won_by_nothing:
        notes.append(why_no_rank())
    return [*notes, *([comparison.note] if comparison.note else [])]


def _interval(metric: Metric) -> tables.Cell:
    if metric.interval is None:
        return tables.cell(None)
    low, high = metric.interval
    return tables.Cell(f"{tables.number(low)} to {tables.number(high)}", low)
