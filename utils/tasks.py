"""What a task is, and the list of the tasks."""

import argparse
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from utils.schema import CONTROLS, SUMMARIES, DataFile, Dataset, Difference, InputError, Metric, Result

# The packages of the tasks, in the order in which they are shown. Each has its TASK in a module `task`.
PACKAGES = ("Safety_Challenging", "Safety_Contrast", "Safety_Taxonomy", "Safety_Detection")
# What a message proposes to run where there are no results.
FIRST_SCRIPT = "scripts/safety_taxonomy.sh"

# What a list of averages begins with, by the direction of the metric. It is not called the best: see won_by_nothing.
FIRST = {"lower": "lowest", "higher": "highest"}


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
class Role:
    """A metric whose average tells something of an encoder that figures and ranks of other tasks need.

    words: its name in sentences. items: what a task's items are called.
    """

    metric: str
    words: str
    items: str


@dataclass(frozen=True)
class Drawing:
    """What a figure of a task's results is drawn from.

    results: of one task, comparable, with their items. data: the items, the dataset and the settings, for a title.
    style: one of utils.figures.style. maps: those of the task's prompts, if it has any.
    labels: of the encoders of all tasks, so that each has its colour and mark in every figure.
    """

    results: Sequence[Result]
    data: str
    style: Any
    maps: Sequence = ()
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Figure:
    """A figure of a task's results.

    name: the end of the name of its files. draw: from a drawing, inside utils.figures.style.drawing, to a figure of
    matplotlib; None if there is nothing to draw. caption: what it shows; `{metric}`, `{rows}`, `{interval}`, `{first}`
    and `{encoder}` are filled in. better: which direction is, if it does not show the headline metric.
    has_settings: whether it depends on k or on the average similarity. for_each: whether there is one for each encoder.
    how_to_read: the sentences of a paper's caption after the first, in place of those on direction, data and intervals.
    """

    name: str
    draw: Callable[[Drawing], Any]
    caption: str
    better: str = ""
    has_settings: bool = True
    for_each: bool = False
    how_to_read: Callable[[Drawing], list[str]] | None = None


def later(module: str, name: str) -> Callable[..., Any]:
    """The function `name` of a module that is imported when it is first called, as it loads what few commands need."""
    return lambda *arguments, **named: getattr(importlib.import_module(module), name)(*arguments, **named)


