"""The command line of the report."""

import sys
from collections.abc import Sequence

from utils import cli
from utils.data.sources import dataset_name
from utils.files import shown_path
from utils.report.gather import newest_dataset
from utils.report.render import write_report
from utils.report.sections import sections_of
from utils.results.find import datasets
from utils.schema import shown
from utils.tables import paragraph

# The evaluation's flags that the report takes too; scripts/all_tasks.py passes them on.
TAKES = {
    "encoder": "the same as --model",
    "model": "encoders to list first, separated by commas; others with comparable results follow "
    "(variable MODEL; default all-minilm-l6-v2)",
    "data": "dataset of the results, a name or a file, or several with commas between (variable DATA; default that of "
    "the newest result)",
    "baseline": "of several average similarities, the one to show (variable BASELINE; default auto)",
    "out": "folder of the result files, and of the report (variable OUT; default results)",
    "quiet": "print where the report is and nothing else",
}


@cli.command
def main(argv: Sequence[str] | None = None) -> None:
    """Writes the report of the results on one dataset: a page, and its tables as Markdown."""
    from utils.evaluation.settings import parser, settings_from

    takes = {**TAKES, "reference": "what the others are compared with (default tfidf)"}
    flags = parser("utils.report", main.__doc__, takes)
    flags.add_argument("--reference", metavar="ENCODER")

    arguments = flags.parse_args(argv)
    settings, write = settings_from(arguments), cli.once(cli.note)
    if settings.data == "auto":
        name = newest_dataset(settings.out)
    else:
        name = settings.data if settings.data in datasets([settings.out]) else dataset_name(settings.data)
    asked = (arguments.reference, settings.data, settings.baseline)
    sections = sections_of(settings.out, name, settings.models, *asked)
    page, twin = write_report(settings.out, name, sections)
    others = [shown(other) for other in datasets([settings.out]) if other != name]
    if others and settings.data == "auto":
        cli.note(
            f"took {shown(name)}, which has the newest result; there are results on {', '.join(others)} too, which "
            "--data NAME reports"
        )
    for section in sections:
        for sentence in section.notes:
            write(sentence)
    if not settings.quiet:
        for section in sections:
            for finding in section.findings:
                cli.show(paragraph(f"{finding.heading}: {finding.text}", "  "))
    cli.show(f"report on {name}: {shown_path(page)} (open it in a browser)\ntables: {shown_path(twin)}")


if __name__ == "__main__":
    sys.exit(main())
