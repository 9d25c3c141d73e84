"""A task's data are loaded and described, without an evaluation."""

from utils.cli import run
from utils.data.catalogue import Format
from utils.evaluation.settings import parser, settings_from
from utils.schema import Dataset


def show_data(package: str, fmt: Format) -> int:
    """Loads a task's data as its evaluation would, and prints what it is, where, and under which licence.

    Takes the evaluation's flags, so that a script can hand the same ones to both steps.
    """
    flags = parser(f"{package}.build_data", f"{fmt.card.title}: finds it or fetches it, and checks it.")

    def work() -> None:
        from utils.data.loading import load

        settings = settings_from(flags.parse_args())
        dataset, found = load(fmt, settings.data, settings.limit)
        if not settings.quiet:
            print(data_sheet(fmt, dataset, found))

    return run(work)


def data_sheet(fmt: Format, dataset: Dataset, found) -> str:
    from utils.files import shown_path

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
