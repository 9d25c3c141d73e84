"""What the command lines share: flags, checked numbers, and how a run ends."""

import argparse
import contextlib
import errno
import functools
import io
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from utils import config
from utils.schema import DTYPES, EncoderOptions, InputError, escaped, one_line, printable, shown

THREADS = "threads of the processor (default 1 for a single text, for several what torch and numpy choose)"
# Errors that any use of a path may raise, with their remedies.
OF_A_PATH = {
    errno.ENAMETOOLONG: "the name is too long for a file; give a shorter one",
    errno.EACCES: "you may not read or enter it; change its permissions or name something else",
}
# Errors of writing, which name no path where the file or the stream is open.
OF_AN_OUTPUT: dict[int | None, str] = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space of your quota",
    errno.EIO: "see whether the disk or the terminal is still there",
}
DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
DEVICE = re.compile("(cuda|mps|cpu)(:[0-9]+)?")
# In characters, of a flag's value; a path can't be longer on Linux. Instructions and lists of ids may be.
LONGEST_VALUE, TEXTS = 4096, ("prompt", "remove")


class Parser(argparse.ArgumentParser):
    """A parser that reports misuse in one line.

    takes: the flags to accept, with their help texts; all if None. The other flags have their defaults.
    """

    def __init__(self, *arguments: Any, takes: Mapping[str, str] | None = None, **more: Any) -> None:
        self.takes = takes
        super().__init__(*arguments, **{"allow_abbrev": False, **more})

    def add_argument(self, *names: str, **more: Any) -> Any:
        flag = names[0].lstrip("-")
        if self.takes is None or flag == "h":
            return super().add_argument(*names, **more)
        if flag in self.takes:
            return super().add_argument(*names, **{**more, "help": self.takes[flag]})
        default = more.get("default", False if more.get("action") == "store_true" else None)
        self.set_defaults(**{flag.replace("-", "_"): default})
        return None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """What argparse returns. Raises InputError for a value too long to be a name, a path or a number."""
        found, rest = super().parse_known_args(args, namespace)
        for action in self._actions:
            value = getattr(found, action.dest, None)
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and len(text) > LONGEST_VALUE and action.dest not in TEXTS:
                    raise InputError(
                        f"{_shown_name(action)} {shown(text)}: has {len(text)} characters; give a value of "
                        f"{LONGEST_VALUE} at most"
                    )
        return found, rest

    def _get_value(self, action: argparse.Action, text: str) -> Any:
        """What the flag's `type` makes of a text. Raises InputError, naming the flag, if that does."""
        return read_as(lambda text: super(Parser, self)._get_value(action, text), text, _shown_name(action))

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.option_strings and action.choices is not None and value not in action.choices:
            raise InputError(f"{_shown_name(action)} {shown(value)}: give one of {', '.join(action.choices)}")
        super()._check_value(action, value)

    def error(self, message: str) -> NoReturn:
        of_evaluation = any(action.dest == "encoder" for action in self._actions)
        if of_evaluation and re.match("unrecognized arguments: [^-]", message):
            raise InputError(f"{message}; put commas between several encoders, as in --model A,B (see --help)")
        raise InputError(f"{message} (see --help)")


def _shown_name(action: argparse.Action) -> str:
    return action.option_strings[-1] if action.option_strings else str(action.metavar or action.dest)


def add_encoder_options(flags: argparse.ArgumentParser) -> None:
    """Adds the flags that `encoder_options` reads."""
    several = "auto, cuda, mps or cpu, or several, separated by commas"
    flags.add_argument("--device", metavar="DEVICE", help=with_variable(several, "DEVICE"))
    flags.add_argument("--dtype", metavar="DTYPE", help=with_variable("auto, float32, bfloat16 or float16", "DTYPE"))
    flags.add_argument("--revision", metavar="COMMIT", help="revision of a model, or the model an API reports")
    flags.add_argument("--prompt", metavar="TEXT", help="instruction put before every text; '' for none")
    flags.add_argument("--trust-remote-code", action="store_true", help="allow a model to run its own code")


def with_variable(text: str, variable: str) -> str:
    return f"{text} (variable {variable}; default {config.VARIABLES[variable][0]})"


def chosen(arguments: argparse.Namespace, name: str) -> tuple[str, str]:
    """The value of a flag, else of its variable, and the name of the one that gave it, for an error."""
    flag = getattr(arguments, name)
    if flag is not None:
        return flag, f"--{name.replace('_', '-')}"
    return config.setting(name.upper()), name.upper()


def one_encoder(arguments: argparse.Namespace, what: str) -> str:
    """The encoder of the flag --model or its variable. Raises InputError if it names several. what: takes just one."""
    name, where = chosen(arguments, "model")
    if "," in name:
        raise InputError(f"{where} {name}: {what} takes one encoder; give one with --model")
    return name.strip()


def value_of(arguments: argparse.Namespace, name: str, kind: Callable[[str], Any]) -> Any:
    """What a `type` makes of a flag, else of its variable. Raises InputError, naming the one, if that does."""
    return read_as(kind, *chosen(arguments, name))


def devices(text: str) -> str:
    """The `type` of a flag that holds a device, or several."""
    if text != "auto" and not all(DEVICE.fullmatch(one.strip()) for one in str(text).split(",")):
        raise InputError("give auto, cuda, mps or cpu, or several such as cuda:0,cuda:1")
    return text


