"""The versions of a detector in its folder, each whole and never changed, and the file that says which one counts."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from filelock import lock_descriptor

from utils.files import check_writable, shown_path, write_whole
from utils.schema import InputError

CARD, CURRENT, VERSIONS = "detector.json", "current", "versions"
# The file that is locked. A line for each number ever given, so that none is given again when a version is deleted.
NUMBERS = "numbers"
# What earlier programs wrote into the folder itself.
IN_PLACE = ("detector.safetensors", "words.json", "bank.safetensors", "bank.json", "card.md", "card.html", CARD)


def current(folder: Path, flag: str = "--detector") -> int:
    """The number of the version that counts; 0 for files of an earlier program in the folder itself.

    flag: that names the folder, for errors. Raises InputError if there is no detector.
    """
    try:
        content = (folder / CURRENT).read_bytes()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and (folder / CARD).is_file():
            return 0
        why = f"{CURRENT} can't be read ({error.strerror})" if folder.is_dir() else "no such folder"
        raise InputError(f"{flag} {folder}: {why}; give a folder that fit wrote") from None
    if not re.fullmatch(rb"[0-9]{1,9}\s*", content):
        raise InputError(f"{flag} {folder}: {CURRENT} holds no number; write that of one of its {VERSIONS} into it")
    return int(content)


def home(folder: Path, number: int | None = None) -> Path:
    """The folder of a version, of the one that counts if None."""
    number = current(folder) if number is None else number
    return folder / VERSIONS / str(number) if number else folder


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a file is in a detector's folder, or in that of one of its versions."""
    path, folder = path.resolve(), folder.resolve()
    return path.parent == folder or folder / VERSIONS in path.parents


class Versions:
    """The versions of a folder, open for one writer.

    current: the number of the one that counts, None if there is none. next: a number that none ever had.
    """

    def __init__(self, folder: Path, numbers: IO[bytes], flag: str) -> None:
        self.folder, self._numbers = folder, numbers
        is_empty = not any((folder / name).exists() for name in (CURRENT, CARD))
        self.current = None if is_empty else current(folder, flag)
        numbers.seek(0)
        given = [int(line) for line in numbers.read().split()]
        there = [int(path.name) for path in (folder / VERSIONS).iterdir() if path.name.isdecimal()]
        self.next = max(0, *given, *there, self.current or 0) + 1
        for left_over in (folder / VERSIONS).glob(".*.part"):
            shutil.rmtree(left_over, ignore_errors=True)
        if (folder / CARD).is_file():
            self._take_in()

    def _take_in(self) -> None:
        """Makes a version of the files in the folder itself: the one that counts, if none does yet."""
        paths = [path for path in (self.folder / name for name in IN_PLACE) if path.is_file()]
        number = self.write({path.name: path.read_bytes() for path in paths})
        self.point(self.current or number)
        for path in paths:  # the card last: while it is there, the others are looked for
            path.unlink()

    def write(self, files: dict[str, bytes]) -> int:
        """Writes a version, whole or not at all; returns its number. It doesn't count before `point` says so."""
        number, part = self.next, self.folder / VERSIONS / f".{self.next}.part"
        self._numbers.write(b"%d\n" % number)
        self._numbers.flush()
        os.fsync(self._numbers.fileno())
        self.next += 1
        try:
            part.mkdir()
            for name, content in files.items():
                write_whole(part / name, content)
            part.rename(home(self.folder, number))
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return number

    def point(self, number: int) -> None:
        """Makes a version the one that counts."""
        write_whole(self.folder / CURRENT, f"{number}\n")
        self.current = number


@contextlib.contextmanager
def writing(folder: Path, flag: str, note: Callable[[str], object] = lambda sentence: None) -> Iterator[Versions]:
    """The versions of a folder while no other process writes there. Makes the folder if it is missing.

    flag: that names the folder, for errors. note: is told if another process has to be waited for.
    Raises InputError if the folder can't be written or locked, or is itself a version.
    """
    above = folder.resolve().parent
    if above.name == VERSIONS and (above.parent / CURRENT).is_file():
        raise InputError(f"{flag} {folder}: is a version, which is never changed; give {above.parent}")
    for place in (folder, folder / VERSIONS):
        check_writable(place, flag)
    with contextlib.ExitStack() as stack:
        try:
            numbers = stack.enter_context((folder / VERSIONS / NUMBERS).open("a+b"))
            if not lock_descriptor(numbers.fileno(), blocking=False):
                note(f"waiting for another run, which writes in {shown_path(folder)}")
                lock_descriptor(numbers.fileno())
        except OSError as error:
            raise InputError(
                f"{flag} {folder}: can't be locked ({error.strerror}); give a folder on another disk"
            ) from None
        yield Versions(folder, numbers, flag)
