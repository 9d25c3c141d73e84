"""Measures a tuned encoder beside its base, on all that it was not tuned on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from Safety_Detection.protocol.resampling import Drawn
from Safety_Detection.sets.labelled_sets import LabelledDataset
from Safety_Tuning import sts
from Safety_Tuning.columns import (
    OF_PAPER,
    QUALITY,
    Bank,
    Column,
    Unseen,
    column,
    detection_columns,
    mean_correlation,
    metric_of,
    neighbors_kept,
)
from Safety_Tuning.training_side import ORDINARY, PAPERS, TrainingSide
from Safety_Tuning.triples import drawn_evenly
from utils.embed.embedder import Embedder
from utils.evaluation.encoders import evaluate_encoders
from utils.evaluation.settings import Settings
from utils.schema import Dataset, Difference, Result
from utils.store.embeddings import EmbeddingStore
from utils.tasks import TASKS

# The numbers of the paper's tasks that are shown: task, metric, and its name in words.
OF_TASKS = (
    ("safety_challenging", "normalized_similarity", "normalized similarity of safe twins"),
    ("safety_challenging", "triplet_accuracy", "triplet accuracy on those"),
    ("safety_contrast", "boundary_similarity", "boundary similarity of safe edits"),
    ("safety_contrast", "triplet_accuracy", "triplet accuracy on those edits"),
    ("safety_contrast", "guarded_purity", "guarded purity"),
    ("safety_taxonomy", "categorical_purity", "Categorical Purity at 10"),
)
NEIGHBORS, STS = "ten neighbours kept", "STS, Spearman's correlation"
# Prompts of each set and class that detectors are fitted on: what is tuned has no stored vectors, and embedding all of
# a side takes longer than tuning.
OF_EACH = 400


@dataclass(frozen=True)
class Compared:
    """The columns of a base and of an encoder tuned from it, and notes on what was left out."""

    columns: list[Column]
    notes: list[str]


def evaluated_prompts(datasets: dict[str, Dataset]) -> list[str]:
    """The prompts of the paper's tasks, none of which may be tuned on."""
    return [text for dataset in datasets.values() for column in dataset.texts.values() for text in column]


def datasets_of(data: str, settings: Settings) -> dict[str, Dataset]:
    """The datasets of the paper's tasks by name of the task."""
    names = dict.fromkeys(task for task, _, _ in OF_TASKS)
    return {name: TASKS[name].data(replace(settings, data=data))[0] for name in names}


def compared(
    settings: Settings,
    datasets: dict[str, Dataset],
    side: TrainingSide,
    unseen: LabelledDataset | None,
    embedders: Sequence[Embedder],
    note: Callable[[str], None],
) -> Compared:
    """All columns of two encoders.

    settings: of the evaluations of the tasks, its models the base and the tuned encoder, in this order. embedders: of
    the two. unseen: sets that neither encoder was tuned on; None leaves detection out.
    """
    columns = task_columns(settings, datasets, note)
    notes = []
    if unseen is None or ORDINARY not in unseen.group_order or not set(PAPERS) & set(unseen.group_order):
        notes.append(f"without detection: needs {ORDINARY} and {' or '.join(PAPERS)}")
    else:
        columns += of_detection(side, unseen, embedders, settings)
    pairs, missing = sts.load()
    notes += missing
    columns += of_quality(unseen, pairs, embedders, settings)
    return Compared(columns, notes)


def store_through_layer(
    layer: np.ndarray,
    datasets: dict[str, Dataset],
    side: TrainingSide,
    unseen: LabelledDataset | None,
    embedders: Sequence[Embedder],
    store: EmbeddingStore,
    settings: Settings,
) -> None:
    """Stores the vectors of an encoder that is its base and a linear layer, so that no text is encoded twice.

    layer: (d, d), without bias. embedders: of the base and of the tuned encoder, with this store. The vectors are those
    of the tuned encoder but for rounding.
    """
    texts = evaluated_prompts(datasets)
    if unseen is not None:
        texts += [*unseen.texts["prompt"], *(side.prompts[row] for row in _bank(side, settings))]
    texts += [sentence for pair in sts.load()[0] for sentence in (*pair.left, *pair.right)]
    texts = list(dict.fromkeys(texts))
    base, tuned = embedders
    embedded = base.embed(texts, [f"text {number}" for number in range(1, len(texts) + 1)])
    rows = embedded.matrix @ layer.T
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cut = [text for text, truncated in zip(texts, embedded.truncated, strict=True) if truncated]
    store.put_encoder_info(tuned.spec.info(len(layer), embedded.info.max_tokens))
    store.put(tuned.spec.fingerprint, texts, rows, cut)


