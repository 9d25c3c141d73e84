"""Reads CSV, JSON lines and plain text as a stream of rows, each with what is wrong with it."""

import bz2
import codecs
import csv
import gzip
import io
import json
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from utils.data.text import has_text
from utils.schema import InputError, shown

FORMS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "text", ".parquet": "parquet"}
COMPRESSIONS = (".gz", ".bz2", ".zst")
# The most bytes of a line, and characters of a CSV cell, so that an unclosed quote can't fill the memory.
LONGEST = 2**24
# The number of JSON rows whose keys give the columns of the file.
ROWS_LOOKED_AT = 100
_WIDE = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file.

    number: its number from 1, without the heading. line: the line of the file on which it begins, from 1; None in
    Parquet. cells: column to cell, texts in CSV, any value in JSON. fault: what is wrong with the row, '' for nothing.
    read: the bytes from the end of the previous row to the end of this one; in Parquet 1, the row.
    """

    number: int
    line: int | None
    cells: dict[str, Any] = field(default_factory=dict)
    fault: str = ""
    read: int = 0

    @property
    def place(self) -> str:
        """Where the row is, for an error."""
        return place(self.number, self.line)


def place(number: int, line: int | None) -> str:
    """Where a row is, for an error: its number, and its line if that is a different one."""
    if line == number:
        return f"line {line}"
    return f"row {number}" if line is None else f"row {number} (line {line})"


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str
    fault: str
    size: int


def form_of(path: Path) -> str | None:
    """The format by a file's name (csv, jsonl, text or parquet), whatever its case and compression; None if unknown."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = suffixes[-1:] and suffixes[-1] in COMPRESSIONS
    form = FORMS.get(next(iter(suffixes[-2:-1] if compressed else suffixes[-1:]), ""))
    return None if compressed and form == "parquet" else form


def dataset_stem(path: Path) -> str:
    """A data file's name without the endings that tell its form and compression: `a_1.0_en.csv.gz` to `a_1.0_en`.

    Raises InputError if the rest is empty, or begins with a dot, which would hide the results.
    """
    name = path.name
    for endings in (COMPRESSIONS, FORMS):
        ending = next((ending for ending in endings if name.lower().endswith(ending)), "")
        name = name.removesuffix(name[len(name) - len(ending) :])
    if not name or name.startswith("."):
        raise InputError(f"{path.name}: the file's name begins with a dot; rename it")
    return name


def refuse_unreadable(path: Path, flag: str, remedy: str) -> None:
    """Raises InputError if `path` is not a readable file, or is one that can be read only once, such as a pipe."""
    if path.is_file():
        try:
            path.open("rb").close()
        except OSError as error:
            raise InputError(f"{flag}: can't be read ({error.strerror}); {remedy}") from None
        return
    what = "no such file"
    if path.is_dir():
        what = "is a folder"
    elif path.exists():
        what, remedy = "is a pipe or a device, which can be read only once", "save it as a file first"
    raise InputError(f"{flag}: {what}; {remedy}")


def opened(path: Path) -> BinaryIO:
    """The bytes of a file, decompressed if its name ends in one of COMPRESSIONS.

    Raises InputError if it can't be opened.
    """
    ending = path.suffix.lower()
    try:
        if ending == ".gz":
            return cast(BinaryIO, gzip.open(path, "rb"))
        if ending == ".bz2":
            return cast(BinaryIO, bz2.open(path, "rb"))
        if ending == ".zst":
            import pyarrow as pa

            return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path), "rb"), "zstd"))
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path.name}: can't be read ({error.strerror})") from None


def rows(stream: BinaryIO, form: str, name: str, look: int = ROWS_LOOKED_AT) -> tuple[list[str], Iterator[Row]]:
    """The columns of a stream in a format of FORMS other than parquet, and an iterator over its rows.

    name: of the stream, for errors. look: how many rows of JSON give the columns.
    Columns are a CSV file's heading, the keys of JSON's first rows, or `prompt`. Blank lines of CSV and JSON are
    skipped. A row has a fault if its cells are not as many as the heading's, if a quote is not closed or is followed by
    text, if it is not a JSON object, is not UTF-8, holds a NUL, or is longer than LONGEST. Reading continues with the
    line after the first line of such a row. A byte order mark is skipped.
    Raises InputError, at once or while rows are read, if the stream can't be read, is UTF-16 or UTF-32, or has a
    heading that is not valid CSV.
    """
    lines = _lines(stream, name)
    if form == "text":
        return ["prompt"], (_text_row(line) for line in lines)
    if form == "jsonl":
        found = _json_rows(lines)
        first = list(islice(found, look))
        return list(dict.fromkeys(key for row in first for key in row.cells)), chain(first, found)
    records = _records(lines)
    heading = next(records, None)
    if heading is None:
        return [], iter(())
    _, cells, fault, _ = heading
    if fault:
        raise InputError(f"{name}: the heading {fault}; fix it")
    return cells, _csv_rows(records, cells)


