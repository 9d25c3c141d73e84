"""Reads a corpus larger than memory: the texts of a Parquet, CSV or JSON-lines file, as a stream."""

import bisect
import contextlib
from collections.abc import Iterator
from itertools import accumulate, islice
from pathlib import Path

from utils.data import reading
from utils.files import shown_path
from utils.schema import InputError

_BATCH_ROWS = 4096


class Corpus:
    """A file's text column and its id column, if it has one, read in batches of rows.

    path: .parquet, .csv, .jsonl or .ndjson; the last three also followed by .gz, .bz2 or .zst.
    id_column: None for `id` if there is such a column.
    Raises InputError if the file can't be read in its format, or lacks a column.
    """

    def __init__(self, path: Path, column: str, id_column: str | None = None) -> None:
        self.path, self.column = path, column
        self._form = reading.form_of(path)
        if self._form not in ("parquet", "csv", "jsonl"):
            raise InputError(
                f"--input {path.name}: unknown kind of file; give .parquet, .csv, .jsonl, .ndjson, "
                f"or one of the last three with {', '.join(reading.COMPRESSIONS)} behind"
            )
        reading.refuse_unreadable(path, f"--input {shown_path(path)}", "give a file of texts")
        # The first row of each part of the file that can be read separately, and the end.
        self._starts = [0]
        first = None
        if self._form == "parquet":
            with self._well_formed():
                file = self._parquet()
                schema, metadata = file.schema_arrow, file.metadata
            found = schema.names
            groups = range(metadata.num_row_groups)
            self._starts = list(accumulate((metadata.row_group(i).num_rows for i in groups), initial=0))
        else:
            with self._opened() as stream:
                found, read = reading.rows(stream, self._form, path.name)
                first = next(read, None)
            if first is None:
                what = "no rows" if found else "the file is empty"
                raise InputError(f"{path.name}: {what}; there is nothing to embed")
            if first.fault:
                raise self._refusal(first, first.fault)
        self.id_column = id_column or ("id" if "id" in found else None)
        reading.require_columns(found, [column], path.name, "name one with --column")
        self._names = [column]
        if self.id_column is not None:
            reading.require_columns(found, [self.id_column], path.name, "name one with --id-column")
            self._names = list(dict.fromkeys([column, self.id_column]))
        self._of_numbers = None
        if first is None:
            self._kinds = {name: self._plain_type(name, schema.field(name).type) for name in self._names}
        else:
            self._kinds = self._types_of(first)
        self._source, self._rest, self._next = None, None, 0

    def _types_of(self, first: reading.Row) -> dict:
        import pyarrow as pa

        # Ids may be numbers or texts, one type for the whole column.
        if isinstance(first.cells.get(self.id_column), int) and self.id_column != self.column:
            self._of_numbers = self.id_column
        return {name: pa.int64() if name == self._of_numbers else pa.string() for name in self._names}

    def _plain_type(self, name: str, kind):
        import pyarrow as pa

        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        text = pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain)
        if name == self.column and not text:
            raise InputError(f"{self.path.name}: column '{name}' holds {kind}, not text; name one with --column")
        if not text and not pa.types.is_integer(plain):
            raise InputError(
                f"{self.path.name}: column '{name}' holds {kind}; ids are text or whole numbers, name a column of "
                "them with --id-column"
            )
        return pa.string() if text else plain

    def count(self) -> int:
        """The number of rows. Reads the whole file once. Raises InputError if a row has no text or id."""
        number = sum(batch.num_rows for batch in self._batches(0))
        if not number:
            raise InputError(f"{self.path.name}: no rows; there is nothing to embed")
        return number

    def rows(self, start: int, stop: int):
        """The texts of rows `start` to `stop` (from 0, `stop` excluded), and an Arrow array of their ids or None.

        Fast for ascending calls; a call that goes back reads CSV and JSON from the beginning again.
        Raises InputError if the file ends before `stop`.
        """
        import pyarrow as pa

        if self._source is None or start < self._next or self._group(start) > self._group(self._next):
            self._source, self._rest = self._batches(start), None
            self._next = self._starts[self._group(start)]
        parts = []
        while self._next < stop:
            if self._rest is None or not self._rest.num_rows:
                self._rest = next(self._source, None)
                if self._rest is None:
                    raise InputError(f"{self.path.name}: ends at row {self._next}; it was longer when it was counted")
            skipped = min(max(start - self._next, 0), self._rest.num_rows)
            taken = min(stop - self._next, self._rest.num_rows) - skipped
            if taken:
                parts.append(self._rest.slice(skipped, taken))
            self._rest = self._rest.slice(skipped + taken)
            self._next += skipped + taken
        table = pa.Table.from_batches(parts)
        ids = None if self.id_column is None else table.column(self.id_column).combine_chunks()
        return table.column(self.column).to_pylist(), ids

    def _group(self, row: int) -> int:
        return bisect.bisect_right(self._starts, row) - 1

    def _batches(self, start: int) -> Iterator:
        """Record batches of the wanted columns, from the row group of row `start`, or the beginning of a stream."""
        return self._parquet_batches(start) if self._form == "parquet" else self._row_batches()

    def _row_batches(self) -> Iterator:
        import pyarrow as pa

        with self._opened() as stream:
            read = reading.rows(stream, self._form, self.path.name)[1]
            while batch := list(islice(read, _BATCH_ROWS)):
                for row in batch:
                    fault = self._fault(row)
                    if fault:
                        raise self._refusal(row, fault)
                cells = [pa.array([row.cells[name] for row in batch], kind) for name, kind in self._kinds.items()]
                yield pa.record_batch(cells, names=self._names)

    def _fault(self, row: reading.Row) -> str:
        for name in self._names:
            whole = name == self._of_numbers
            fault = reading.problem(row, name, whole_numbers=name == self.id_column)
            if fault:
                return fault
            cell = row.cells[name]
            if name == self.column and not reading.has_text(cell):
                return f"no text in '{name}'"
            if isinstance(cell, int) != whole:
                here, before = ("text", "a number") if whole else ("a number", "text")
                return f"'{name}' is {here} here and {before} before"
            if whole and not -(2**63) <= cell < 2**63:
                return f"'{name}' is a number of more than 64 bits (write such ids as text)"
        late = self.id_column is None and "id" in row.cells
        return "has an 'id', which the rows before it lack" if late else ""

    def _refusal(self, row: reading.Row, fault: str) -> InputError:
        return InputError(f"{self.path.name}: {row.place}: {fault}; fix or remove the row")

    def _opened(self):
        try:
            return reading.opened(self.path)
        except OSError as error:
            raise InputError(f"{self.path.name}: can't be read ({error.strerror})") from None

    def _parquet(self):
        import pyarrow.parquet as pq

        # Buffered, without reading ahead, so that a large row group is read in parts.
        return pq.ParquetFile(self.path, pre_buffer=False, buffer_size=2**20)

    @contextlib.contextmanager
    def _well_formed(self) -> Iterator[None]:
        """Turns Arrow's errors about a malformed file into one line that does not quote the file."""
        import pyarrow as pa

        try:
            yield
        except (OSError, pa.ArrowException) as error:
            reason = getattr(error, "strerror", None) or "it is not Parquet, or is damaged"
            raise InputError(f"{self.path.name}: can't be read ({reason}); see whether the file is whole") from None

    def _parquet_batches(self, start: int) -> Iterator:
        number = self._starts[self._group(start)]
        for batch in self.parquet_batches(start):
            for name in self._names:
                for i, cell in enumerate(batch.column(name).to_pylist(), number + 1):
                    if cell is None or (name == self.column and not reading.has_text(cell)):
                        what = "text" if name == self.column else "id"
                        raise InputError(f"{self.path.name}: row {i}: no {what} in '{name}'; fix or remove the row")
            yield batch
            number += batch.num_rows

    def parquet_batches(self, start: int = 0) -> Iterator:
        """Record batches of a Parquet file's text and id columns, from the row group of row `start`.

        Texts may be empty and cells null. Raises InputError if the file is damaged.
        """
        import pyarrow as pa

        schema = pa.schema(list(self._kinds.items()))
        groups = list(range(self._group(start), len(self._starts) - 1))
        with self._well_formed():
            for batch in self._parquet().iter_batches(_BATCH_ROWS, row_groups=groups, columns=self._names):
                batch = batch.select(schema.names).cast(schema)
                batch.validate(full=True)  # checks that texts are UTF-8, among others
                yield batch
