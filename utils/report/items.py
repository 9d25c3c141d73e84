"""The items that an encoder gets most wrong."""

import math

from utils.report.findings import leader
from utils.report.gather import Evidence
from utils.tables import Cell, Table

WORST = 15


def item_views(evidence: Evidence, prompts: dict[str, str]) -> list[tuple[str, Table]]:
    """For each encoder, the items that it gets most wrong. Texts are added to `prompts`, and cells have their keys."""
    if evidence.about.worst_items is None:
        return []

    def prompt(item: str, column: str) -> Cell:
        key = f"{evidence.about.name} {item} {column}"
        if evidence.dataset is None or item not in evidence.dataset.ids:
            return Cell("not available")
        if key not in prompts:
            prompts[key] = evidence.dataset.texts[column][evidence.dataset.ids.index(item)]
        return Cell("", prompt=key)

    best = leader(evidence.results, evidence.unranked)
    pairs = sorted(zip(evidence.results, evidence.items, strict=True), key=lambda pair: pair[0] is not best)
    return [(result.encoder.label, evidence.about.worst_items(result, rows, prompt)) for result, rows in pairs]


def number_cell(value: float) -> Cell:
    """A number of an item, '-' if it is NaN."""
    return Cell("-") if math.isnan(value) else Cell(f"{value:z.3f}", value)