def column_names(path: Path) -> list[str]:
    """The columns of a CSV or JSON-lines file, as `rows` finds them. Raises InputError as that does."""
    with opened(path) as stream:
        return rows(stream, form_of(path) or "csv", path.name)[0]


def _lines(stream: BinaryIO, name: str) -> Iterator[_Line]:
    """The lines of a stream, each decoded on its own so that one fault costs one line."""
    number = start = 0
    try:
        while raw := stream.readline(LONGEST + 1):
            number += 1
            size, fault = len(raw), ""
            if len(raw) > LONGEST and not raw.endswith(b"\n"):
                fault = f"is longer than {LONGEST // 2**20} MiB"
                while raw and not raw.endswith(b"\n"):
                    raw = stream.readline(LONGEST)
                    size += len(raw)
                raw = b"\n"
            if number == 1:
                if raw.startswith(_WIDE) or b"\0" in raw:
                    raise InputError(f"{name}: is UTF-16 or UTF-32, or not text; save it as UTF-8")
                raw = raw.removeprefix(codecs.BOM_UTF8)
            try:
                text = raw.decode()
            except UnicodeDecodeError as error:
                text = raw.decode(errors="surrogateescape")
                fault = f"is not UTF-8 (byte {start + error.start + 1} of the file)"
            if "\0" in text:
                fault = "holds a NUL character"
            yield _Line(number, text, fault, size)
            start += size
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "damaged or cut short"
        raise InputError(f"{name}: can't be read ({reason}); see whether the file is whole") from None


def _text_row(line: _Line) -> Row:
    text = line.text.strip()
    fault = line.fault or ("" if has_text(text) else "has no text")
    return Row(line.number, line.number, {"prompt": text}, fault, line.size)


def _json_rows(lines: Iterator[_Line]) -> Iterator[Row]:
    number = read = 0
    for line in lines:
        read += line.size
        if not line.fault and not line.text.strip():
            continue
        number += 1
        row, fault = ({}, line.fault) if line.fault else _json_object(line.text)
        yield Row(number, line.number, row, fault, read)
        read = 0


def _json_object(text: str) -> tuple[dict, str]:
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        return {}, f"is not JSON ({error.msg} at character {error.pos + 1})"
    except (ValueError, RecursionError):  # a number of thousands of digits, or deep nesting
        return {}, "is not JSON that can be read (nested too deeply, or a number too long)"
    return (row, "") if isinstance(row, dict) else ({}, "is not a JSON object")


def is_json_object(text: str) -> bool:
    """Whether a text is one JSON object."""
    return not _json_object(text)[1]


def _csv_rows(records: Iterator[tuple], heading: list[str]) -> Iterator[Row]:
    for number, (line, cells, fault, read) in enumerate(records, 1):
        if not fault and len(cells) != len(heading):
            fault = f"has {len(cells)} cells, the heading has {len(heading)} (quote a text that holds commas)"
        yield Row(number, line, {} if fault else dict(zip(heading, cells, strict=True)), fault, read)


def _records(lines: Iterator[_Line]) -> Iterator[tuple[int, list[str], str, int]]:
    """(first line, cells, fault, bytes) of each record of CSV. After a fault, reading continues with the next line."""
    csv.field_size_limit(LONGEST)
    again: deque[_Line] = deque()
    taken: list[_Line] = []

    def fed() -> Iterator[str]:
        while (line := again.popleft() if again else next(lines, None)) is not None:
            taken.append(line)
            yield line.text

    skipped = 0
    while True:
        reader = csv.reader(fed(), strict=True)
        try:
            for cells in reader:
                first, read = taken[0].number, skipped + sum(line.size for line in taken)
                fault = next((line.fault for line in taken if line.fault), "")
                taken.clear()
                skipped = read
                if cells or fault:
                    yield first, cells, fault, read
                    skipped = 0
            return
        except csv.Error as error:
            begun, *rest = taken
            taken.clear()
            again.extendleft(reversed(rest))
            yield begun.number, [], _csv_fault(str(error)), skipped + begun.size
            skipped = 0


