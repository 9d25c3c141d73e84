"""The finished parts of a long run in a folder, from which the same command continues."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import lock_descriptor

from utils.files import check_writable, replacing, shown_path
from utils.schema import InputError

# Names that begin with _ or . are left out by whatever reads a folder of Parquet files.
MANIFEST = "_manifest.json"
SCHEMA = 1


class Unfinished(Exception):
    """An error that ends a run early, in one line. Finished parts are kept. The program ends with exit status 3."""


@dataclass(frozen=True)
class Parts:
    """A folder of parts, each whole or not there, and a manifest that says what they depend on.

    ending: of the parts' names. entries: what a manifest has at least.
    """

    folder: Path
    ending: str
    entries: frozenset[str]

    def path(self, number: int) -> Path:
        """The file of a part."""
        return self.folder / f"part-{number:05}.{self.ending}"

    @contextlib.contextmanager
    def claimed(self) -> Iterator[dict | None]:
        """The manifest of an earlier run, None if there is none; no other run may use the folder meanwhile.

        The folder is made, what a killed run left half-written is removed, and a folder that stays empty is too.
        Raises InputError if it can't be written, is in use, or holds anything else.
        """
        check_writable(self.folder, "--output")
        with only_run(self.folder):
            try:
                self.sweep()
                yield self.manifest()
            finally:
                with contextlib.suppress(OSError):
                    self.folder.rmdir()

    def manifest(self) -> dict | None:
        """The manifest, None in an empty folder. Raises InputError for any other folder."""
        path = self.folder / MANIFEST
        if not path.exists():
            if any(not entry.name.startswith(".") for entry in self.folder.iterdir()):
                raise InputError(
                    f"--output {shown_path(self.folder)}: holds other files; move them away, or give another --output"
                )
            return None
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            if manifest["schema"] == SCHEMA and manifest.keys() >= self.entries:
                return manifest
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        raise InputError(f"{shown_path(path)}: not a manifest that this version reads; give another --output")

    def write(self, number: int, content: bytes) -> None:
        """Writes a part. Raises Unfinished if it can't be written."""
        with room(self.path(number)), replacing(self.path(number), "xb") as stream:
            stream.write(content)

    def write_manifest(self, **entries: object) -> None:
        """Writes the entries, and keeps those that are there. Raises Unfinished if the manifest can't be written."""
        manifest = {"schema": SCHEMA, **(self.manifest() or {}), **entries}
        with room(self.folder / MANIFEST), replacing(self.folder / MANIFEST, "x", encoding="utf-8") as stream:
            stream.write(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")

    def sweep(self) -> None:
        """Removes the half-written files of killed runs."""
        for left_over in (*self.folder.glob(".part-*"), *self.folder.glob(f".{MANIFEST}.*")):
            left_over.unlink(missing_ok=True)

    def remove(self) -> None:
        """Removes the parts, and then the manifest, so that a run that is killed here leaves no parts alone."""
        for path in (*self.folder.glob(f"part-*.{self.ending}"), self.folder / MANIFEST):
            path.unlink(missing_ok=True)


def differing(made_by: dict[str, object], requested: dict[str, object]) -> str:
    """The flags whose values in an earlier run are not those requested, with commas between them."""
    return ", ".join(flag for flag in requested if made_by.get(flag) != requested[flag])


@contextlib.contextmanager
def room(path: Path) -> Iterator[None]:
    """Raises Unfinished if a file that is written here can't be."""
    try:
        yield
    except OSError as error:
        raise Unfinished(
            f"{shown_path(path)}: can't be written ({error.strerror}); free some space, and the same command continues "
            "with the parts that are finished"
        ) from None


@contextlib.contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Prevents a second run in the folder. The system releases the lock however this run ends."""
    if os.name == "nt":  # Windows opens no folder
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            is_free = lock_descriptor(descriptor, blocking=False)
        except OSError:  # a file system without locks
            is_free = True
        if not is_free:
            raise InputError(f"--output {shown_path(folder)}: another run writes there; wait for it to end")
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def unchanged(path: Path, remedy: str) -> Iterator[None]:
    """Raises InputError if the file changes meanwhile."""
    before = path.stat()
    yield
    after = path.stat()
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise InputError(f"{shown_path(path)}: changed while it was read; {remedy}")
