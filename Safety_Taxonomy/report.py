"""What the report says of Safety-Taxonomy's results."""

from collections.abc import Callable, Sequence

from Safety_Taxonomy.figures import category_styles
from Safety_Taxonomy.map import TaxonomyMap
from utils.compare.paired import Comparison
from utils.report.findings import Finding, against_floor, extremes, score
from utils.report.items import worst_table
from utils.schema import Dataset, Result
from utils.tables import Cell, Table, cell


def findings(best: Result, name: str, comparison: Comparison | None) -> list[Finding]:
    """How far prompts of one category lie together for the best encoder."""
    m = best.mean("categorical_purity")
    k = best.settings["top_k"]
    text = (
        f"Of a prompt's {k} nearest neighbour{'s' if k > 1 else ''}, averaged over categories, a share of {score(m)} "
        f"is of its own category for {name}{against_floor(best, comparison)}. Neighbours drawn at random give "
        f"{m.chance:z.3f}."
    )
    return [Finding("Topics", text + extremes(best, "categorical_purity", "Strongest in", "weakest in"))]


def worst_items(result: Result, rows: list[dict], prompt: Callable[[str, str], Cell]) -> Table:
    """The prompts whose neighbours are of other categories."""
    category = {row["id"]: row["category"] for row in rows}
    return worst_table(
        f"prompts that {result.encoder.label} misplaces most",
        sorted(rows, key=lambda row: (row["categorical_purity"], row["silhouette"])),
        ["categorical_purity", "silhouette"],
        {
            "prompt": lambda row: prompt(row["id"], "question"),
            "category of the nearest": lambda row: cell(category.get(row["nearest_id"])),
            "nearest prompt": lambda row: prompt(row["nearest_id"], "question"),
        },
    )


def map_data(maps: Sequence[TaxonomyMap], dataset: Dataset, prompts: dict[str, str]) -> dict:
    """The maps of one dataset for the page's script. Neighbours and categories are given by their index in `ids`."""
    first, task = maps[0], "safety_taxonomy"
    place = {item: i for i, item in enumerate(first.ids)}
    order = [group for group in dataset.group_order if group in set(first.categories)]
    text_of = dict(zip(dataset.ids, dataset.texts["question"], strict=True))
    category_of = dict(zip(dataset.ids, dataset.groups, strict=True))
    nearest = [[[place.get(j, j) for j in row[:5]] for row in one.nearest] for one in maps]
    elsewhere = {j for rows in nearest for row in rows for j in row if isinstance(j, str)}
    for item in [*first.ids, *sorted(elsewhere)]:
        prompts[f"{task} {item} question"] = text_of[item]
    styles = category_styles(order)
    return {
        "task": task,
        "ids": first.ids,
        "is_part": first.is_part,
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
            for one, rows in zip(maps, nearest, strict=True)
        ],
    }
