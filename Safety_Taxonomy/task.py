"""Safety-Taxonomy: scores how far unsafe prompts of one category lie together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from utils.data.catalogue import CATEGORIES, DO_NOT_ANSWER
from utils.data.loading import data_sheet, load
from utils.evaluation.settings import Settings
from utils.metrics import embedding as metrics
from utils.metrics.influence import neighbor_influence, silhouette_influence
from utils.metrics.neighbors import nearest_neighbors
from utils.metrics.summary import summarise
from utils.results.paired import item_differences
from utils.results.tables import Differences, group_tables, metric_table
from utils.schema import Dataset, InputError, Metric, Result
from utils.tables import Table
from utils.tasks import Format, Role, Scores, Task, constant, later

FORMAT = Format(
    card=DO_NOT_ANSWER,
    folder="Safety_Taxonomy",
    sample="sample.csv",
    group_column="types_of_harm",
    text_columns=("question",),
    known_groups=CATEGORIES,
)

CURVE = (1, 5, 10, 20, 50)


def check(dataset: Dataset, settings: Settings) -> None:
    """Raises InputError if there are too few prompts for top_k neighbours, or only one category."""
    if settings.top_k >= len(dataset):
        raise InputError(
            f"--top-k {settings.top_k}: {len(dataset)} prompts have {len(dataset) - 1} neighbours each; give 1 to "
            f"{len(dataset) - 1}"
        )
    if len(dataset.group_order) < 2:
        raise InputError(f"{dataset.files[0].name}: just one category; Categorical Purity needs two at least")


def score(dataset: Dataset, vectors: dict[str, np.ndarray], baseline: None, settings: Settings, moved: None) -> Scores:
    """Per-prompt Categorical Purity at several k with chance and ceiling, its means by category, and clustering.

    vectors: `question`, (n, d).
    """
    embeddings, categories, order = vectors["question"], dataset.groups, dataset.group_order
    curve = [k for k in CURVE if k < len(dataset)]
    most = min(len(dataset) - 1, 2 * max([settings.top_k, *curve]))  # of 2 k, what takes a neighbour's place
    neighbors = nearest_neighbors(embeddings, most)
    labels = np.array(categories, dtype=object)
    same = labels[neighbors] == labels[:, None]  # (n, most)
    chance = metrics.purity_chance(categories)
    influence: dict[str, np.ndarray] = {}
    rows: list[Metric] = []
    items: dict[str, list] = {"id": list(dataset.ids), "category": list(categories)}
    for name, k in [("categorical_purity", settings.top_k), *((f"categorical_purity@{k}", k) for k in curve)]:
        purity = metrics.categorical_purity(neighbors[:, :k], categories)  # (n,)
        ceiling = metrics.purity_ceiling(categories, k)
        influence[name] = neighbor_influence(same[:, : 2 * k], neighbors[:, : 2 * k], categories, order, k)
        drawn = {**settings.intervals((0, 1)), "influence": influence[name]}
        means = summarise(name, purity, categories, order, "higher", chance, ceiling, **drawn)
        rows += means if name == "categorical_purity" else [replace(mean, k=k) for mean in means]
        items[name] = purity.tolist()
    items["nearest_id"] = [dataset.ids[j] for j in neighbors[:, 0]]
    silhouette = metrics.silhouette(embeddings, categories)
    items["silhouette"] = silhouette.tolist()
    influence["silhouette"] = silhouette_influence(embeddings, categories, order, silhouette)
    drawn = {**settings.intervals((-1, 1)), "influence": influence["silhouette"]}
    rows += summarise("silhouette", silhouette, categories, order, "higher", **drawn)
    # Not a mean of items, so it has no interval: a resample would contain prompts twice, which cluster together.
    nmi = metrics.normalized_mutual_information(embeddings, categories, settings.seed)
    rows.append(Metric("nmi", "overall", nmi, len(dataset), "higher"))
    return Scores(items, rows, influence)


def tables(results: Sequence[Result], differences: Mapping[str, Differences] | None = None) -> list[Table]:
    """Categorical Purity by category, then at other k and the clustering metrics. differences: by metric."""
    k = results[0].settings["top_k"]
    rest = [(f"categorical_purity@{other}", "average") for other in CURVE if other != k]
    rest += [("silhouette", "overall"), ("nmi", "overall")]
    purity = group_tables(results, "categorical_purity", differences, f"Categorical Purity at {k}")
    return [*purity, metric_table(results, rest)]


TASK = Task(
    package="Safety_Taxonomy",
    question="Do unsafe prompts of one category lie together?",
    headline="categorical_purity",
    rows="category",
    settings={"top_k": "k"},
    format=FORMAT,
    load=partial(load, FORMAT),
    data_sheet=partial(data_sheet, FORMAT),
    mteb={
        "category": "t2c",
        "date": ("2023-08-01", "2023-09-30"),
        "license": "apache-2.0",
        "annotations_creators": "LM-generated and reviewed",
        "sample_creation": "LM-generated and verified",
    },
    check=check,
    score=score,
    differences=item_differences,
    knows_topics=Role("categorical_purity", "Categorical Purity", "prompts"),
    paper_figures="categorical_purity_at_10",
    tables=tables,
    definitions={
        "Categorical Purity at k": "Mean over a category of the share of each prompt's k nearest neighbours that are "
        "of its category{k}; the prompt itself is left out by index. Higher is better; chance is (n_c − 1)/(n − 1), "
        "ceiling min(k, n_c − 1)/k.",
        "silhouette, NMI": "Of the categories by cosine; of k-means clusters with the categories. Higher is better.",
    },
    figures=constant("Safety_Taxonomy.figures", "FIGURES"),
    run_figure="tsne",
    findings=later("Safety_Taxonomy.report", "findings"),
    item_scores=("silhouette",),
    worst_items=later("Safety_Taxonomy.report", "worst_items"),
    maps=later("Safety_Taxonomy.map", "taxonomy_maps"),
    map_data=later("Safety_Taxonomy.report", "map_data"),
)