def _csv_fault(message: str) -> str:
    if "expected after" in message:
        return 'has text after a closing quote (inside a quoted text a quote is written twice: "")'
    if "field larger" in message or "unexpected end" in message:
        return "opens a quote that is never closed"
    if "new-line" in message:
        return "has a carriage return inside a line (end lines with LF or CRLF)"
    return f"is not valid CSV ({message})"


def problem(row: Row, column: str, whole_numbers: bool = False) -> str:
    """Why a row's cell is not a text (or, with whole_numbers, a whole number); '' if it is."""
    if row.fault:
        return row.fault
    cell = row.cells.get(column)
    if cell is None:
        return f"'{column}' is missing"
    if whole_numbers and isinstance(cell, int) and not isinstance(cell, bool):
        return ""
    if not isinstance(cell, str):
        return f"'{column}' is not text ({type(cell).__name__})"
    try:
        cell.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, escaped in JSON
        return f"'{column}' holds half a character"
    return f"'{column}' holds a NUL character" if "\0" in cell else ""


def require_columns(found: Sequence[str], columns: Sequence[str], name: str, remedy: str) -> None:
    """Raises InputError if a column is not among those found, or occurs twice among them."""
    for column in columns:
        if column not in found:
            names = ", ".join(map(shown, found[:8])) or "none"
            if found and found[0].lower().startswith("sep="):
                remedy = "remove its first line, which only Excel reads, and keep commas between the columns"
            elif len(found) == 1 and any(mark in found[0] for mark in ";\t"):
                remedy = "save it with commas between the columns"
            raise InputError(f"{name}: no column '{column}' (found: {names}); {remedy}")
        if list(found).count(column) > 1:
            raise InputError(f"{name}: column '{column}' occurs twice; rename one")


def text_columns(found: Sequence[str], column: str, id_column: str | None, name: str) -> list[str]:
    """The columns of texts and of ids, `id` by default; the second only if there is one. Raises InputError for none."""
    require_columns(found, [column], name, "name one with --column")
    id_column = id_column or ("id" if "id" in found else None)
    if id_column is None:
        return [column]
    require_columns(found, [id_column], name, "name one with --id-column")
    return [column, id_column]


def read_columns(
    path: Path,
    columns: Sequence[str],
    readme: str,
    optional: Sequence[str] = (),
    numbers: Sequence[str] = ("id",),
    scalars: Sequence[str] = (),
) -> dict[str, list[str]]:
    """The named columns of a CSV or JSON-lines file, each a list of n texts.

    optional: columns that are read if they exist; a file without ids gets its row numbers as ids.
    numbers: columns that may hold whole numbers too, which become texts; surrounding white space is stripped.
    scalars: columns that may hold any number, true or false, which become texts.
    Raises InputError, naming the row, if the file is empty, can't be read, lacks a column, or has a row with a fault or
    without a text in one of the columns.
    """
    name, form = path.name, form_of(path)
    if form not in ("csv", "jsonl"):
        raise InputError(f"{name}: neither .csv nor .jsonl; see {readme}")
    with opened(path) as stream:
        found, lines = rows(stream, form, name)
        wanted = sorted({*columns, *(c for c in optional if c in found)}, key=lambda column: column != "id")
        if found:
            require_columns(found, wanted, name, f"pass a file in the format of {readme}")
        table: dict[str, list[str]] = {column: [] for column in wanted}
        for row in lines:
            late = [column for column in optional if column in row.cells and column not in table]
            for column in wanted:
                if column in scalars and isinstance(row.cells.get(column), int | float):
                    row.cells[column] = str(row.cells[column])
                fault = problem(row, column, whole_numbers=column in numbers)
                if late:
                    fault = f"has '{late[0]}', which the rows before it lack"
                text = "" if fault else str(row.cells[column])
                if column in numbers:
                    text = text.strip()
                if column == "id" and not fault and not text:
                    fault = "has no id"
                if fault:
                    named = column != "id" and "id" in table and not row.fault
                    place = f"row {row.number} (id {shown(table['id'][-1])})" if named else row.place
                    raise InputError(f"{name}: {place}: {fault}; fix the row or leave it out")
                table[column].append(text)
    n = len(table[columns[0]])
    if not n:
        raise InputError(f"{name}: {'no rows' if found else 'the file is empty'}; see {readme} for the format")
    if "id" in optional and "id" not in table:
        table["id"] = [str(number) for number in range(1, n + 1)]
    return table