def dtype(text: str) -> str:
    """The `type` of a flag that holds a number format."""
    if text not in DTYPES:
        raise InputError(f"give one of {', '.join(DTYPES)}")
    return text


def device(arguments: argparse.Namespace) -> str:
    """The device from the flag or the variable. Raises InputError for an unknown one."""
    return value_of(arguments, "device", devices)


def encoder_options(arguments: argparse.Namespace) -> EncoderOptions:
    """The options of an encoder, checked. Raises InputError, naming the flag or variable, for an unknown value."""
    return EncoderOptions(
        device=device(arguments),
        dtype=value_of(arguments, "dtype", dtype),
        prompt=arguments.prompt,
        revision=arguments.revision,
        trust_remote_code=arguments.trust_remote_code,
    )


def decimal(text: str) -> float:
    """The number that a text gives in plain digits, as 1, -0.5 or 2e-3; nan for anything else, as 1_0 or 0x1."""
    return float(text) if DECIMAL.fullmatch(text.strip()) else math.nan


def whole(least: int) -> Callable[[str], int]:
    """The `type` of a flag that holds a whole number."""

    def read(text: str) -> int:
        value = int(decimal(text)) if re.fullmatch("[+-]?[0-9]{1,15}", text.strip()) else least - 1
        if not least <= value < 2**32:
            raise InputError(f"give a whole number of at least {least}")
        return value

    return read


def real(least: float = -math.inf, most: float = math.inf) -> Callable[[str], float]:
    """The `type` of a flag that holds a number."""
    bounds = " of at least {:g}" if most == math.inf else " from {:g} to {:g}"

    def read(text: str) -> float:
        value = decimal(text)
        if not (math.isfinite(value) and least <= value <= most):
            raise InputError(f"give a number{'' if least == -math.inf else bounds.format(least, most)}")
        return value

    return read


share = real(0, 1)


def read_as(kind: Callable[[str], object], text: str, where: str) -> Any:
    """What a `type` makes of the text of a flag or variable. Raises InputError, naming `where`, if that does."""
    try:
        return kind(text)
    except InputError as error:
        raise InputError(f"{where} {shown(text)}: {error}") from None


def whole_number(text: str, where: str, least: int) -> int:
    """The whole number that a flag or variable holds. Raises InputError, naming `where`, for anything else."""
    return read_as(whole(least), text, where)


def command(main: Callable[..., int | None]) -> Callable[..., int]:
    """A command line, of which what `main` raises or returns becomes an exit status, as by `run`."""

    @functools.wraps(main)
    def with_status(*arguments: Any, **more: Any) -> int:
        return run(lambda: main(*arguments, **more))

    return with_status


def run(work: Callable[[], int | None]) -> int:
    """The exit status of `work`: 2 after a user's mistake, reported in one line, and 130 after Ctrl-C.

    A standard stream that is closed is as good as /dev/null. If what reads standard output goes away, as `head` does,
    the status is 141, as a shell has it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # in this order each gets its own number, so that no file of results gets it
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        cast(io.TextIOWrapper, stream).reconfigure(errors="backslashreplace")
    try:
        try:
            return _status(work)
        finally:
            sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError) and error.errno not in OF_AN_OUTPUT:
            raise
        for stream in (sys.stdout, sys.stderr):
            _silence(stream)
        if isinstance(error, BrokenPipeError):
            return 141
        where = "standard output or a file" if error.filename is None else escaped(str(error.filename))
        return _mistake(f"{where}: can't be written ({error.strerror}); {OF_AN_OUTPUT[error.errno]}")


def _silence(stream: IO) -> None:
    """Sends what can't be written to /dev/null. Otherwise Python tries again at exit, and reports that it can't."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _status(work: Callable[[], int | None]) -> int:
    try:
        config.load_environment()
        return work() or 0
    except InputError as error:
        return _mistake(str(error))
    except OSError as error:
        if error.errno not in OF_A_PATH or error.filename is None:
            raise
        return _mistake(f"{escaped(str(error.filename))}: {OF_A_PATH[error.errno]}")
    except KeyboardInterrupt:
        print("interrupted; the same command continues with what is stored", file=sys.stderr)
        return 130


def notes(settings: Any) -> Callable[[object], None]:
    """What writes notes, each once, as one may hold for several tasks; nothing if the settings are `quiet`."""
    return (lambda sentence: None) if settings.quiet else once(note)


def once(note: Callable[[str], None]) -> Callable[[object], None]:
    """What writes each sentence the first time only."""
    return functools.cache(note)


def note(sentence: object) -> None:
    """Writes a sentence to standard error, on one line that a terminal does not act on."""
    print(one_line(sentence), file=sys.stderr)


def show(text: str) -> None:
    """Writes text of any number of lines to standard output, in a form that a terminal does not act on."""
    print(printable(text), flush=True)


def _mistake(message: str) -> int:
    """Reports a user's mistake in one line, and returns the exit status."""
    line = one_line(message)
    with contextlib.suppress(OSError):  # the exit status says it too
        print(f"error: {line}", file=sys.stderr)
    config.leave_error(line)
    return 2
