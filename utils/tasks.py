"""What a task is, and the list of the tasks."""

import argparse
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from utils.schema import CONTROLS, SUMMARIES, Dataset, Difference, Metric, Result

# The packages of the tasks, in the order in which they are shown. Each has its TASK in a module `task`.
PACKAGES = ("Safety_Challenging", "Safety_Contrast", "Safety_Taxonomy", "Safety_Detection")
# What a message proposes to run where there are no results.
FIRST_SCRIPT = "scripts/safety_taxonomy.sh"

# What a list of averages begins with, by the direction of the metric. It is not called the best: see won_by_nothing.
FIRST = {"lower": "lowest", "higher": "highest"}
# The captions of the figures that every task of items has.
BY_GROUP = {
    "heatmap": "{metric} by encoder and {rows}; the average is last",
    "average": "{metric}: the average of each encoder{interval}, {first} first",
}


@dataclass(frozen=True)
class DataCard:
    """A dataset file's provenance. `sha256` is that of the published bytes, `rows` their number of rows."""

    title: str
    file: str
    url: str
    sha256: str
    rows: int
    licence: str
    source: str
    citation: str


@dataclass(frozen=True)
class Format:
    """The columns that a task reads from a file, and the names that its groups may have.

    text_columns: that of the unsafe prompts, then those of their safe counterparts, if the task has them.
    known_groups: name in the file to the name shown, in the order shown.
    summaries: the names of means over several groups in the results, which no group may have.
    """

    card: DataCard
    folder: str
    sample: str
    group_column: str
    text_columns: tuple[str, ...]
    known_groups: dict[str, str]
    summaries: tuple[str, ...] = SUMMARIES

    @property
    def columns(self) -> tuple[str, ...]:
        return ("id", self.group_column, *self.text_columns)

    @property
    def readme(self) -> str:
        return f"{self.folder}/README.md"


@dataclass(frozen=True)
class Scores:
    """The scores of one encoder on a task.

    items: column name to n values, `id` and the group first. influence: as in a Result.
    """

    items: dict[str, list]
    metrics: list[Metric]
    influence: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """What a task asks, how its data are read and scored, and how its results are shown and compared.

    package: the folder of its code. The name of its results is the package's in small letters.
    headline: the metric that ranks encoders; for detection, the metric of its headline detector.
    grouped_by: the column of the items that holds their groups.
    settings: those that affect its numbers, with the names that messages use.
    rows: the heading of a table by group.
    load: (data, limit) to the dataset and the file found, as utils.data.loading.load does.
    data_sheet: (dataset, file found) to the text that build_data prints.
    score: (dataset, {text column: (n, d)}, baseline or None, settings, the items' influence on the average similarity
    of the evaluated set or None) to Scores.
    table: results of several encoders to the printed text.
    differences: (results on the same items, a number of the first) to how much each further one differs from the first
    in it, with interval and p.
    format: that of its file; None for a task of several sets.
    check: raises InputError if the settings do not fit the data, before anything is embedded.
    loads: names of its own settings that `load` takes too, where they are given.
    fits_words: whether the task fits TF-IDF itself, on a part of the texts, and so gets no vectors for it.
    add_flags, choose: add the task's own flags, and return the settings with their values.
    by_items: whether its scores are means over items, so that encoders are compared item by item, and its results have
    influences.
    up_to_date: a number of an older result file as it is written today; raises ValueError if it is not the task's.
    controls: those that are evaluated beside the encoders.
    shown_beside: (metric, group) of what a report shows beside the headline.
    item_scores: columns that the report reads of the items, the headline aside.
    captions: what each figure shows, by the end of its name; `{metric}`, `{rows}`, `{interval}`, `{first}` and
    `{encoder}` are filled in.
    beside_headline: metrics by which encoders are compared besides. won_by_nothing: metrics by which an encoder that
    knows nothing is the best, so that they rank only encoders that are known to know something.
    paper_figures: the key of the paper's figures for the headline metric, None if the paper has none.
    published: how the dataset `paper` is called. resampled: what the bootstrap resamples within.
    """

    package: str
    question: str
    headline: str
    grouped_by: str
    settings: dict[str, str]
    rows: str
    load: Callable[..., tuple[Dataset, Any]]
    data_sheet: Callable[[Dataset, Any], str]
    score: Callable[..., Scores]
    table: Callable[[Sequence[Result]], str]
    differences: Callable[[Sequence[Result], Metric], list[Difference]]
    format: Format | None = None
    check: Callable[[Dataset, Any], None] = lambda dataset, settings: None
    loads: tuple[str, ...] = ()
    fits_words: bool = False
    add_flags: Callable[[argparse.ArgumentParser], None] = lambda flags: None
    choose: Callable[[argparse.Namespace, Any], Any] = lambda arguments, settings: settings
    by_items: bool = True
    up_to_date: Callable[[Metric], Metric] = lambda metric: metric
    controls: tuple[str, ...] = CONTROLS
    shown_beside: tuple[tuple[str, str], ...] = ()
    item_scores: tuple[str, ...] = ()
    captions: dict[str, str] = field(default_factory=dict)
    beside_headline: tuple[str, ...] = ()
    won_by_nothing: tuple[str, ...] = ()
    paper_figures: str | None = None
    published: str = "the paper's"
    resampled: str = "within type or category"

    @property
    def name(self) -> str:
        """The name of its results."""
        return self.package.lower()

    @property
    def title(self) -> str:
        """The name that people read."""
        return self.package.replace("_", "-")

    @property
    def metric(self) -> str:
        """The headline metric in words."""
        return self.headline.replace("_", " ")

    @property
    def uses_top_k(self) -> bool:
        """Whether k affects its numbers."""
        return "top_k" in self.settings

    @property
    def uses_baseline(self) -> bool:
        """Whether the average similarity affects its numbers; only such a task has a threshold."""
        return "threshold" in self.settings

    def data(self, settings: Any) -> tuple[Dataset, Any]:
        """The dataset that the settings of an evaluation name, and the file found."""
        own = {name: settings.own[name] for name in self.loads if name in settings.own}
        return self.load(settings.data, settings.limit, **own)


class _Tasks(Mapping[str, Task]):
    """The tasks by name. A task's package is imported when the task is asked for, and not for its name."""

    def __getitem__(self, name: str) -> Task:
        for package in PACKAGES:
            if package.lower() == name:
                # The packages may be loaded inside another one: see integrations/on_path.
                return importlib.import_module(f"{__name__.removesuffix('utils.tasks')}{package}.task").TASK
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return map(str.lower, PACKAGES)

    def __len__(self) -> int:
        return len(PACKAGES)


TASKS = _Tasks()


def tasks_by_items() -> list[Task]:
    """The tasks that compare encoders item by item."""
    return [task for task in TASKS.values() if task.by_items]
