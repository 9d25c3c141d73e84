"""Rows of a file or a stream in, the columns of `score` out."""

import hashlib
import itertools
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from Safety_Detection.guardrail.guard import Guard, Unscored, Verdict
from utils.data import reading
from utils.data.parquet import ParquetFile
from utils.data.reading import Row
from utils.data.text import CHANGES
from utils.metrics.embedding import unit_rows
from utils.schema import InputError, one_line

if TYPE_CHECKING:
    from tqdm import tqdm

BATCH = 256
PART_LINES = 10_000
# How many distinct texts have their scores kept in memory: about 250 MB at most.
KNOWN = 1_000_000
# Seconds until a bar is shown and between two states of it: on a terminal, and elsewhere, where all of them stay.
ON_TERMINAL, ELSEWHERE = 0.5, 30.0
COLUMNS = ("line", "row", "id", "score", "flagged", "truncated")
FORMS = ("csv", "jsonl", "text")


def lines_of(
    stream: BinaryIO, form: str, name: str, column: str = "prompt", id_column: str | None = None, at_once: bool = False
) -> Iterator[Row]:
    """An iterator over the rows of a binary stream in one of FORMS.

    id_column: `id` if there is such a column, if None. at_once: whether each row is yielded before the next is read.
    Raises InputError if there is no such column, or if the stream can't be read (utils/data/reading.py).
    """
    found, rows = reading.rows(stream, form, name, look=1 if at_once else reading.ROWS_LOOKED_AT)
    if form == "text":
        column = "prompt"
    elif found:
        reading.text_columns(found, column, id_column, name)
    elif form == "jsonl":  # the first rows are not JSON objects, so the first one that is decides
        rows = _first_checked(rows, column, id_column, name)
    return (_line(row, column, id_column or "id") for row in rows)


def _first_checked(rows: Iterator[Row], column: str, id_column: str | None, name: str) -> Iterator[Row]:
    for row in rows:
        if row.cells:
            reading.text_columns(list(row.cells), column, id_column, name)
            yield row
            break
        yield row
    yield from rows


def lines_of_parquet(file: ParquetFile, name: str, column: str, id_column: str | None) -> Iterator[Row]:
    """An iterator over the rows of a Parquet file. Raises InputError for a column that is missing or no text."""
    names = reading.text_columns(file.columns, column, id_column, name)
    kinds = {one: file.kind(one, only_text=one == column) for one in names}
    return (_line(row, column, names[-1]) for row in file.rows_from(0, kinds))


def _line(row: Row, column: str, id_column: str) -> Row:
    """A row to score: its cells are its `prompt` and its `id`, '' for none. Its fault is why it can't be scored."""
    fault, mark = reading.problem(row, column), row.cells.get(id_column)
    if not fault and mark is not None:
        fault = reading.problem(row, id_column, whole_numbers=True)
    if not fault and not reading.has_text(row.cells[column]):
        fault = f"has no text in '{column}'"
    cells = {} if fault else {"id": "" if mark is None else str(mark), "prompt": row.cells[column].strip()}
    return Row(row.number, row.line, cells, fault, row.read)


def refuse_json_as_text(lines: Iterator[Row]) -> Iterator[Row]:
    """The same lines. Raises InputError if the first one with text is a JSON object."""
    first = []
    for line in lines:
        first.append(line)
        if not line.fault:
            break
    if first and reading.is_json_object(first[-1].cells.get("prompt", "")):
        raise InputError(
            "--input: the first line is a JSON object; add --format jsonl, or --format text to score lines as they are"
        )
    return itertools.chain(first, lines)


