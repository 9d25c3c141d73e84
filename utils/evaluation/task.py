"""A task as the code that runs it sees it."""

import argparse
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from utils.data.catalogue import Format
from utils.data.loading import load
from utils.data.sources import Found
from utils.evaluation.settings import Settings, parser, settings_from
from utils.files import shown_path
from utils.results.paired import item_differences
from utils.schema import Dataset, Difference, Metric, Result
from utils.tasks import About


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
    """A task as the code that runs it needs it.

    about: its description.
    load: (data, limit) to the dataset and the file found, as utils.data.loading.load does.
    data_sheet: (dataset, file found) to the text that build_data prints.
    score: (dataset, {text column: (n, d)}, baseline or None, settings, the items' influence on the average similarity
    of the evaluated set or None) to Scores.
    table: results of several encoders to the printed text.
    check: raises InputError if the settings do not fit the data, before anything is embedded.
    loads: names of its own settings that `load` takes too, where they are given.
    differences: (results on the same items, a number of the first) to how much each further one differs from the first
    in it, with interval and p.
    fits_words: whether the task fits TF-IDF itself, on a part of the texts, and so gets no vectors for it.
    add_flags, choose: add the task's own flags, and return the settings with their values.
    """

    about: About
    load: Callable[..., tuple[Dataset, Found]]
    data_sheet: Callable[[Dataset, Found], str]
    score: Callable[..., Scores]
    table: Callable[[Sequence[Result]], str]
    check: Callable[[Dataset, Settings], None] = lambda dataset, settings: None
    differences: Callable[[Sequence[Result], Metric], list[Difference]] = item_differences
    loads: tuple[str, ...] = ()
    fits_words: bool = False
    add_flags: Callable[[argparse.ArgumentParser], None] = lambda flags: None
    choose: Callable[[argparse.Namespace, Settings], Settings] = lambda arguments, settings: settings

    @property
    def name(self) -> str:
        """The name of its results."""
        return self.about.name

    @property
    def uses_top_k(self) -> bool:
        """Whether k affects its numbers."""
        return "top_k" in self.about.settings

    @property
    def uses_baseline(self) -> bool:
        """Whether the average similarity affects its numbers; only such a task has a threshold."""
        return "threshold" in self.about.settings

    def data(self, settings: Settings) -> tuple[Dataset, Found]:
        """The dataset that the settings name, and the file found."""
        own = {name: settings.own[name] for name in self.loads if name in settings.own}
        return self.load(settings.data, settings.limit, **own)

    def settings(self, step: str, description: str, argv: Sequence[str] | None) -> Settings:
        """The user's settings for a step of the task, `build_data` or `evaluate`; both take the same flags."""
        flags = parser(f"{self.about.package}.{step}", description)
        self.add_flags(flags)
        arguments = flags.parse_args(argv)
        return self.choose(arguments, settings_from(arguments))


def task_of(fmt: Format, about: About, **parts) -> Task:
    """A task whose data is one file in the format `fmt`. parts: the other fields of Task."""
    return Task(about, functools.partial(load, fmt), functools.partial(_data_sheet, fmt), **parts)


def _data_sheet(fmt: Format, dataset: Dataset, found: Found) -> str:
    what = "the bundled SAMPLE" if found.name == "sample" else fmt.card.title
    lines = [
        f"{what}: {len(dataset)} rows in {len(dataset.group_order)} groups ({fmt.group_column})",
        f"  file     {shown_path(found.path)} ({found.how})",
        f"  sha256   {found.sha256}",
        f"  licence  {found.licence}",
    ]
    if found.name == "paper":
        lines += [f"  source   {fmt.card.source}", f"  cite     {fmt.card.citation}"]
    return "\n".join([*lines, *(f"  note     {sentence}" for sentence in dataset.notes)])
