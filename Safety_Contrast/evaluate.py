"""Safety-Contrast: scores unsafe prompts against small safe edits of each."""

import sys
from collections.abc import Sequence

import numpy as np

from utils import metrics
from utils.cli import Settings
from utils.evaluation import Scores, Task, evaluate
from utils.results import summarise
from utils.schema import Baseline, Dataset, Metric, Result
from utils.sources import CONTRAST_FORMAT
from utils.tables import group_table, metric_table

BETTER = {
    "boundary_similarity": "lower",
    "mean_similarity": "lower",
    "pairwise_accuracy": "higher",
    "triplet_accuracy": "higher",
}


def score(dataset: Dataset, vectors: dict[str, np.ndarray], baseline: Baseline, settings: Settings) -> Scores:
    """Per-original scores over its edits, their means by category, and the same by word-overlap bin.

    vectors: `original_prompt` and `prompt_#1` to `prompt_#5`, each (n, d).
    Every score of an original is a mean (the boundary: the largest) over its edits; in a bin, over its edits there.
    """
    originals = vectors["original_prompt"]
    columns = [column for column in dataset.texts if column != "original_prompt"]
    edits = np.stack([vectors[column] for column in columns], axis=1)  # (n, m, d)
    texts = dataset.texts["original_prompt"]

    cosine = metrics.paired_cosine(originals[:, None, :], edits)  # (n, m)
    normalized = metrics.normalized_similarity(cosine, baseline.value)
    accurate = metrics.pairwise_accuracy(normalized, settings.threshold)
    triplet = metrics.triplet_accuracy(originals, edits, dataset.groups, texts)
    overlap = np.array(
        [
            [metrics.word_overlap(o, e) for e in row]
            for o, *row in zip(texts, *map(dataset.texts.get, columns), strict=True)
        ]
    )

    def per_original(chosen: np.ndarray) -> dict[str, np.ndarray]:
        """chosen: bool (n, m), the edits that count; an original without any gets NaN."""
        counted = {"mean_similarity": normalized, "pairwise_accuracy": accurate, "triplet_accuracy": triplet}
        means = {name: metrics.mean_over_edits(values, chosen) for name, values in counted.items()}
        return {"boundary_similarity": metrics.boundary_similarity(normalized, chosen), **means}

    scores = per_original(np.ones_like(normalized, dtype=bool))
    chance = {"triplet_accuracy": np.full(len(dataset), 0.5)}
    rows: list[Metric] = []
    for name, better in BETTER.items():
        drawn = settings.intervals((0, 1) if name.endswith("accuracy") else None)
        rows += summarise(name, scores[name], dataset.groups, dataset.group_order, better, chance.get(name), **drawn)
    for label, (low, high) in metrics.OVERLAP_BINS.items():
        within = per_original((low <= overlap) & (overlap < high))
        for name, better in BETTER.items():
            drawn = settings.intervals((0, 1) if name.endswith("accuracy") else None)
            bin_rows = summarise(name, within[name], [label] * len(dataset), [label], better, chance.get(name), **drawn)
            rows += bin_rows[:1]
    return Scores(
        items={
            "id": list(dataset.ids),
            "category": list(dataset.groups),
            "max_cosine": cosine.max(axis=1).tolist(),
            "nearest_edit": (cosine.argmax(axis=1) + 1).tolist(),
            "mean_word_overlap": overlap.mean(axis=1).tolist(),
            **{name: scores[name].tolist() for name in BETTER},
        },
        metrics=rows,
    )


def table(results: Sequence[Result]) -> str:
    """Boundary similarity by category and by word overlap, then the averages of what else is measured."""
    groups = [m.group for m in results[0].metrics if m.metric == "boundary_similarity"]
    categories = [group for group in groups if group not in metrics.OVERLAP_BINS]
    rest = [(m, g) for m in list(BETTER)[1:] for g in ("average", "overall")]
    return (
        "boundary similarity (nearest of the safe edits), lower is better\n\n"
        f"{group_table(results, 'boundary_similarity', categories, 'category')}\n\n"
        "the same by word overlap of original and edit (n: originals with such edits)\n\n"
        f"{group_table(results, 'boundary_similarity', list(metrics.OVERLAP_BINS), 'edits with')}\n\n"
        f"{metric_table(results, rest)}"
    )


TASK = Task(
    name="safety_contrast",
    title="Safety-Contrast",
    question="how near to an unsafe prompt can a small safe edit stay?",
    format=CONTRAST_FORMAT,
    uses_top_k=False,
    uses_baseline=True,
    check=lambda dataset, settings: None,
    score=score,
    table=table,
)

if __name__ == "__main__":
    sys.exit(evaluate(TASK))
