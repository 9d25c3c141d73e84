"""Finds what an encoder is tuned on, or fetches it, and prints what is tuned on, what is left out, and why."""

import argparse
import sys
from collections.abc import Sequence

from Safety_Tuning import training_side
from Safety_Tuning.evaluate import settings_of
from Safety_Tuning.evaluation import datasets_of, evaluated_prompts
from utils import cli


@cli.command
def main(argv: Sequence[str] | None = None) -> None:
    """Finds the sets that an encoder is tuned on, or fetches them, and counts what is left out and why."""
    flags = cli.Parser(prog="python -m Safety_Tuning.build_data", description=main.__doc__)
    flags.add_argument("--data", metavar="DATA", help="sets to tune on, as for detection (variable DATA)")
    arguments = flags.parse_args(argv)
    settings = settings_of(argparse.Namespace(seed=42, quiet=True), ["random"])
    prompts = evaluated_prompts(datasets_of("auto", settings))
    cli.show(training_side.data_sheet(*training_side.load(cli.chosen(arguments, "data")[0], prompts)))


if __name__ == "__main__":
    sys.exit(main())
