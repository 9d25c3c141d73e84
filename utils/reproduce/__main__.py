"""The command line of scripts/reproduce.sh: evaluates the paper's encoders and compares the results with its tables."""

import contextlib
import sys
from argparse import SUPPRESS
from collections.abc import Mapping, Sequence
from pathlib import Path

from utils import config
from utils.encoders.paper import paper_figures
from utils.files import shown_path
from utils.reproduce import machine
from utils.reproduce.cells import chosen_encoders, read_reproduction
from utils.reproduce.run import evaluate_encoders
from utils.reproduce.tables import FORMATS, plan_table, rendered
from utils.schema import InputError, one_line
from utils.tables import text_table


def _plan(names: Sequence[str], device: str, dtype: str) -> int:
    obstacles = machine.obstacles(names, device, dtype)
    print(f"{text_table(plan_table(obstacles, dtype))}\n", file=sys.stderr)
    for name, found in obstacles.items():
        if not found:
            print(name)
    return 0


def _table(names: Sequence[str], out: Path, dtype: str, form: str, ran: Mapping[str, str] | None) -> int:
    """Prints the comparison. ran: why each encoder that was run failed, '' if it did not; None if none was to run."""
    compared, reasons = [], []
    for name in names:
        try:
            compared.append(read_reproduction(name, out, dtype))
        except InputError as error:
            # An encoder that could not run here need not have a result; the plan has given the reason.
            if ran is None or ran.get(name) == "":
                reasons.append(str(error))
    done = [one.name for one in compared]
    if ran is not None:
        reasons.extend(f"{name} failed: {ran[name]}" for name in names if ran.get(name))
        done = [name for name in done if ran.get(name) == ""]
    if compared:
        print(rendered(compared, form, [one.name for one in compared if one.name not in done]), flush=True)
    left = [name for name in names if name not in done]
    if not left:
        return 0
    for reason in reasons:
        print(one_line(reason), file=sys.stderr)
    print(
        f"incomplete: {len(left)} of {len(names)} not run and compared ({', '.join(left)}); see the reasons above",
        file=sys.stderr,
    )
    return 3


def _draw(out: Path, dtype: str) -> None:
    """Draws the paper's rows and all of ours, and names the files. A figure that can't be drawn ends no run."""
    from utils.cli import note

    found = []
    for name in paper_figures():
        with contextlib.suppress(InputError):  # the table has given the reason
            found.append(read_reproduction(name, out, dtype))
    if not found:
        return
    from utils.reproduce.figures import draw_heatmaps

    try:
        for path in draw_heatmaps(found, out, dtype):
            note(f"figure: {shown_path(path)}")
    except InputError as error:
        note(f"without its figure: {error}")


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluates those of the paper's eleven encoders that can run here, on the paper's data, and compares the results
    with the paper's two tables. (`python -m utils.reproduce table` only compares; `plan` only lists what can run.)"""
    from utils.cli import Parser, device_and_dtype, run

    usage = "scripts/reproduce.sh [ENCODER ...] [--device DEVICE] [--dtype DTYPE] [--out FOLDER] [--no-cache]"
    flags = Parser(usage=f"{usage} [--format FORMAT] [--no-figures]", description=main.__doc__, allow_abbrev=False)
    flags.add_argument("command", choices=("run", "plan", "table"), help=SUPPRESS)
    flags.add_argument("encoders", nargs="*", metavar="ENCODER", help=f"{', '.join(paper_figures())} (default: all)")
    flags.add_argument("--device", metavar="DEVICE", help="auto, cuda, mps or cpu (variable DEVICE)")
    flags.add_argument("--dtype", metavar="DTYPE", help="auto, float32, bfloat16 or float16 (variable DTYPE)")
    flags.add_argument("--out", metavar="FOLDER", help="folder of the result files (variable OUT)")
    flags.add_argument("--no-cache", action="store_true", help="neither read nor write the embedding store")
    flags.add_argument("--format", metavar="FORMAT", choices=FORMATS, default="text", help=", ".join(FORMATS))
    flags.add_argument("--no-figures", action="store_true", help="draw no heatmap of the paper's rows and ours")

    def work() -> int:
        arguments = flags.parse_intermixed_args(argv)
        names = chosen_encoders(arguments.encoders)
        device, dtype = device_and_dtype(arguments)
        if arguments.command == "plan":
            return _plan(names, device, dtype)
        out, ran = config.results_directory(arguments.out), None
        if arguments.command == "run":
            ran = evaluate_encoders(names, device, dtype, out, use_store=not arguments.no_cache)
        status = _table(names, out, dtype, arguments.format, ran)
        if arguments.command == "run" and not arguments.no_figures:
            _draw(out, dtype)
        return status

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
