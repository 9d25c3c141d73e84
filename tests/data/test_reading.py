"""The one reader: every row comes back, or is named with what is wrong with it; none takes another along."""

import csv
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.data import reading
from utils.data.reading import dataset_stem, form_of
from utils.schema import InputError

CELLS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


def read(content, form="csv"):
    content = content if isinstance(content, bytes) else content.encode()
    columns, rows = reading.rows(io.BytesIO(content), form, "a file")
    return columns, list(rows)


def faults(content, form="csv"):
    """(row, line, fault) of those that have one, and the cells of the others by row."""
    rows = read(content, form)[1]
    return (
        [(row.number, row.line, row.fault) for row in rows if row.fault],
        {row.number: list(row.cells.values()) for row in rows if not row.fault},
    )


@given(st.lists(st.tuples(CELLS, CELLS), max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_the_csv_module_writes_is_read_back(table, end, marked):
    stream = io.StringIO(newline="")
    csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator=end).writerows([("id", "prompt"), *table])
    content = ("\ufeff" if marked else "") + stream.getvalue()
    columns, rows = read(content)
    assert columns == ["id", "prompt"]
    assert [(row.cells["id"], row.cells["prompt"], row.fault) for row in rows] == [(a, b, "") for a, b in table]
    # Every byte is that of some row, but those of the heading.
    assert sum(row.read for row in rows) == len(content.encode()) - len(("\ufeff" if marked else "").encode()) - len(
        f'"id","prompt"{end}'
    )


@given(st.lists(st.dictionaries(CELLS, st.one_of(CELLS, st.integers(), st.none())), max_size=6))
def test_what_the_json_module_writes_is_read_back(objects):
    for ascii_only in (True, False):
        content = "".join(json.dumps(one, ensure_ascii=ascii_only) + "\n \n" for one in objects)
        rows = read(content, "jsonl")[1]
        assert [row.cells for row in rows] == objects and not any(row.fault for row in rows)
        assert [row.line for row in rows] == [1 + 2 * i for i in range(len(objects))]
        assert [row.number for row in rows] == list(range(1, len(objects) + 1))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('a,b\n1,"x\ny",z\n', "has 3 cells, the heading has 2 (quote a text that holds commas)"),
        ("a,b\n1\n", "has 1 cells, the heading has 2 (quote a text that holds commas)"),
        ('a,b\n1,"x\n', "opens a quote that is never closed"),
        ('a,b\n1,"x"y\n', 'has text after a closing quote (inside a quoted text a quote is written twice: "")'),
        ("a,b\n1,x\ry\n", "has a carriage return inside a line (end lines with LF or CRLF)"),
        # 4 bytes of the heading, `1,` and the wrong one.
        (b"a,b\n1,\xe9\n", "is not UTF-8 (byte 7 of the file)"),
        ("a,b\n1,x\0\n", "holds a NUL character"),
    ],
)
def test_what_is_wrong_with_a_row_of_csv(content, fault):
    assert faults(content)[0] == [(1, 2, fault)]


def test_a_line_that_never_ends_takes_no_memory_and_no_other_row(monkeypatch):
    monkeypatch.setattr(reading, "LONGEST", 2**20)
    long = "x" * (2**20 + 5)
    found, good = faults(f"a,b\n1,x\n2,{long}\n3,z\n")
    assert found == [(2, 3, "is longer than 1 MiB")] and good == {1: ["1", "x"], 3: ["3", "z"]}
    found, good = faults(f'{{"a": "{long}"}}\n{{"a": 1}}\n', "jsonl")
    assert found == [(1, 1, "is longer than 1 MiB")] and good == {2: [1]}
    # A cell of many lines is held to the same length.
    monkeypatch.setattr(reading, "LONGEST", 2**14)
    found, good = faults('a,b\n1,"' + "x\n" * (2**13 + 1) + '"\n')
    assert found[0] == (1, 2, "opens a quote that is never closed")


@pytest.mark.parametrize(
    ("name", "form", "stem"),
    [
        ("a_1.0_en.csv", "csv", "a_1.0_en"),
        ("a_1.0_fr.CSV", "csv", "a_1.0_fr"),
        ("a.b.jsonl.gz", "jsonl", "a.b"),
        ("a.NDJSON.Zst", "jsonl", "a"),
        ("a.parquet", "parquet", "a"),
        ("a.parquet.gz", None, "a"),
        ("a.1", None, "a.1"),
        ("a.txt.bz2", "text", "a"),
    ],
)
def test_the_name_of_a_file(tmp_path, name, form, stem):
    assert (form_of(tmp_path / name), dataset_stem(tmp_path / name)) == (form, stem)


def test_a_file_that_may_not_be_read_and_a_pipe_are_refused(tmp_path, monkeypatch):
    path, pipe = tmp_path / "mine.csv", tmp_path / "pipe.csv"
    path.write_text("id\n1\n")
    os.mkfifo(pipe)
    with pytest.raises(InputError, match=r"--data pipe\.csv: is a pipe or a device.*; save it as a file first"):
        reading.refuse_unreadable(pipe, "--data pipe.csv", "give one")
    reading.refuse_unreadable(path, "--data mine.csv", "give one")

    def refused(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)  # root may read whatever its mode
    with pytest.raises(InputError, match=r"--data mine\.csv: can't be read \(Permission denied\); give one"):
        reading.refuse_unreadable(path, "--data mine.csv", "give one")
