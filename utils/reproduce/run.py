"""The paper's encoders evaluated on its data, each in a process of its own."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils import config
from utils.tasks import TASKS

# As flags, so that no variable changes them; auto takes the paper's average similarity for the paper's encoders.
PAPERS_SETTING = ("--data=paper", "--baseline=auto", "--top-k=10", "--no-figures")
INTERRUPTED, KILLED = 130, 137


def evaluate_encoders(names: Sequence[str], device: str, dtype: str, out: Path, use_store: bool) -> dict[str, str]:
    """Evaluates those of the paper's encoders `names` that can run here, on both tasks of the paper's tables.

    An encoder that fails, or is killed because memory runs out, does not end the others. A child process decides what
    can run too (`utils.reproduce plan`), because to measure a GPU's free memory takes some until the process ends.

    Returns why each encoder that was run failed, '' if it did not. Raises SystemExit if a child process could not plan
    or find the data, with its exit status, and with 130 after Ctrl-C; the child process has printed the reason.
    """
    choices = [f"--device={device}", f"--dtype={dtype}"]
    runnable = _checked("utils.reproduce", "plan", *names, *choices, stdout=subprocess.PIPE).split()
    flags = [*choices, f"--out={out}", *PAPERS_SETTING, *([] if use_store else ["--no-cache"])]
    for package in _packages() if runnable else ():
        _checked(f"{package}.build_data", "--data=paper", stdout=sys.stderr)
    return {name: _evaluate(name, flags) for name in runnable}


def _packages() -> list[str]:
    """The packages of the tasks of the paper's tables."""
    return [task.package for task in TASKS.values() if task.paper_figures]


def _evaluate(name: str, flags: Sequence[str]) -> str:
    """Evaluates one encoder, and returns why that failed, '' if it did not."""
    print(f"reproduce.sh: {' and '.join(_packages())} with {name}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        error = Path(folder) / "error"
        environment = config.environment_with(SAFE_EMBED_ERROR_FILE=str(error))
        arguments = (f"--model={name}", *flags)
        status, _ = _child("scripts.paper_tasks", *arguments, stdout=subprocess.DEVNULL, env=environment)
        if status == INTERRUPTED:
            raise SystemExit(status)
        if status == KILLED:
            return f"killed (exit status {status}), most likely because memory ran out"
        if status and error.is_file():
            return error.read_text(encoding="utf-8").strip()
        return f"ended with exit status {status}" if status else ""


def _checked(module: str, *arguments: str, **more: Any) -> str:
    status, output = _child(module, *arguments, **more)
    if status:
        raise SystemExit(status)
    return output


def _child(module: str, *arguments: str, **more: Any) -> tuple[int, str]:
    """The exit status of a module in a child process, 128 + n after signal n as in a shell, and its output if piped."""
    with subprocess.Popen([sys.executable, "-m", module, *arguments], text=True, **more) as child:
        try:
            output, _ = child.communicate()
        except KeyboardInterrupt:  # Ctrl-C reaches the child process too, which stores what it has and reports it
            child.wait()
            return INTERRUPTED, ""
    status = child.returncode
    return (128 - status if status < 0 else status), output
