"""The scores of a run in parts beside its output, from which the same command continues."""

import contextlib
import csv
import glob
import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from utils.embed.shards import Unfinished, only_run
from utils.files import check_writable, replace_whole, replacing, shown_path
from utils.schema import InputError

MANIFEST = "_manifest.json"
SCHEMA = 1


class Parts:
    """The folder OUTPUT.parts: part-00000.csv and so on without headings, each whole or not there, and a manifest.

    output: the file that they become. made_by: flag to what it stands for, of all that scores depend on.
    counts: what the finished parts hold, as `scoring.Scorer` counts it; empty if there are none.
    note: called with a sentence if parts of a different run are removed.
    Raises InputError if the folder holds anything else.
    """

    def __init__(self, output: Path, made_by: dict[str, object], note: Callable[[str], None]) -> None:
        self.output, self.folder = output, folder_of(output)
        self._made_by = made_by
        self.number, self.counts = 0, {}
        for left_over in (
            *self.folder.glob(".part-*"),
            *self.folder.glob(f".{MANIFEST}.*"),
            *output.parent.glob(f".{glob.escape(output.name)}.{'[0-9a-f]' * 8}"),
        ):
            left_over.unlink(missing_ok=True)
        kept = self._kept()
        if kept is None:
            return
        differs = [flag for flag in made_by if kept["made_by"].get(flag) != made_by[flag]]
        if not all(self._path(number).is_file() for number in range(kept["parts"])):
            differs.append("number of parts")
        if differs:
            note(
                f"{shown_path(self.folder)}: is of another {', '.join(differs)}; it is removed, and all is scored anew"
            )
            self._remove_files()
        else:
            self.number, self.counts = kept["parts"], kept["counts"]

    def _kept(self) -> dict | None:
        """The manifest of an earlier run. Parts of a run that was killed when it removed them are removed."""
        others = {path.name for path in self.folder.iterdir()} - {path.name for path in self.folder.glob("part-*.csv")}
        if not others:
            self._remove_files()
            return None
        try:
            kept = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            if others == {MANIFEST} and kept["schema"] == SCHEMA and kept.keys() >= {"made_by", "parts", "counts"}:
                return kept
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass
        raise InputError(
            f"--output {shown_path(self.output)}: {self.folder.name} holds something else than parts of its scores; "
            "move it away or name another file"
        )

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:05}.csv"

    def write(self, rows: Sequence[tuple], counts: dict[str, int]) -> None:
        """Writes the next part. counts: of all parts with this one. Raises Unfinished if it can't be written."""
        content = io.StringIO()
        csv.writer(content, lineterminator="\n").writerows(rows)
        kept = {"schema": SCHEMA, "made_by": self._made_by, "parts": self.number + 1, "counts": counts}
        with self._room():
            replace_whole(self._path(self.number), content.getvalue().encode())
            replace_whole(self.folder / MANIFEST, (json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode())
        self.number, self.counts = self.number + 1, dict(counts)

    def join(self, columns: Sequence[str]) -> None:
        """Makes the output of all parts, and removes them. Raises Unfinished if it can't be written."""
        with self._room(), replacing(self.output, "xb") as stream:
            stream.write((",".join(columns) + "\n").encode())
            for number in range(self.number):
                with self._path(number).open("rb") as part:
                    shutil.copyfileobj(part, stream)
        self.remove()

    @contextlib.contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Unfinished(
                f"--output {shown_path(self.output)}: can't be written ({error.strerror}); free some space, and the "
                "same command continues with the parts that are finished"
            ) from None

    def _remove_files(self) -> None:
        (self.folder / MANIFEST).unlink(missing_ok=True)
        for path in self.folder.glob("part-*.csv"):
            path.unlink()

    def remove(self) -> None:
        """Removes the folder."""
        self._remove_files()
        self.folder.rmdir()


def folder_of(output: Path) -> Path:
    """Where the parts of an output are."""
    return output.with_name(f"{output.name}.parts")


@contextlib.contextmanager
def parts_of(output: Path, made_by: dict[str, object], note: Callable[[str], None]) -> Iterator[Parts]:
    """The parts of an output, which no other run may use meanwhile. The folder stays only if it holds finished ones.

    Raises InputError if the folder can't be written, is in use, or holds anything else.
    """
    folder = folder_of(output)
    check_writable(folder, "--output")
    with only_run(folder):
        parts = Parts(output, made_by, note)
        try:
            yield parts
        finally:
            if not parts.number and folder.exists():
                parts.remove()
