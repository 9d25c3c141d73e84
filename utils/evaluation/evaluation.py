"""One encoder on one task: computed, or read from the result file that the same evaluation wrote."""

import hashlib
import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from utils.embed.embedder import Embedder, Embeddings, fitted_later
from utils.embed.vectors import embed_dataset
from utils.evaluation import baseline
from utils.evaluation.settings import Settings
from utils.metrics.influence import average_similarity_influence
from utils.results import find, result_file
from utils.results.program import code_digest, environment
from utils.schema import OWN, Baseline, Dataset, InputError, Metric, Result, is_control, is_word_overlap
from utils.tasks import Task


@dataclass(frozen=True)
class Evaluation:
    """What the numbers of a result depend on. embedder: of the encoder, with the store that its vectors are kept in."""

    task: Task
    settings: Settings
    dataset: Dataset
    embedder: Embedder

    @property
    def name(self) -> str:
        """The name of the result's files."""
        return find.kept_as(self.embedder.spec, self.settings.baseline if self.task.uses_baseline else "auto")

    @property
    def path(self) -> Path:
        """The path of the result file."""
        return result_file.result_path(self.settings.out, self.dataset.name, self.task.name, self.name)

    @property
    def digest(self) -> str:
        """A digest of all that a number depends on, but for rounding by the device."""
        spec, requested = self.embedder.spec, self.settings.baseline
        if requested == "auto" and is_control(spec):
            requested = "own"
        parts = {
            "task": self.task.name,
            "data": [file.sha256 for file in self.dataset.files],
            "ids": self.dataset.ids,
            "encoder": [spec.name, spec.label, spec.fingerprint],
            "settings": {**self._settings(), "baseline": requested if self.task.uses_baseline else None},
            "program": code_digest(self.task.package),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def reused(self) -> Result | None:
        """The result that is at `path`, with its items, if the same evaluation wrote it; else None.

        Its file is left as it is, unless average similarities of the encoder have become known, which are added.
        """
        spec, store = self.embedder.spec, self.embedder.store
        try:
            result = result_file.read_with_items(self.path)
        except InputError:
            return None
        if result.made_by != self.digest:
            return None
        if self.task.uses_baseline:
            source = result.settings["baseline"]["source"]
            if self.settings.baseline == "auto" and baseline.is_outdated(source, spec, store):
                return None
            averages = {**result.average_similarities, **baseline.known_elsewhere(spec, store)}
            if averages != result.average_similarities:
                result = replace(result, average_similarities=averages)
                self.write(result)
        return result

    def computed(self, note: Callable[[str], object] = lambda sentence: None) -> Result:
        """The result, computed from the encoder's vectors. note: called with each sentence that a user should read."""
        start = time.perf_counter()
        task, dataset, n = self.task, self.dataset, len(self.dataset)
        embedded, columns = self._embeddings(), list(dataset.texts)
        vectors = {}
        if embedded.matrix is not None:
            vectors = {column: embedded.matrix[i * n : (i + 1) * n] for i, column in enumerate(columns)}
        average: Baseline | None = None
        averages: dict[str, float] = {}
        moved: np.ndarray | None = None
        if task.uses_baseline:
            groups = dataset.groups * len(columns)
            average = baseline.choose_baseline(self.settings.baseline, self.embedder, embedded.matrix, groups, note)
            averages = baseline.average_similarities(average, self.embedder, embedded.matrix, groups)
            if "own" in averages:
                moved = average_similarity_influence(embedded.matrix, groups, np.tile(np.arange(n), len(columns)))
        moves = moved if average is not None and average.source == "own" else None
        scores = task.score(dataset, vectors, average, self.settings, moves)
        truncated = embedded.truncated.reshape(len(columns), n).sum(axis=0)
        return Result(
            task=task.name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - start, 3),
            encoder=embedded.info,
            dataset_name=dataset.name,
            dataset_files=dataset.files,
            dataset_items=n,
            settings={**self._settings(), "baseline": None if average is None else vars(average)},
            embedding=embedded.stats,
            metrics=tuple(with_seen(scores.metrics, embedded.info.tuned_on)),
            environment=environment(embedded.device),
            average_similarities=averages,
            made_by=self.digest,
            items={**scores.items, "truncated": truncated.tolist()},
            influence=scores.influence if moved is None else {**scores.influence, OWN: moved.astype(np.float32)},
        )

    def there(self) -> Result | None:
        """The result at `path`, without its items; None if there is none that this version reads."""
        try:
            return result_file.read_result(self.path)
        except InputError:
            return None

    def write(self, result: Result) -> None:
        """Writes the result's files."""
        result_file.write_result(result, self.settings.out, self.name)

    def _settings(self) -> dict:
        """The settings that a result file names, without the average similarity."""
        return {
            "top_k": self.settings.top_k if self.task.uses_top_k else None,
            "threshold": self.settings.threshold if self.task.uses_baseline else None,
            "bootstrap": self.settings.bootstrap,
            "seed": self.settings.seed,
            **self.settings.own,
        }

    def _embeddings(self) -> Embeddings:
        """The vectors of all texts, column after column."""
        if self.task.fits_words and is_word_overlap(self.embedder.spec):
            return fitted_later(self.embedder.spec, [text for column in self.dataset.texts.values() for text in column])
        return embed_dataset(self.embedder, self.dataset)


def with_seen(metrics: Sequence[Metric], tuned_on: Collection[str]) -> list[Metric]:
    """The metrics; marked are those of sets that the encoder was tuned on, and means over several if any of them is."""
    seen = {metric.test for metric in metrics if metric.test in tuned_on}
    return [
        replace(metric, seen=True) if seen and (metric.test is None or {metric.test, metric.against} & seen) else metric
        for metric in metrics
    ]


def is_of_more(there: Result | None, result: Result) -> bool:
    """Whether the result that is there is of the same data as `result` and of more items."""
    if there is None:
        return False
    same = {file.sha256 for file in there.dataset_files} == {file.sha256 for file in result.dataset_files}
    return same and there.dataset_items > result.dataset_items


def differences(there: Result | None, result: Result) -> str:
    """How the result that is there differs from `result`, which replaces it; '' if it does not, or if there is none."""
    if there is None:
        return ""
    different = []
    if there.encoder.label != result.encoder.label:
        different.append(f"encoder {there.encoder.label}")
    elif there.encoder.fingerprint != result.encoder.fingerprint:
        different.append("different weights or a different recipe")
    if [file.sha256 for file in there.dataset_files] != [file.sha256 for file in result.dataset_files]:
        different.append("different data")
    if there.dataset_items != result.dataset_items:
        different.append(f"{there.dataset_items} items")
    for name, value in there.settings.items():
        if _shown(value) != _shown(result.settings.get(name)):
            different.append(f"{name} {_shown(value)}")
    return ", ".join(different)


def _shown(setting: object) -> object:
    """A setting as a sentence names it."""
    if isinstance(setting, dict):  # an average similarity
        return setting["value"] if setting["source"] == "given" else setting["source"]
    return ",".join(setting) if isinstance(setting, list) else setting
