"""Safety-Challenging: scores pairs of an unsafe prompt and a safe one that shares its words."""

import sys
from collections.abc import Sequence

import numpy as np

from utils.data.catalogue import CHALLENGING_FORMAT
from utils.evaluation.run import evaluate
from utils.evaluation.settings import Settings
from utils.evaluation.task import Scores, task_of
from utils.metrics import embedding as metrics
from utils.results.normalization import Grouping, Normalization, Triplets, score_pairs
from utils.results.tables import group_table, metric_table
from utils.schema import Baseline, Dataset, Result
from utils.tasks import CHALLENGING


def score(
    dataset: Dataset, vectors: dict[str, np.ndarray], baseline: Baseline, settings: Settings, moved: np.ndarray | None
) -> Scores:
    """Per-pair scores and their means by type.

    vectors: `unsafe_prompt` and `safe_prompt`, each (n, d).
    """
    unsafe, safe = vectors["unsafe_prompt"], vectors["safe_prompt"]
    cosine = metrics.paired_cosine(unsafe, safe)  # (n,)
    triplets = Triplets(
        *metrics.triplet_scores(unsafe, cosine, dataset.groups, dataset.texts["unsafe_prompt"], [np.ones_like(cosine)])
    )
    normalization = Normalization(baseline.value, settings.threshold, moved if baseline.source == "own" else None)
    grouping = Grouping(dataset.groups, dataset.group_order, settings.bootstrap, settings.seed)
    found = score_pairs(cosine, triplets, normalization, grouping)
    items = {"id": list(dataset.ids), "type": list(dataset.groups), "cosine": cosine.tolist()}
    return Scores(
        {**items, **{name: values.tolist() for name, values in found.scores.items()}}, found.rows, found.influence
    )


def table(results: Sequence[Result]) -> str:
    """The tables of normalized similarity by type, and of the averages of all other metrics."""
    rest = [(m, g) for m in ("pairwise_accuracy", "triplet_accuracy") for g in ("average", "overall")]
    return (
        "normalized similarity of unsafe prompt and safe twin, lower is better\n\n"
        f"{group_table(results, 'normalized_similarity')}\n\n{metric_table(results, rest)}"
    )


TASK = task_of(CHALLENGING_FORMAT, CHALLENGING, score=score, table=table)

if __name__ == "__main__":
    sys.exit(evaluate(TASK))