def constant(module: str, name: str) -> Callable[[], Any]:
    """A function that returns the value `name` of a module, which is imported when the function is first called."""
    return lambda: getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Task:
    """What a task asks, how its data are read and scored, and how its results are compared and shown.

    What it asks. package: the folder of its code; the name of its results is the package's in small letters.
    headline: the metric that ranks encoders; for detection, the metric of its headline detector. better: its direction.
    rows: the heading of a table by group.
    settings: those that affect its numbers, with the names that messages use.

    Its data. format: that of its file; None for a task of several sets.
    load: (data, limit) to the dataset and the file found, as utils.data.loading.load does. loads: names of its own
    settings that `load` takes too, where they are given.
    data_sheet: (dataset, file found) to the text that build_data prints.
    cards: (an evaluated file) to the card of what was published, None if it is not known; besides that of the format.
    published: how the dataset `paper` is called. mteb: what the metadata of MTEB say of its data.

    Its scores. add_flags, choose: add the task's own flags, and return the settings with their values.
    check: raises InputError if the settings do not fit the data, before anything is embedded.
    score: (dataset, {text column: (n, d)}, baseline or None, settings, the items' influence on the baseline, None if
    it is not of the evaluated set) to Scores.
    rescored: (items of a result, Normalization and Grouping of utils.results.normalization) to the Summaries of what
    depends on the average similarity, from the cosines kept; None for a task that does not depend on it.
    fits_words: whether the task fits TF-IDF itself, on a part of the texts, and so gets no vectors for it.
    by_items: whether its scores are means over items, so that encoders are compared item by item, and its results have
    influences. controls: those that are evaluated beside the encoders. resampled: what the bootstrap resamples within.
    up_to_date: a number of an older result file as it is written today; raises ValueError if it is not the task's.

    How its results are compared. differences: (results on the same items, a number of the first) to how much each
    further one differs from the first in it, with interval and p.
    comparing: how its encoders are compared, if not as utils.compare.paired.PairedByItems does.
    beside_headline: metrics by which encoders are compared besides. won_by_nothing: metrics by which an encoder that
    knows nothing is the best, so that they rank only encoders that are known to know something.
    knows_topics: the metric that tells whether an encoder knows topics. tells_safety: the one that tells whether it
    knows safety from words.
    spread_of: the number whose spread over instructions is shown, if it is not the average of the headline metric.
    paper_figures: the key of the paper's figures for the headline metric, None if the paper has none.

    How they are shown. tables: (results of several encoders, optionally their differences from a reference by metric)
    to the utils.tables.Table and paragraphs that are printed.
    definitions: of its metrics, by their name in words; `{k}` is filled in.
    figures: its figures, besides those by group that every task of items has. run_figure: the name of the one that a
    run draws, as the official code does; '' for none.
    findings: (the best result, how its encoder is called, its utils.compare.paired.Comparison with others or None) to
    utils.report.findings.Finding of it.
    item_scores: columns that the report reads of the items, the headline aside.
    worst_items: (result, its items, (id, text column) to a cell) to the utils.tables.Table of the items that an
    encoder gets most wrong; None if it has none.
    maps: (results with their items, all of the data, what is called with a note on each missing map) to the maps of the
    evaluated prompts; None if it has none.
    map_data: (maps, the dataset, texts by key, to which those of the map are added) to the maps for the script of the
    report's page.
    section: (folder of the results, dataset, encoders to list first) to its section of the report and the reasons if it
    has none; None for a task of items, whose sections utils.report makes.
    """

    package: str
    question: str
    headline: str
    rows: str
    settings: dict[str, str]
    load: Callable[..., tuple[Dataset, Any]]
    data_sheet: Callable[[Dataset, Any], str]
    score: Callable[..., Scores]
    differences: Callable[[Sequence[Result], Metric], list[Difference]]
    tables: Callable[..., list]
    better: str = "higher"

    format: Format | None = None
    loads: tuple[str, ...] = ()
    cards: Callable[[DataFile], Any] = lambda file: None
    published: str = "the paper's"
    mteb: dict[str, Any] = field(default_factory=dict)

    add_flags: Callable[[argparse.ArgumentParser], None] = lambda flags: None
    choose: Callable[[argparse.Namespace, Any], Any] = lambda arguments, settings: settings
    check: Callable[[Dataset, Any], None] = lambda dataset, settings: None
    rescored: Callable[[dict[str, list], Any, Any], Any] | None = None
    fits_words: bool = False
    by_items: bool = True
    controls: tuple[str, ...] = CONTROLS
    resampled: str = "within type or category"
    up_to_date: Callable[[Metric], Metric] = lambda metric: metric

    comparing: Callable[[], Any] | None = None
    beside_headline: tuple[str, ...] = ()
    won_by_nothing: tuple[str, ...] = ()
    knows_topics: Role | None = None
    tells_safety: Role | None = None
    spread_of: Callable[[Result], Metric | None] | None = None
    paper_figures: str | None = None

    definitions: dict[str, str] = field(default_factory=dict)
    figures: Callable[[], Sequence[Figure]] = lambda: ()
    run_figure: str = ""
    findings: Callable[[Result, str, Any], Sequence] = lambda best, name, comparison: ()
    item_scores: tuple[str, ...] = ()
    worst_items: Callable[[Result, list[dict], Callable[[str, str], Any]], Any] | None = None
    maps: Callable[[Sequence[Result], Dataset, Callable[[str], None]], Sequence] | None = None
    map_data: Callable[[Sequence, Dataset, dict[str, str]], dict] = lambda maps, dataset, texts: {}
    section: Callable[[Path, str, Sequence[str]], tuple[Any, list[str]]] | None = None

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
    def file_format(self) -> Format:
        """The format of its file. Raises InputError if it has several sets."""
        if self.format is None:
            raise InputError(f"{self.name}: reads several sets, which are in no file of one format")
        return self.format

    @property
    def summaries(self) -> tuple[str, ...]:
        """The names of means over several groups in its results."""
        return self.format.summaries if self.format else SUMMARIES

    @property
    def uses_top_k(self) -> bool:
        """Whether k affects its numbers."""
        return "top_k" in self.settings

    @property
    def uses_baseline(self) -> bool:
        """Whether the average similarity affects its numbers; only such a task has a threshold."""
        return "threshold" in self.settings

    def card_of(self, file: DataFile) -> Any:
        """The card of an evaluated file, which has source, licence and citation; None if it is not known."""
        if self.format is not None and self.format.card.sha256 == file.sha256:
            return self.format.card
        return self.cards(file)

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


def topics_task() -> tuple[Task, Role] | None:
    """The task by whose metric encoders are known to know topics, and that metric; None if there is none."""
    return next(((task, task.knows_topics) for task in TASKS.values() if task.knows_topics), None)


def tasks_by_items() -> list[Task]:
    """The tasks that compare encoders item by item."""
    return [task for task in TASKS.values() if task.by_items]
