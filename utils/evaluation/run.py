"""Runs a task: data in, scores, result files and tables out."""

import sys
from collections.abc import Sequence

from utils import cli
from utils.evaluation.settings import Settings, parser, settings_from, settings_of
from utils.files import shown_path
from utils.schema import Dataset, InputError, Result, printable
from utils.tasks import Task


@cli.command
def evaluate(task: Task, argv: Sequence[str] | None = None) -> None:
    """Runs a task for each encoder asked for: embeds, scores, writes result files, prints the tables.

    The data sheet is printed first, unless --quiet is given.
    """
    settings = settings_of(task, "evaluate", f"{task.title}: {task.question}", argv)
    dataset, found = task.data(settings)
    if not settings.quiet:
        print(printable(task.data_sheet(dataset, found)), file=sys.stderr)
    if settings.prompt_spread:
        from utils.evaluation.spread import spread

        cli.show(spread(task, dataset, settings, cli.notes(settings)))
    else:
        _evaluate([task], {task.name: dataset}, settings)


@cli.command
def evaluate_all(
    tasks: Sequence[Task], program: str, argv: Sequence[str] | None = None, show_data: bool = True
) -> None:
    """Runs several tasks as `evaluate` does each, and loads every encoder once for all of them.

    show_data: whether to print each task's data sheet first; --quiet leaves it out too.
    """
    flags = parser(program, f"{', '.join(task.title for task in tasks)}: one after the other.")
    settings = settings_from(flags.parse_args(argv))
    datasets = {}
    for task in tasks:
        datasets[task.name], found = task.data(settings)
        if show_data and not settings.quiet:
            print(printable(task.data_sheet(datasets[task.name], found)), file=sys.stderr)
    _evaluate(tasks, datasets, settings)


@cli.command
def show_data(task: Task, argv: Sequence[str] | None = None) -> None:
    """Loads a task's data as its evaluation would, and prints what they are, where, and under which licence.

    Takes the evaluation's flags, so that a script can pass the same flags to both steps.
    """
    about = f"{task.title}: finds its data or fetches them, and checks them."
    settings = settings_of(task, "build_data", about, argv)
    dataset, found = task.data(settings)
    if not settings.quiet:
        cli.show(task.data_sheet(dataset, found))


def _evaluate(tasks: Sequence[Task], datasets: dict[str, Dataset], settings: Settings) -> None:
    from utils.evaluation.encoders import evaluate_encoders
    from utils.evaluation.printed import printed

    note = cli.notes(settings)
    results = evaluate_encoders(tasks, datasets, settings, note)
    parts = [printed(task, datasets[task.name], results[task.name], settings.out) for task in tasks]
    cli.show("\n\n\n".join(parts))
    if settings.figures:
        for task in tasks:
            draw(task, results[task.name], datasets[task.name], settings)


def draw(task: Task, results: Sequence[Result], dataset: Dataset, settings: Settings) -> None:
    """Draws the figure of a task's run, and names its files. A figure that can't be drawn ends no run."""
    if not task.run_figure:
        return
    from utils.figures.draw import draw_run

    note = cli.notes(settings)
    try:
        paths = draw_run(task, results, dataset, settings.out, note)
    except InputError as error:
        return note(f"without its figure: {error}")
    for path in paths if not settings.quiet else ():
        cli.show(f"figure: {shown_path(path)}")
