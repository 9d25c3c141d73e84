"""The settings of an evaluation: its flags, their variables, and checks of both."""

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from utils import config
from utils.cli import (
    Parser,
    add_encoder_options,
    chosen,
    decimal,
    encoder_options,
    share,
    value_of,
    whole,
    with_variable,
)
from utils.schema import EncoderOptions, InputError
from utils.tasks import Task

CHOICES = ("auto", "paper", "beavertails", "own")


def parse_baseline(text: str) -> str | float:
    """One of CHOICES, or a number below 1. Raises InputError otherwise."""
    if text in CHOICES:
        return text
    value = decimal(text)
    if not -1 <= value < 1:
        raise InputError(f"--baseline {text}: give {', '.join(CHOICES)} or a number of at least -1 and below 1")
    return value


@dataclass(frozen=True)
class Settings:
    """The checked choices of a user. own: the values of the task's own flags, as in the result file."""

    models: tuple[str, ...]
    data: str
    top_k: int
    threshold: float
    baseline: str | float
    out: Path
    limit: int | None
    bootstrap: int
    seed: int
    quiet: bool
    use_store: bool
    encoder: EncoderOptions
    prompt_spread: bool = False
    figures: bool = True
    own: dict = field(default_factory=dict)

    def intervals(self, bounds: tuple[float, float] | None) -> dict:
        """The arguments of `summarise` for the intervals of values within `bounds`."""
        return {"resamples": self.bootstrap, "seed": self.seed, "bounds": bounds}


def parser(
    program: str, description: str | None, takes: Mapping[str, str] | None = None, unused: Collection[str] = ()
) -> argparse.ArgumentParser:
    """A parser of the flags of an evaluation, or only of those in `takes`. Documented variables are their defaults.

    unused: variables of which neither the flag nor the value is taken, as nothing depends on them.
    """
    flags = Parser(prog=f"python -m {program}", description=description, takes=takes)
    flags.add_argument("encoder", nargs="?", metavar="ENCODER", help="the same as --model")

    def add(flag: str, variable: str, text: str, metavar: str) -> None:
        if variable in unused:
            flags.set_defaults(**{variable.lower(): config.VARIABLES[variable][0]})
        else:
            flags.add_argument(flag, help=with_variable(text, variable), metavar=metavar)

    add("--model", "MODEL", "encoder, or several, separated by commas", metavar="NAMES")
    add("--data", "DATA", "auto, paper, sample or a file", metavar="DATA")
    add("--top-k", "TOP_K", "neighbours counted by Categorical Purity and by knn_vote", metavar="K")
    add("--threshold", "THRESHOLD", "limit of pairwise accuracy", metavar="T")
    add("--baseline", "BASELINE", "average similarity: auto, paper, beavertails, own or a number", metavar="B")
    add("--out", "OUT", "folder of the result files", metavar="FOLDER")
    add_encoder_options(flags)
    rows, seed = "evaluate N rows only, taken in turn from each group", "seed of what is drawn at random (default 42)"
    resamples = "resamples for intervals, 0 for none (default 10000)"
    flags.add_argument("--limit", metavar="N", type=whole(2), help=rows)
    flags.add_argument("--bootstrap", metavar="N", type=_resamples, default=10_000, help=resamples)
    flags.add_argument("--seed", metavar="N", type=whole(0), default=42, help=seed)
    flags.add_argument(
        "--no-cache",
        action="store_true",
        help="compute again: reuse no result, nor the embedding store",
    )
    flags.add_argument("--no-figures", action="store_true", help="draw no figure")
    flags.add_argument("--quiet", action="store_true", help="print the tables and nothing else")
    flags.add_argument(
        "--prompt-spread",
        action="store_true",
        help="only say how much the score, and the difference between several encoders, depends on the instruction: "
        "the documented one, none and four others",
    )
    return flags


def settings_from(arguments: argparse.Namespace) -> Settings:
    """The settings by flags and variables. Raises InputError, naming the flag or variable, for a value out of range."""
    if arguments.encoder is not None:
        if arguments.model is not None and arguments.model != arguments.encoder:
            raise InputError(f"--model {arguments.model}: {arguments.encoder} was named too; give one of them")
        arguments.model = arguments.encoder
    model, where = chosen(arguments, "model")
    models = tuple(dict.fromkeys(name.strip() for name in model.split(",") if name.strip()))
    if not models:
        raise InputError(f"{where}: names no encoder; python -m utils.encoders lists them")

    if arguments.prompt_spread and arguments.prompt is not None:
        raise InputError("--prompt-spread: tries instructions of its own; leave --prompt out")
    return Settings(
        models=models,
        data=chosen(arguments, "data")[0],
        top_k=value_of(arguments, "top_k", whole(1)),
        threshold=value_of(arguments, "threshold", share),
        baseline=parse_baseline(chosen(arguments, "baseline")[0]),
        out=config.results_directory(chosen(arguments, "out")[0]),
        limit=arguments.limit,
        bootstrap=arguments.bootstrap,
        seed=arguments.seed,
        quiet=arguments.quiet,
        use_store=not arguments.no_cache,
        encoder=encoder_options(arguments),
        prompt_spread=arguments.prompt_spread,
        figures=not arguments.no_figures,
    )


def settings_of(task: Task, step: str, description: str, argv: Sequence[str] | None) -> Settings:
    """The user's settings for a step of a task, `build_data` or `evaluate`; both take the same flags."""
    unused = (() if task.uses_top_k else ("TOP_K",)) + (() if task.uses_baseline else ("THRESHOLD", "BASELINE"))
    flags = parser(f"{task.package}.{step}", description, unused=unused)
    task.add_flags(flags)
    arguments = flags.parse_args(argv)
    return task.choose(arguments, settings_from(arguments))


def _resamples(text: str) -> int:
    resamples = whole(0)(text)
    if 0 < resamples < 1000 or resamples > 1_000_000:
        raise InputError("give 0 for no intervals, or 1000 to 1000000 resamples")
    return resamples
