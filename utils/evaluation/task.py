"""What a task is to the code that runs it."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from utils.data.catalogue import Format
from utils.data.sources import Found
from utils.evaluation.settings import Settings, parser, settings_from
from utils.schema import Dataset, Metric, Result


@dataclass(frozen=True)
class Scores:
    """What a task makes of one encoder's vectors. items: column name to n values, `id` and the group first."""

    items: dict[str, list]
    metrics: list[Metric]


@dataclass(frozen=True)
class Task:
    """A task as the command line needs it.

    uses_top_k, uses_baseline: which settings enter its numbers (the threshold goes with the baseline).
    check: raises InputError if the settings do not fit the data, before anything is embedded.
    score: (dataset, {text column: (n, d)}, baseline or None, settings) to Scores.
    table: results of several encoders to the text that is printed.
    format: None for a task that has its own way to its data: `folder`, its package, and `load`, as sources.load is.
    fits_words: whether the task fits TF-IDF itself, on a part of the texts; it gets no vectors for it then.
    add_flags, choose: what the task's own flags are, and the settings with what they say.
    published: what the data of the name `paper` are called; resampled: within what the bootstrap draws.
    """

    name: str
    title: str
    question: str
    format: Format | None
    uses_top_k: bool
    uses_baseline: bool
    check: Callable[[Dataset, Settings], None]
    score: Callable[..., Scores]
    table: Callable[[Sequence[Result]], str]
    folder: str = ""
    load: Callable[[str, int | None], tuple[Dataset, Found]] | None = None
    fits_words: bool = False
    add_flags: Callable[[argparse.ArgumentParser], None] = lambda flags: None
    choose: Callable[[argparse.Namespace, Settings], Settings] = lambda arguments, settings: settings
    published: str = "the paper's"
    resampled: str = "within type or category"

    @property
    def package(self) -> str:
        """The folder of the task's own code."""
        return self.folder if self.format is None else self.format.folder

    def settings(self, argv: Sequence[str] | None, step: str) -> Settings:
        """What a person chose for a step of the task, `build_data` or `evaluate`: both take the same flags."""
        flags = parser(f"{self.package}.{step}", f"{self.title}: {self.question}")
        self.add_flags(flags)
        arguments = flags.parse_args(argv)
        return self.choose(arguments, settings_from(arguments))
