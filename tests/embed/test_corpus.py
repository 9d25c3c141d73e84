"""A corpus to shards: the rows and vectors are those of the file whatever cuts, stops or kills the run."""

import bz2
import gzip
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import checkpoints
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import workers
from doubles import StandIn
from hypothesis import given
from hypothesis import strategies as st

from utils import config, parts
from utils.data import parquet
from utils.embed import __main__ as embed_main
from utils.embed import cluster, corpus
from utils.embed.embedder import Embedder
from utils.encoders import loading, registry

WORDS = ["stone", "river", 'a "quoted" word', "two\nlines", "a, comma", "naïve", "NA", "007"]
TEXTS = [f"{WORDS[i % 8]} {'and more ' * (i % 5)}{i % 40}" for i in range(53)]  # 13 of them occur twice
IDS = [f"{i:03}" for i in range(53)]
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray, an extra, is not installed")


def write(path: Path, texts=TEXTS, ids=IDS) -> Path:
    """A corpus in the format that its name says."""
    frame = pd.DataFrame({"id": ids, "prompt": texts, "length": [len(text) for text in texts]})
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pandas(frame), path, row_group_size=7)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")))
    else:
        frame.to_csv(path, index=False)
    return path


def run(source, output, *flags):
    return embed_main.main(["--input", str(source), "--output", str(output), "--shard-rows", "10", *flags])


def fails(capsys, status, source, output, *flags):
    """The one line that a run ends with."""
    assert run(source, output, "--quiet", *flags) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return captured.err


def vectors(output):
    frame = pd.read_parquet(output)
    assert list(frame["row"]) == list(range(len(frame)))
    return np.stack(frame["vector"])


