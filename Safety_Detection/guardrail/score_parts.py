"""The scores of a run in parts beside its output, from which the same command continues."""

import contextlib
import csv
import glob
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from utils.files import replacing, shown_path
from utils.parts import Parts, differing, room


class ScoreParts:
    """The folder OUTPUT.parts: part-00000.csv and so on without headings, and a manifest.

    output: the file that they become. made_by: flag to what it stands for, of all that scores depend on. number: of
    finished parts. counts: what these hold, as `scoring.Scorer` counts it; empty if there are none.
    """

    def __init__(self, output: Path, parts: Parts, made_by: dict[str, object]) -> None:
        self.output, self._parts, self._made_by = output, parts, made_by
        self.number = 0
        self.counts: dict[str, int] = {}

    def begin(self, manifest: dict | None, note: Callable[[str], None]) -> None:
        """Takes over the parts of an earlier run, or removes those of a different one and says so."""
        if manifest is not None:
            differs = differing(manifest["made_by"], self._made_by)
            if not differs and all(self._parts.path(number).is_file() for number in range(manifest["parts"])):
                self.number, self.counts = manifest["parts"], manifest["counts"]
                return
            folder = shown_path(self._parts.folder)
            note(f"{folder}: is of another {differs or 'number of parts'}; it is removed, and all is scored anew")
            self._parts.remove()
        self._parts.write_manifest(made_by=self._made_by, parts=0, counts={})

    def write(self, rows: Sequence[tuple], counts: dict[str, int]) -> None:
        """Writes the next part. counts: of all parts with this one. Raises Unfinished if it can't be written."""
        content = io.StringIO()
        csv.writer(content, lineterminator="\n").writerows(rows)
        self._parts.write(self.number, content.getvalue().encode())
        self._parts.write_manifest(parts=self.number + 1, counts=counts)
        self.number, self.counts = self.number + 1, dict(counts)

    def join(self, columns: Sequence[str]) -> None:
        """Makes the output of all parts, and removes them. Raises Unfinished if it can't be written."""
        with room(self.output), replacing(self.output, "xb") as stream:
            stream.write((",".join(columns) + "\n").encode())
            for number in range(self.number):
                with self._parts.path(number).open("rb") as part:
                    shutil.copyfileobj(part, stream)
        self._parts.remove()


@contextlib.contextmanager
def parts_of(output: Path, made_by: dict[str, object], note: Callable[[str], None]) -> Iterator[ScoreParts]:
    """The parts of an output, which no other run may use meanwhile. The folder stays only if it holds finished ones.

    note: called with a sentence if parts of a different run are removed.
    Raises InputError if the folder can't be written, is in use, or holds anything else.
    """
    parts = Parts(output.with_name(f"{output.name}.parts"), "csv", frozenset({"made_by", "parts", "counts"}))
    with parts.claimed() as manifest:
        for left_over in output.parent.glob(f".{glob.escape(output.name)}.{'[0-9a-f]' * 8}"):
            left_over.unlink(missing_ok=True)
        scores = ScoreParts(output, parts, made_by)
        scores.begin(manifest, note)
        try:
            yield scores
        finally:
            if not scores.number:
                parts.remove()
