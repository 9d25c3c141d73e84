"""The texts of a corpus larger than memory, and their ids."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from utils.data import reading
from utils.data.parquet import ParquetFile
from utils.files import shown_path
from utils.schema import InputError


class Corpus:
    """A file's text column and its id column, if it has one, read as a stream.

    path: .parquet, .csv, .jsonl or .ndjson; the last three also followed by .gz, .bz2 or .zst.
    id_column: None for `id` if there is such a column.
    Raises InputError if the file can't be read in its format, or lacks a column.
    """

    def __init__(self, path: Path, column: str, id_column: str | None = None) -> None:
        self.path, self.column = path, column
        self._form = reading.form_of(path) or ""
        if self._form not in ("parquet", "csv", "jsonl"):
            raise InputError(
                f"--input {path.name}: unknown kind of file; give .parquet, .csv, .jsonl, .ndjson, "
                f"or one of the last three with {', '.join(reading.COMPRESSIONS)} behind"
            )
        reading.refuse_unreadable(path, f"--input {shown_path(path)}", "give a file of texts")
        self._file = ParquetFile(path) if self._form == "parquet" else None
        first = None
        if self._file is None:
            with reading.opened(path) as stream:
                found, rows = reading.rows(stream, self._form, path.name)
                first = next(rows, None)
            if first is None:
                what = "no rows" if found else "the file is empty"
                raise InputError(f"{path.name}: {what}; there is nothing to embed")
            if first.fault:
                raise self._refusal(first, first.fault)
        else:
            found = self._file.columns
        self._names = reading.text_columns(found, column, id_column, path.name)
        self.id_column = self._names[1] if len(self._names) > 1 else None
        self._kinds = self._types(first)
        self._source: Iterator[reading.Row] | None = None
        self._next = 0

    def _types(self, first: reading.Row | None) -> dict:
        """The types of the columns. Ids may be numbers or texts, the same for the whole column."""
        import pyarrow as pa

        if self._file is not None:
            return {name: self._file.kind(name, only_text=name == self.column) for name in self._names}
        an_id = first.cells.get(self.id_column) if first is not None and self.id_column is not None else None
        numbers = isinstance(an_id, int) and self.id_column != self.column
        return {name: pa.int64() if numbers and name == self.id_column else pa.string() for name in self._names}

    def count(self) -> int:
        """The number of rows. Reads the whole file once. Raises InputError if a row has no text or id."""
        number = sum(1 for _ in self._rows(0))
        if not number:
            raise InputError(f"{self.path.name}: no rows; there is nothing to embed")
        return number

    def rows(self, start: int, stop: int) -> tuple[list[str], Any]:
        """The texts of rows `start` to `stop` (from 0, `stop` excluded), and an Arrow array of their ids or None.

        Fast for ascending calls; a call that goes back reads CSV and JSON from the beginning again.
        Raises InputError if the file ends before `stop`.
        """
        import pyarrow as pa

        skips_a_part = self._file is not None and self._file.group_start(start) > self._next
        if self._source is None or start < self._next or skips_a_part:
            self._source, self._next = self._rows(start), start
        rows = list(islice(self._source, start - self._next, stop - self._next))
        if len(rows) < stop - start:
            raise InputError(f"{self.path.name}: ends before row {stop}; it was longer when it was counted")
        self._next = stop
        texts = [row.cells[self.column] for row in rows]
        if self.id_column is None:
            return texts, None
        return texts, pa.array([row.cells[self.id_column] for row in rows], self._kinds[self.id_column])

    def _rows(self, start: int) -> Iterator[reading.Row]:
        """The rows after the first `start`. Raises InputError if one has no text or id."""
        if self._file is not None:
            yield from map(self._checked, self._file.rows_from(start, self._kinds))
            return
        with reading.opened(self.path) as stream:
            rows = reading.rows(stream, self._form, self.path.name)[1]
            yield from map(self._checked, islice(rows, start, None))

    def _checked(self, row: reading.Row) -> reading.Row:
        if fault := self._fault(row):
            raise self._refusal(row, fault)
        return row

    def _fault(self, row: reading.Row) -> str:
        import pyarrow as pa

        for name, kind in self._kinds.items():
            fault = reading.problem(row, name, whole_numbers=name == self.id_column)
            if fault:
                return fault
            cell, is_number = row.cells[name], kind != pa.string()
            if name == self.column and not reading.has_text(cell):
                return f"has no text in '{name}'"
            if isinstance(cell, int) != is_number:
                here, before = ("text", "a number") if is_number else ("a number", "text")
                return f"'{name}' is {here} here and {before} before"
            if kind == pa.int64() and not -(2**63) <= cell < 2**63:
                return f"'{name}' is a number of more than 64 bits (write such ids as text)"
        late = self.id_column is None and "id" in row.cells
        return "has an 'id', which the rows before it lack" if late else ""

    def _refusal(self, row: reading.Row, fault: str) -> InputError:
        return InputError(f"{self.path.name}: {row.place}: {fault}; fix or remove the row")