def contents(output):
    return {path.name: path.read_bytes() for path in output.glob("part-*")}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return str(checkpoints.bert(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def made(tmp_path_factory, bert):
    """A corpus, and the shards that an undisturbed local run makes of it."""
    folder = tmp_path_factory.mktemp("made")
    source = write(folder / "prompts.parquet")
    assert run(source, folder / "shards", "--model", bert, "--quiet") == 0
    return source, folder / "shards"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    paths = [write(folder / f"corpus{suffix}") for suffix in (".parquet", ".csv", ".jsonl")]
    (folder / "corpus.csv.gz").write_bytes(gzip.compress(paths[1].read_bytes()))
    (folder / "other.CSV").write_bytes(paths[1].read_bytes())
    (folder / "corpus.jsonl.bz2").write_bytes(bz2.compress(paths[2].read_bytes()))
    with pa.CompressedOutputStream(str(folder / "corpus.jsonl.zst"), "zstd") as stream:
        stream.write(paths[2].read_bytes())
    more = ("corpus.csv.gz", "other.CSV", "corpus.jsonl.bz2", "corpus.jsonl.zst")
    return [*paths, *(folder / name for name in more)]


@given(st.lists(st.tuples(st.integers(0, 52), st.integers(1, 53)).filter(lambda pair: pair[0] < pair[1]), max_size=5))
def test_any_rows_in_any_order_are_those_of_the_file(files, spans):
    with pytest.MonkeyPatch.context() as small:
        small.setattr(parquet, "BATCH_ROWS", 3)
        for path in files:
            read = corpus.Corpus(path, "prompt")
            assert read.count() == 53
            for start, stop in spans:
                texts, ids = read.rows(start, stop)
                assert (texts, ids.to_pylist()) == (TEXTS[start:stop], IDS[start:stop])


def test_shards_hold_every_row_once_and_no_text(made):
    output = made[1]
    # 53 rows by 10: five shards of 10 and one of 3.
    assert [pq.read_metadata(path).num_rows for path in sorted(output.glob("part-*"))] == [10, 10, 10, 10, 10, 3]
    frame = pd.read_parquet(output)
    assert list(frame.columns) == ["row", "id", "truncated", "vector"] and list(frame["id"]) == IDS
    assert pq.read_schema(output / "part-00005.parquet").field("vector").type == pa.list_(pa.float32(), 16)
    assert not any(b"stone" in content or b"river" in content for content in contents(output).values())
    manifest = json.loads((output / "_manifest.json").read_text())
    assert manifest["done"]["rows"] == manifest["input"]["rows"] == 53
    assert manifest["encoder"]["dimension"] == 16


def test_vectors_are_those_of_the_embedder_and_of_sentence_transformers(made, bert):
    from sentence_transformers import SentenceTransformer

    got = vectors(made[1])
    np.testing.assert_allclose(got, Embedder(registry.resolve(bert)).embed(TEXTS, IDS).matrix, atol=1e-6)
    np.testing.assert_allclose(got, SentenceTransformer(bert, device="cpu").encode(TEXTS), atol=1e-6)


def test_a_restart_makes_what_is_missing_or_damaged_and_nothing_else(tmp_path, made, bert, monkeypatch, capsys):
    source, before = made[0], contents(made[1])
    output = tmp_path / "shards"
    shutil.copytree(made[1], output)
    (output / "part-00001.parquet").unlink()
    (output / "part-00003.parquet").write_bytes(before["part-00003.parquet"][:-100])
    shutil.copy(output / "part-00005.parquet", output / "part-00004.parquet")  # three rows where ten belong
    (output / ".part-00002.parquet.killed").write_text("half a shard")
    encoded, load = [], loading.load

    def logged(spec):
        encoder = load(spec)
        monkeypatch.setattr(
            encoder, "encode", lambda texts, encode=encoder.encode: encoded.extend(texts) or encode(texts)
        )
        return encoder

    monkeypatch.setattr(loading, "load", logged)
    assert run(source, output, "--model", bert) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("embedded 30 rows with tiny, reused 23: 6 shards")
    assert "part-00003.parquet is damaged; it is made again" in captured.err
    assert "part-00004.parquet is not whole; it is made again" in captured.err
    assert sorted(encoded) == sorted([*TEXTS[10:20], *TEXTS[30:50]])
    assert contents(output) == before and not list(output.glob(".part-*"))
    encoded.clear()
    assert run(source, output, "--model", bert) == 0
    assert capsys.readouterr().out.startswith("embedded 0 rows with tiny, reused 53") and not encoded


SLOW = (
    "import sys, time; sys.path.insert(0, 'tests')\n"
    "from workers import Lengths\n"
    "from utils.embed.__main__ import main\n"
    "from utils.encoders import loading\n"
    "class Slow(Lengths):\n"
    "    def encode(self, texts):\n"
    "        time.sleep(0.02)\n"
    "        return super().encode(texts)\n"
    "loading.load = lambda spec: Slow()\n"
    "sys.exit(main(sys.argv[1:]))\n"
)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_killed_or_interrupted_it_goes_on_where_it_stood(tmp_path, files, sent, monkeypatch, capsys):
    output = tmp_path / "shards"
    flags = ["--input", str(files[1]), "--shard-rows", "5", "--output"]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *flags, str(output)],
        cwd=config.ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job, as the tests may be, starts with the signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (output / "part-00002.parquet").exists():
        time.sleep(0.002)
        assert process.poll() is None
    process.send_signal(sent)
    errors = process.communicate()[1]
    before = {path: path.stat().st_ino for path in output.glob("part-*")}
    assert 3 <= len(before) < 11
    assert process.returncode == (-9 if sent == signal.SIGKILL else 130)
    if sent == signal.SIGINT:
        assert errors.splitlines()[-1].startswith("interrupted;") and "Traceback" not in errors
    monkeypatch.setattr(loading, "load", lambda spec: workers.Lengths())
    assert embed_main.main([*flags, str(output)]) == 0
    assert capsys.readouterr().out.startswith(f"embedded {53 - 5 * len(before)} rows with all-minilm-l6-v2")
    assert {path: path.stat().st_ino for path in before} == before, "a finished shard is left alone"
    assert embed_main.main([*flags, str(tmp_path / "whole")]) == 0
    assert contents(output) == contents(tmp_path / "whole")
    assert vectors(output).tolist() == workers.Lengths().encode(TEXTS).tolist()


def test_a_full_disk_keeps_what_is_finished(tmp_path, made, bert, monkeypatch, capsys):
    output, calls, fsync = tmp_path / "shards", [], os.fsync

    def full(descriptor):
        calls.append(descriptor)
        # One of the manifest, one of the first shard, one of the manifest again; the fourth is the second shard's.
        workers.no_space(descriptor) if len(calls) == 4 else fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    line = fails(capsys, 3, made[0], output, "--model", bert)
    assert re.search(r"part-00001.parquet: can't be written \(No space left on device\); .* command continues", line)
    assert sorted(path.name for path in output.iterdir()) == ["_manifest.json", "part-00000.parquet"]
    assert run(made[0], output, "--model", bert) == 0
    assert capsys.readouterr().out.startswith("embedded 43 rows with tiny, reused 10")
    assert contents(output) == contents(made[1])


@pytest.mark.parametrize(
    ("name", "content", "flags", "message"),
    [
        ("a.csv", "id,text\n1,secret\n", [], r"a.csv: no column 'prompt' \(found: id, text\); name one with --column"),
        ("a.jsonl", '{"id": 1, "text": "secret"}\n', [], r"a.jsonl: no column 'prompt' \(found: id, text\)"),
        ("a.csv", "id,prompt\n", [], "a.csv: no rows; there is nothing to embed"),
        ("a.csv", "", [], "a.csv: the file is empty; there is nothing to embed"),
        ("a.csv", "id,prompt\n1,secret\n2, \n", [], r"a.csv: row 2 \(line 3\): has no text in 'prompt'; fix or remove"),
        ("a.jsonl", '{"prompt": "secret"}\n{"prompt": null}\n', [], r"a.jsonl: line 2: 'prompt' is missing"),
        ("a.jsonl", '{"prompt": "secret", "id": 1}\n{"prompt": "x", "id": null}\n', [], "line 2: 'id' is missing"),
        (
            "a.jsonl",
            '{"prompt": "s"}\n' * 101 + '{"prompt": "x", "id": 5}\n',
            [],
            "line 102: has an 'id', which the rows",
        ),
        ("a.jsonl", '{"prompt": "a", "id": 1}\n{"prompt": "x", "id": "2"}\n', [], "'id' is text here and a number"),
        ("a.jsonl", '{"prompt": "a", "id": 9223372036854775808}\n', [], "'id' is a number of more than 64 bits"),
        ("a.jsonl", '{"prompt": "secret", "id": 1.5}\n', [], r"line 1: 'id' is not text \(float\)"),
        ("a.jsonl", '{"prompt": "secret"}\n{"prompt": "x\n', [], r"line 2: is not JSON \(.*character 14"),
        ("a.csv", "id,prompt,prompt\n1,secret,b\n", [], "a.csv: column 'prompt' occurs twice; rename one"),
        ("a.csv", "id,prompt\n1,secret\n".encode("utf-16"), [], "a.csv: is UTF-16 or UTF-32, or not text; save it as"),
        ("a.parquet", "secret", [], r"a.parquet: can't be read \(it is not Parquet, or is damaged\)"),
        ("a.txt", "secret", [], "--input a.txt: unknown kind of file; give .parquet, .csv, .jsonl, .ndjson"),
        ("a.csv", "prompt\nsecret\n", ["--model", "tfidf"], "--model tfidf: .* can't embed a corpus by shards"),
        ("a.csv", "prompt\nsecret\n", ["--model", "openai:x"], "--model openai:x: is an API"),
        ("a.csv", "prompt\nsecret\n", ["--workers", "2"], "--workers: for --executor ray only"),
        ("a.csv", "prompt\nsecret\n", ["--shard-rows", "0"], "--shard-rows 0: give a whole number of at least 1"),
    ],
)
def test_bad_input(tmp_path, capsys, name, content, flags, message):
    """tests/data/test_reading.py has what is wrong with a row of any file."""
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    line = fails(capsys, 2, tmp_path / name, tmp_path / "shards", *flags)
    assert re.search(message, line) and "secret" not in line
    assert not (tmp_path / "shards").exists()


def test_without_ray_its_extra_is_named(tmp_path, made, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    line = fails(capsys, 2, made[0], tmp_path / "shards", "--executor", "ray")
    assert "needs Ray, which is an extra: pip install -r requirements-ray.txt; or use --executor local" in line


@pytest.mark.parametrize(
    ("flags", "differs"),
    [
        (["--shard-rows", "11"], "--shard-rows"),
        (["--prompt", "query: "], "encoder"),
        (["--id-column", "prompt"], "--id-column"),
        (["--column", "id", "--dtype", "bfloat16"], "--column, encoder"),
    ],
)
def test_shards_of_another_run_are_not_mixed_with(made, bert, capsys, flags, differs):
    before = contents(made[1])
    line = fails(capsys, 2, made[0], made[1], "--model", bert, *flags)
    assert f"holds shards made with another {differs}; give another --output" in line
    assert contents(made[1]) == before


def test_a_folder_that_is_not_ours_or_is_in_use(tmp_path, made, bert, capsys):
    (tmp_path / "thesis.tex").write_text("")
    assert "holds other files; move them away, or give" in fails(capsys, 2, made[0], tmp_path, "--model", bert)
    assert "--output" in fails(capsys, 2, made[0], tmp_path / "thesis.tex" / "x", "--model", bert)
    shutil.copytree(made[1], tmp_path / "shards")
    for broken in ("{}", "[" * 100_000):
        (tmp_path / "shards" / "_manifest.json").write_text(broken)
        line = fails(capsys, 2, made[0], tmp_path / "shards", "--model", bert)
        assert "_manifest.json: not a manifest that this version reads" in line
    with parts.only_run(made[1]):
        assert "another run writes there" in fails(capsys, 2, made[0], made[1], "--model", bert)
    assert run(made[0], made[1], "--model", bert, "--quiet") == 0
    assert {path.name for path in made[1].iterdir()} == {"_manifest.json", *contents(made[1])}, "no lock's file is left"


def test_a_corpus_that_changes_meanwhile_is_not_marked_complete(tmp_path, monkeypatch, capsys):
    source = write(tmp_path / "prompts.csv")

    class Appending(StandIn):
        dimension = 2

        def encode(self, texts):
            with source.open("a") as stream:
                stream.write("054,another,7\n")
            return np.ones((len(texts), 2), dtype=np.float32)

    monkeypatch.setattr(loading, "load", lambda spec: Appending())
    assert "prompts.csv: changed while it was read; start again with" in fails(capsys, 2, source, tmp_path / "shards")
    assert json.loads((tmp_path / "shards" / "_manifest.json").read_text())["done"] is None


@needs_ray
def test_a_killed_worker_costs_no_row_and_the_vectors_are_the_same(tmp_path, files, monkeypatch, capfd):
    output = tmp_path / "shards"
    monkeypatch.setattr(cluster, "Worker", workers.KilledOnce)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(config.ROOT), str(config.ROOT / "tests")]))
    assert run(files[0], output, "--executor", "ray", "--workers", "2") == 0
    begun = [line.split() for line in Path(f"{output}.log").read_text().splitlines()]
    assert len({process for process, shard in begun if shard == "3"}) == 2, "begun again by another after the kill"
    assert len(begun) == 7, "the other shards once"
    assert vectors(output).tolist() == workers.Lengths().encode(TEXTS).tolist()
    assert list(pd.read_parquet(output)["id"]) == IDS
    captured = capfd.readouterr()
    assert captured.out.startswith("embedded 53 rows with all-minilm-l6-v2, reused 0")
    assert captured.out.count("\n") == 1 and len(captured.err.splitlines()) == 3, "Ray itself is not heard"
    assert not list(output.glob(".part-*"))
