"""The items that an encoder gets most wrong."""

import math
from collections.abc import Callable, Sequence

from utils.data.catalogue import group_title
from utils.report.findings import leader
from utils.report.gather import Evidence
from utils.results.result_file import rows_of
from utils.tables import Cell, Table

WORST = 15


def item_views(evidence: Evidence, prompts: dict[str, str]) -> list[tuple[str, Table]]:
    """For each encoder, the items that it gets most wrong. Texts are added to `prompts`, and cells have their keys."""
    worst_items = evidence.about.worst_items
    if worst_items is None:
        return []

    def prompt(item: str, column: str) -> Cell:
        key = f"{evidence.about.name} {item} {column}"
        if evidence.dataset is None or item not in evidence.dataset.ids:
            return Cell("not available")
        if key not in prompts:
            prompts[key] = evidence.dataset.texts[column][evidence.dataset.ids.index(item)]
        return Cell("", prompt=key)

    best = leader(evidence.results, evidence.unranked)
    results = sorted(evidence.results, key=lambda result: result is not best)
    return [(result.encoder.label, worst_items(result, rows_of(result), prompt)) for result in results]


def worst_table(
    what: str, worst: Sequence[dict], numbers: Sequence[str], prompts: dict[str, Callable[[dict], Cell]]
) -> Table:
    """The table of the first items of `worst`: id and group, the numbers, then the prompts.

    what: the items in words. prompts: heading to what makes an item's cell.
    """
    id_column, group_column, *_ = worst[0]
    body = [
        [
            Cell(row[id_column], row[id_column]),
            Cell(group_title(row[group_column]), row[group_column]),
            *(_number_cell(row[name]) for name in numbers),
            *(cell(row) for cell in prompts.values()),
        ]
        for row in worst[:WORST]
    ]
    headings = [id_column, group_column, *(name.replace("_", " ") for name in numbers), *prompts]
    return Table(f"The {len(body)} {what}", headings, body)


def _number_cell(value: float) -> Cell:
    return Cell("-") if math.isnan(value) else Cell(f"{value:z.3f}", value)
