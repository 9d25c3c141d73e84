"""A corpus larger than memory: the texts of a Parquet, CSV or JSON-lines file, read as a stream."""

import bisect
import json
import re
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from utils.schema import InputError
from utils.sources import shown_path

FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
COMPRESSIONS = (".gz", ".bz2", ".zst")
# A row of CSV or JSON must fit a block.
_BLOCK_BYTES = 4 * 2**20
_BATCH_ROWS = 4096


class Corpus:
    """A file's text column and, where it has one, its id column. Holds a batch of rows at a time, never the file.

    path: .parquet, .csv, .jsonl or .ndjson, the latter three also with .gz, .bz2 or .zst behind.
    id_column: None takes `id` if there is such a column, and goes without if not.
    Raises InputError if the file can't be read as that, or lacks a column.
    """

    def __init__(self, path: Path, column: str, id_column: str | None = None) -> None:
        self.path, self.column = path, column
        suffixes = path.suffixes[-2:] if path.suffix in COMPRESSIONS else path.suffixes[-1:]
        self._format = FORMATS.get(suffixes[0].lower() if suffixes else "")
        if self._format is None or (len(suffixes) == 2 and self._format == "parquet"):
            raise InputError(
                f"--input {path.name}: unknown kind of file; give {', '.join(FORMATS)}, "
                f"or one of the last three with {', '.join(COMPRESSIONS)} behind"
            )
        if not path.is_file():
            raise InputError(f"--input {shown_path(path)}: no such file")
        found = self._reading(0, self._types)  # column name to Arrow type, None where a reader can be told
        self.id_column = id_column or ("id" if "id" in found else None)
        for flag, name in (("--column", column), ("--id-column", self.id_column)):
            if name is not None and list(found).count(name) == 0:
                names = ", ".join(found) or "none"
                raise InputError(f"{path.name}: no column '{name}' (found: {names}); name one with {flag}")
        self._wanted = {name: found[name] for name in (column, self.id_column) if name is not None}
        self._check_types()
        # The first row of each part of the file that can be read by itself, and the end.
        self._starts = [0]
        if self._format == "parquet":
            metadata = self._reading(0, self._parquet).metadata
            groups = range(metadata.num_row_groups)
            self._starts = list(accumulate((metadata.row_group(i).num_rows for i in groups), initial=0))
        self._source, self._rest, self._next = None, None, 0

    def _types(self) -> dict:
        import pyarrow as pa

        if self._format == "jsonl":
            with pa.input_stream(str(self.path)) as stream:
                first = next((line for line in _lines(stream) if line.strip()), b"{}")
            row = json.loads(first)
            if not isinstance(row, dict):
                raise pa.ArrowInvalid("JSON parse error: not an object")
            # Numbers are ids as often as texts are; the reader takes one kind for the whole column.
            return {
                name: pa.int64() if isinstance(cell, int) and not isinstance(cell, bool) else pa.string()
                for name, cell in row.items()
            }
        if self._format == "csv":
            with self._csv_reader(None) as reader:
                names = reader.schema.names
            self._refuse_twice(names)
            return dict.fromkeys(names, pa.string())
        schema = self._parquet().schema_arrow
        self._refuse_twice(schema.names)
        return {field.name: field.type for field in schema}

    def _refuse_twice(self, names: list[str]) -> None:
        twice = [name for name in names if names.count(name) > 1 and name in (self.column, "id")]
        if twice:
            raise InputError(f"{self.path.name}: column '{twice[0]}' stands twice; rename one")

    def _check_types(self) -> None:
        import pyarrow as pa

        for name, kind in self._wanted.items():
            plain = kind.value_type if pa.types.is_dictionary(kind) else kind
            text = pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain)
            if name == self.column and not text:
                raise InputError(f"{self.path.name}: column '{name}' holds {kind}, not text; name one with --column")
            if not text and not pa.types.is_integer(plain):
                raise InputError(
                    f"{self.path.name}: column '{name}' holds {kind}; ids are text or whole numbers, name a column of "
                    "them with --id-column"
                )
            self._wanted[name] = pa.string() if text else plain

    def count(self) -> int:
        """Reads the whole file once, and returns its number of rows. Raises InputError if a row has no text or id."""
        import pyarrow.compute as pc

        rows = 0
        for batch in self._batches(0):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                blank = pc.is_null(column)
                if name == self.column:
                    blank = pc.or_kleene(blank, pc.equal(pc.utf8_trim_whitespace(column), ""))
                first = pc.index(blank, True).as_py()
                if first >= 0:
                    what = "no text" if name == self.column else "no id"
                    raise InputError(f"{self.path.name}: row {rows + first + 1}: {what} in '{name}'; mend or remove it")
            rows += batch.num_rows
        if not rows:
            raise InputError(f"{self.path.name}: no rows; there is nothing to embed")
        return rows

    def rows(self, start: int, stop: int):
        """The texts of rows `start` to `stop` (from 0, `stop` left out), and an Arrow array of their ids or None.

        Quick where calls go forward; one that goes back reads CSV and JSON from the beginning again.
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
        import pyarrow as pa

        schema = pa.schema(list(self._wanted.items()))
        reader = iter(self._reading(0, lambda: self._reader(start)))
        rows = 0
        while True:
            batch = self._reading(rows, lambda: self._valid(next(reader, None), schema))
            if batch is None:
                return
            yield batch
            rows += batch.num_rows

    @staticmethod
    def _valid(batch, schema):
        if batch is None:
            return None
        batch = batch.select(schema.names).cast(schema)
        batch.validate(full=True)
        return batch

    def _reader(self, start: int) -> Iterator:
        if self._format == "parquet":
            groups = range(self._group(start), len(self._starts) - 1)
            return self._parquet().iter_batches(_BATCH_ROWS, row_groups=list(groups), columns=list(self._wanted))
        return self._csv_reader(self._wanted) if self._format == "csv" else self._json_reader(self._wanted)

    def _parquet(self):
        import pyarrow.parquet as pq

        # Buffered and not fetched ahead: a row group is read bit by bit, however large it is.
        return pq.ParquetFile(self.path, pre_buffer=False, buffer_size=2**20)

    def _csv_reader(self, types: dict | None):
        from pyarrow import csv

        # As text, whatever it looks like: a prompt may be a number, and an id may begin with zeros.
        wanted = {} if types is None else {"include_columns": list(types), "column_types": types}
        return csv.open_csv(
            str(self.path),
            read_options=csv.ReadOptions(block_size=_BLOCK_BYTES),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(**wanted),
        )

    def _json_reader(self, types: dict):
        import pyarrow as pa
        from pyarrow import json as arrow_json

        return arrow_json.open_json(
            str(self.path),
            read_options=arrow_json.ReadOptions(block_size=_BLOCK_BYTES),
            parse_options=arrow_json.ParseOptions(
                explicit_schema=pa.schema(list(types.items())), unexpected_field_behavior="ignore"
            ),
        )

    def _reading(self, rows: int, read):
        """What `read` gives; where the file is not well formed, one line that leaves out what it holds."""
        import pyarrow as pa

        try:
            return read()
        except (pa.ArrowInvalid, UnicodeDecodeError, json.JSONDecodeError) as error:
            place = f"after row {rows}" if rows else "from its beginning"
            raise InputError(
                f"{self.path.name}: not {self._format} {place} ({_fault(str(error))}); mend or convert it"
            ) from None
        except (OSError, pa.ArrowException) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise InputError(f"{self.path.name}: can't be read ({reason})") from None


def _lines(stream) -> Iterator[bytes]:
    """The lines of an Arrow stream; one that does not end within a block ends the search."""
    rest = b""
    while block := stream.read(2**20):
        *whole, rest = (rest + block).split(b"\n")
        yield from whole
        if len(rest) > _BLOCK_BYTES:
            break
    yield rest


def _fault(message: str) -> str:
    """What Arrow says of a malformed file, without the row that it quotes."""
    cells = re.search(r"Expected (\d+) columns, got (\d+)", message)
    if cells:
        return f"{cells[2]} cells in a row instead of {cells[1]}"
    if "straddling" in message:
        return f"a row longer than {_BLOCK_BYTES // 2**20} MiB, or a quote that is not closed"
    if "utf" in message.lower():
        return "not UTF-8"
    if "Empty" in message:
        return "empty"
    if "magic bytes" in message or "Parquet file size is" in message:
        return "no Parquet footer"
    kinds = re.search(r"Column\(/?(\S*)\) changed from (\w+) to (\w+)", message)
    if kinds:
        return f"'{kinds[1]}' is {kinds[2]} in one row and {kinds[3]} in another"
    return "malformed"
