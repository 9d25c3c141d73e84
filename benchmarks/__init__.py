"""What the benchmarks share."""

import os
import subprocess
import sys
from pathlib import Path

from utils.schema import InputError, shown

ROOT = Path(__file__).resolve().parents[1]


def finished(*command, **environment: str) -> str:
    """The standard output of Python, run with these arguments in the repository's root.

    Raises InputError with the last line of its standard error if it fails.
    """
    run = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True
    )
    refuse_failure(command, run.returncode, run.stderr)
    return run.stdout


def refuse_failure(command, status: int, said: str) -> None:
    """Raises InputError with the last line of a command's output if its status is not 0."""
    if status:
        last = (said.strip().splitlines() or ["(it said nothing)"])[-1].removeprefix("error: ")
        raise InputError(f"{shown(' '.join(map(str, command[:2])))} ended with status {status}: {last}")


def positive(text: str, where: str) -> float:
    """The positive number that a flag holds. Raises InputError, naming `where`, for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise InputError(f"{where} {text}: give a number above 0")
    return value