class Scorer:
    """Scores lines, each distinct text once while its score is kept, and counts what becomes of the lines.

    nearest: how many prompts trained on are named beside each. unfamiliar: whether each is marked that is unlike all of
    them, as it is with nearest. probability: whether each has its probability too.
    counts: of the lines that were read, those that were scored, those of them that were cut off, those that can't be
    scored (faults), and those in which normalizing made each of its CHANGES. read: the sum of the lines' bytes.
    """

    def __init__(self, guard: Guard, nearest: int = 0, probability: bool = False, unfamiliar: bool = False) -> None:
        self.guard, self.nearest, self.probability = guard, nearest, probability
        self.unfamiliar = unfamiliar or nearest > 0
        self.counts = dict.fromkeys(("lines", "scored", "cut", "faults", *CHANGES), 0)
        self.read = 0
        self._known: OrderedDict[bytes, tuple] = OrderedDict()

    @property
    def columns(self) -> tuple[str, ...]:
        """The headings of what `score` yields."""
        near = [f"{what}_{i}" for i in range(1, self.nearest + 1) for what in ("nearest", "label", "similarity")]
        like = self._like(("matched",), ("allowed",))
        likely = ("probability",) if self.probability else ()
        return (*COLUMNS, *like, *likely, *(("unfamiliar",) if self.unfamiliar else ()), *near)

    def score(self, lines: Iterable[Row], at_once: bool = False) -> Iterator[list[tuple]]:
        """Batches of the columns of lines that can be scored. The others are reported on standard error.

        A batch has BATCH new texts, and no line of it is in a different 10,000 lines than the others.
        at_once: whether each line is a batch. Raises InputError if the encoder accepts no text any more.
        """
        batch: list[tuple] = []
        new: dict[bytes, Row] = {}
        for line in lines:
            self.counts["lines"] += 1
            self.read += line.read
            if line.fault:
                self._fault(line, line.fault)
            else:
                text, changes = self.guard.detector.normalized(line.cells["prompt"])
                for name in changes:
                    self.counts[name] += 1
                key = hashlib.blake2b(text.encode(), digest_size=16).digest()
                cells = self._known.get(key)
                if cells is None:
                    new.setdefault(key, line)
                batch.append((replace(line, cells={"id": line.cells["id"]}), key, cells))
            if at_once or len(new) == BATCH or self.counts["lines"] % PART_LINES == 0:
                yield self._rows(batch, new)
                batch, new = [], {}
        yield self._rows(batch, new)

    def score_vectors(self, batches: Iterable[tuple]) -> Iterator[list[tuple]]:
        """The columns of each batch of vectors. batches: as `EmbeddedCorpus.batches` yields them.

        Vectors that can't be scored are reported on standard error.
        """
        for start, ids, truncated, vectors in batches:
            self.counts["lines"] += len(vectors)
            self.read += len(vectors)
            sums = np.abs(vectors).sum(axis=1, dtype=np.float64)
            good = np.isfinite(sums) & (sums > 0)
            for i in np.flatnonzero(~good).tolist():
                self._fault(Row(start + i + 1, None), "its vector is zero or not finite")
            rows = unit_rows(vectors[good]).astype(np.float32)
            verdicts = self.guard.verdicts(rows, truncated[good], self.nearest, unfamiliar=self.unfamiliar)
            cells = map(self._cells, cast(list[Verdict], verdicts))
            scored = zip(np.flatnonzero(good).tolist(), cells, strict=True)
            yield self._counted([(None, start + i + 1, "" if ids is None else ids[i], *its) for i, its in scored])

    def _rows(self, batch: Sequence[tuple], new: dict[bytes, Row]) -> list[tuple]:
        """The columns of lines. batch: (line, key of its text, the cells if they are known). new: texts by their keys.

        Raises InputError if the encoder accepts no text any more.
        """
        texts, names = [line.cells["prompt"] for line in new.values()], [line.place for line in new.values()]
        found = dict(zip(new, self.guard.score_each(texts, names, self.nearest, self.unfamiliar), strict=True))
        fresh = {key: self._cells(one) for key, one in found.items() if isinstance(one, Verdict)}
        self._known.update(fresh)
        while len(self._known) > KNOWN // (1 + self.nearest):
            self._known.popitem(last=False)
        rows = []
        for line, key, known in batch:
            cells = known or fresh.get(key)
            if cells is None:
                unscored = cast(Unscored, found[key])
                self._fault(line, unscored.reason + (f" ({unscored.detail})" if unscored.detail else ""))
            else:
                rows.append((line.line, line.number, line.cells["id"], *cells))
        return self._counted(rows)

    def _counted(self, rows: list[tuple]) -> list[tuple]:
        self.counts["scored"] += len(rows)
        self.counts["cut"] += sum(row[COLUMNS.index("truncated")] for row in rows)
        return rows

    def _like(self, matched: tuple, allowed: tuple) -> tuple:
        """The cells on incidents and false alarms, of those that the detector knows any of."""
        return *(matched if self.guard.matches else ()), *(allowed if self.guard.allows else ())

    def _cells(self, verdict: Verdict) -> tuple:
        like = self._like((verdict.matched or "",), (verdict.allowed or "",))
        likely = (verdict.probability,) if self.probability else ()
        unlike = () if verdict.unfamiliar is None else (int(verdict.unfamiliar),)
        near = [cell for one in verdict.nearest for cell in (one.id, one.label, f"{one.similarity:z.4f}")]
        return verdict.score, int(verdict.flagged), int(verdict.truncated), *like, *likely, *unlike, *near

    def _fault(self, line: Row, what: str) -> None:
        self.counts["faults"] += 1
        print(one_line(f"{line.place}: {what}; left out"), file=sys.stderr)


def bar_of(total: int | None, unit: str, quiet: bool) -> "tqdm":
    """A bar on standard error of how far a run has come. total: in `unit`, bytes (B) or rows; None if unknown."""
    from tqdm import tqdm

    pause = ON_TERMINAL if sys.stderr.isatty() else ELSEWHERE
    pauses = {"delay": pause, "mininterval": pause, "maxinterval": max(10, pause)}
    return tqdm(total=total, unit=unit, unit_scale=True, disable=quiet, leave=False, **pauses)
