"""The command line that sets the paper's tables beside ours; scripts/reproduce.sh runs the evaluations."""

import sys
from argparse import SUPPRESS
from collections.abc import Sequence
from pathlib import Path

from utils import config
from utils.reproduce import machine
from utils.reproduce.cells import chosen_encoders, read_reproduction
from utils.reproduce.tables import FORMATS, plan_table, rendered
from utils.schema import InputError


def _read_journal(path: Path) -> dict[str, str]:
    """What scripts/reproduce.sh ran: an encoder's name to why it failed, empty if it did not."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return dict(line.split("\t", 1) for line in lines)


def _plan(names: Sequence[str], device: str, dtype: str) -> int:
    obstacles = machine.obstacles(names, device, dtype)
    print(f"{plan_table(obstacles, dtype)}\n", file=sys.stderr)
    for name, found in obstacles.items():
        if not found:
            print(name)
    return 0


def _table(names: Sequence[str], out: Path, dtype: str, form: str, journal: Path | None) -> int:
    ran = None if journal is None else _read_journal(journal)
    compared, reasons = [], []
    for name in names:
        try:
            compared.append(read_reproduction(name, out, dtype))
        except InputError as error:
            # Of one that did not run here there need not be a result; the plan has said why.
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
        print(reason, file=sys.stderr)
    print(
        f"incomplete: {len(left)} of {len(names)} not run and compared ({', '.join(left)}); the reasons stand above",
        file=sys.stderr,
    )
    return 3


def main(argv: Sequence[str] | None = None) -> int:
    """The paper's eleven encoders: runs those that can run here on the paper's data, and sets the paper's two tables
    beside ours. (`python -m utils.reproduce table` runs none; `plan` names those that can run.)"""
    from utils.cli import Parser, device_and_dtype, run

    usage = "scripts/reproduce.sh [ENCODER ...] [--device DEVICE] [--dtype DTYPE] [--out FOLDER] [--no-cache]"
    flags = Parser(usage=f"{usage} [--format FORMAT]", description=main.__doc__, allow_abbrev=False)
    flags.add_argument("command", choices=("plan", "table"), help=SUPPRESS)
    flags.add_argument("encoders", nargs="*", metavar="ENCODER", help="which of the eleven (default: all)")
    flags.add_argument("--device", metavar="DEVICE", help="auto, cuda, mps or cpu (variable DEVICE)")
    flags.add_argument("--dtype", metavar="DTYPE", help="auto, float32, bfloat16 or float16 (variable DTYPE)")
    flags.add_argument("--out", metavar="FOLDER", help="folder of the result files (variable OUT)")
    flags.add_argument("--no-cache", action="store_true", help="neither read nor write the embedding store")
    flags.add_argument("--format", metavar="FORMAT", default="text", help="text, markdown or csv")
    flags.add_argument("--ran", metavar="FILE", type=Path, help=SUPPRESS)  # what the script has run

    def work() -> int:
        arguments = flags.parse_intermixed_args(argv)
        names = chosen_encoders(arguments.encoders)
        device, dtype = device_and_dtype(arguments)
        if arguments.format not in FORMATS:
            raise InputError(f"--format {arguments.format}: give one of {', '.join(FORMATS)}")
        if arguments.command == "plan":
            return _plan(names, device, dtype)
        return _table(names, config.results_directory(arguments.out), dtype, arguments.format, arguments.ran)

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
