"""Runs the tasks that compare encoders by items, loading each encoder once, then writes the report."""

import sys
from collections.abc import Sequence

from utils.evaluation.run import evaluate_all
from utils.evaluation.settings import parser
from utils.report import __main__ as report_main
from utils.tasks import tasks_by_items

PROGRAM = "scripts.all_tasks"


def of_report(argv: Sequence[str]) -> list[str]:
    """The arguments of the evaluations that the report takes too."""
    given = vars(parser(PROGRAM, "").parse_args(argv))
    values = [f"--{name}={given[name]}" for name in report_main.TAKES if isinstance(given.get(name), str)]
    return [value.removeprefix("--encoder=") for value in values] + ["--quiet"] * given["quiet"]


if __name__ == "__main__":
    sys.exit(evaluate_all(tasks_by_items(), PROGRAM) or report_main.main(of_report(sys.argv[1:])))