def task_columns(settings: Settings, datasets: dict[str, Dataset], note: Callable[[str], None]) -> list[Column]:
    """The numbers of the paper's tasks, each with the paired difference that the task tests itself."""
    results = evaluate_encoders([TASKS[name] for name in datasets], datasets, settings, note)
    return [_of_results(results[name][:2], name, metric, words) for name, metric, words in OF_TASKS]


def _of_results(pair: Sequence[Result], task: str, metric: str, words: str) -> Column:
    rows = [next(m for m in result.metrics if (m.metric, m.group) == (metric, "average")) for result in pair]
    [difference] = TASKS[task].differences(pair, rows[0])
    base, tuned = (replace(row, metric=words) for row in rows)
    return Column(base, tuned, difference, OF_PAPER)


def of_detection(
    side: TrainingSide, unseen: LabelledDataset, embedders: Sequence[Embedder], settings: Settings
) -> list[Column]:
    """Detectors fitted on prompts of the training side and tested on families that no one has seen."""
    bank = _bank(side, settings)
    groups = np.array(unseen.groups, dtype=object)
    tested = Unseen(
        labels=np.array(unseen.labels),
        clusters=np.array(unseen.clusters),
        ordinary=groups == ORDINARY,
        twins=groups == PAPERS[1],
        resamples=min(settings.bootstrap, 1000),
        seed=settings.seed,
    )
    prompts = [side.prompts[row] for row in bank]
    ids, sets = ([values[row] for row in bank] for values in (side.ids, side.sets))
    banks = [Bank(unit_vectors(one, prompts, ids), side.labels[bank], sets) for one in embedders]
    vectors = [unit_vectors(one, unseen.texts["prompt"], unseen.ids) for one in embedders]
    return detection_columns(banks, vectors, tested)


def _bank(side: TrainingSide, settings: Settings) -> np.ndarray:
    """The rows of the training side that detectors are fitted on."""
    return drawn_evenly(side, np.arange(len(side)), OF_EACH, settings.seed)


def of_quality(
    unseen: LabelledDataset | None, pairs: Sequence[sts.Pairs], embedders: Sequence[Embedder], settings: Settings
) -> list[Column]:
    """How much of the base's neighbours and of its judgement of sentences is left."""
    columns, resamples = [], min(settings.bootstrap, 1000)
    rows = unseen.rows(ORDINARY) if unseen is not None else np.array([], dtype=int)
    if unseen is not None and len(rows) > 10:
        texts, ids = [unseen.texts["prompt"][row] for row in rows], [unseen.ids[row] for row in rows]
        kept = neighbors_kept(*(unit_vectors(one, texts, ids) for one in embedders))
        drawn = np.random.default_rng(settings.seed).integers(0, len(kept), (resamples, len(kept)))
        mean = Drawn(float(kept.mean()), kept[drawn].mean(axis=1), len(kept))
        share = metric_of(NEIGHBORS, "higher", mean, len(kept))
        # The base keeps all of its own neighbours, so that there is nothing to test.
        columns.append(
            Column(replace(share, value=1.0, low=None, high=None), share, Difference(share.value - 1), QUALITY)
        )
    if pairs:
        found = []
        for one in embedders:
            cosines = [(_sides(one, pair.left) * _sides(one, pair.right)).sum(axis=1) for pair in pairs]
            found.append(mean_correlation(cosines, [pair.scores for pair in pairs], resamples, settings.seed))
        n = sum(len(pair.scores) for pair in pairs)
        columns.append(column(STS, "higher", found, n, QUALITY))
    return columns


def _sides(embedder: Embedder, sentences: Sequence[str]) -> np.ndarray:
    return unit_vectors(embedder, sentences, [f"sentence {row}" for row in range(1, len(sentences) + 1)])


def unit_vectors(embedder: Embedder, texts: Sequence[str], ids: Sequence[str]) -> np.ndarray:
    """The vectors of texts, of length 1: float32 (n, d)."""
    vectors = embedder.embed(list(texts), list(ids)).matrix
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
