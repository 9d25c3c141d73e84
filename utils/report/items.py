"""The items that an encoder gets most wrong, and the map of the taxonomy."""

from collections.abc import Callable

from utils.data.catalogue import group_title
from utils.figures.tasks import category_styles
from utils.report.findings import leader
from utils.report.gather import Evidence
from utils.report.parts import Cell, Table
from utils.schema import Result

WORST = 15


def item_views(evidence: Evidence, prompts: dict[str, str]) -> list[tuple[str, Table]]:
    """For each encoder, the items that it gets most wrong. Texts are added to `prompts`, and cells have their keys."""
    view = {
        "safety_challenging": _worst_pairs,
        "safety_contrast": _nearest_edits,
        "safety_taxonomy": _most_misplaced,
    }[evidence.about.name]

    def prompt(item: str, column: str) -> Cell:
        key = f"{evidence.about.name} {item} {column}"
        if evidence.dataset is None or item not in evidence.dataset.ids:
            return Cell("not available")
        if key not in prompts:
            prompts[key] = evidence.dataset.texts[column][evidence.dataset.ids.index(item)]
        return Cell("", prompt=key)

    best = leader(evidence.results, evidence.unranked)
    pairs = sorted(zip(evidence.results, evidence.items, strict=True), key=lambda pair: pair[0] is not best)
    return [(result.encoder.label, view(evidence, result, rows, prompt)) for result, rows in pairs]


def _number_cell(text: str) -> Cell:
    return Cell("-" if text == "" else f"{float(text):z.3f}", None if text == "" else float(text))


def _worst_pairs(evidence: Evidence, result: Result, rows: list[dict], prompt: Callable) -> Table:
    worst = sorted(rows, key=lambda row: -float(row["normalized_similarity"]))[:WORST]
    body = [
        [
            Cell(row["id"], row["id"]),
            Cell(group_title(row["type"]), row["type"]),
            _number_cell(row["normalized_similarity"]),
            _number_cell(row["triplet_accuracy"]),
            prompt(row["id"], "unsafe_prompt"),
            prompt(row["id"], "safe_prompt"),
        ]
        for row in worst
    ]
    headers = [("id", False), ("type", False), ("normalized similarity", True), ("triplet accuracy", True),
               ("unsafe prompt", False), ("safe twin", False)]  # fmt: skip
    return Table(f"The {len(body)} pairs that {result.encoder.label} tells apart least", headers, body)


def _nearest_edits(evidence: Evidence, result: Result, rows: list[dict], prompt: Callable) -> Table:
    worst = sorted(rows, key=lambda row: -float(row["boundary_similarity"]))[:WORST]
    body = [
        [
            Cell(row["id"], row["id"]),
            Cell(row["category"], row["category"]),
            _number_cell(row["boundary_similarity"]),
            _number_cell(row["mean_word_overlap"]),
            prompt(row["id"], "original_prompt"),
            prompt(row["id"], f"prompt_#{row['nearest_edit']}") if row.get("nearest_edit") else Cell("not recorded"),
        ]
        for row in worst
    ]
    headers = [("id", False), ("category", False), ("boundary similarity", True), ("mean word overlap", True),
               ("original", False), ("nearest safe edit", False)]  # fmt: skip
    return Table(f"The {len(body)} originals with the nearest safe edit for {result.encoder.label}", headers, body)


def _most_misplaced(evidence: Evidence, result: Result, rows: list[dict], prompt: Callable) -> Table:
    worst = sorted(rows, key=lambda row: (float(row["categorical_purity"]), float(row["silhouette"])))[:WORST]
    category = {row["id"]: row["category"] for row in rows}
    body = [
        [
            Cell(row["id"], row["id"]),
            Cell(row["category"], row["category"]),
            _number_cell(row["categorical_purity"]),
            _number_cell(row["silhouette"]),
            prompt(row["id"], "question"),
            Cell(category.get(row["nearest_id"], "-"), category.get(row["nearest_id"])),
            prompt(row["nearest_id"], "question"),
        ]
        for row in worst
    ]
    headers = [("id", False), ("category", False), ("categorical purity", True), ("silhouette", True),
               ("prompt", False), ("category of the nearest", False), ("nearest prompt", False)]  # fmt: skip
    return Table(f"The {len(body)} prompts that {result.encoder.label} misplaces most", headers, body)


def map_data_of(evidence: Evidence, prompts: dict[str, str]) -> dict:
    """The maps for the page's script. Neighbours and categories are given by their index in `ids`."""
    first = evidence.maps[0]
    place = {item: i for i, item in enumerate(first.ids)}
    order = [group for group in evidence.dataset.group_order if group in set(first.categories)]
    text_of = dict(zip(evidence.dataset.ids, evidence.dataset.texts["question"], strict=True))
    category_of = dict(zip(evidence.dataset.ids, evidence.dataset.groups, strict=True))
    nearest = [[[place.get(j, j) for j in row[:5]] for row in one.nearest] for one in evidence.maps]
    elsewhere = {j for rows in nearest for row in rows for j in row if isinstance(j, str)}
    for item in [*first.ids, *sorted(elsewhere)]:
        prompts[f"{evidence.about.name} {item} question"] = text_of[item]
    styles = category_styles(order)
    return {
        "task": evidence.about.name,
        "ids": first.ids,
        "is_part": len(first.ids) < evidence.results[0].dataset_items,
        "categories": [{"name": name, "color": styles[name][0], "mark": styles[name][1]} for name in order],
        "category": [order.index(name) for name in first.categories],
        "elsewhere": {item: category_of[item] for item in sorted(elsewhere)},
        "encoders": [
            {
                "label": one.label,
                "trustworthiness": round(one.trustworthiness, 3),
                "points": [[round(float(x), 3), round(float(y), 3)] for x, y in one.points],
                "nearest": rows,
            }
            for one, rows in zip(evidence.maps, nearest, strict=True)
        ],
    }
