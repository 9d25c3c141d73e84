"""`python -m utils.store`: what is kept, how it is freed, and how it is written to a file."""

import numpy as np
import pandas as pd
import pytest
from doubles import Scattered

from Safety_Challenging.task import TASK as CHALLENGING
from utils.embed.vectors import FORMS
from utils.encoders.registry import resolve
from utils.schema import EncoderInfo
from utils.store import __main__ as command
from utils.store.embeddings import MAP, EmbeddingStore, default_path


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A store with three vectors and a map of encoder A, and a vector of one without a name."""
    monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(tmp_path))
    store = EmbeddingStore(default_path())
    store.put("a" * 32, ["x", "y", "z"], np.eye(3, 4, dtype=np.float32))
    store.put_fact("a" * 32, f"{MAP}1", {"points": [0, 1]})
    store.put_encoder_info(EncoderInfo("A", "A", "A", "1", 4, "float32", None, "", "torch", "a" * 32))
    store.put("b" * 32, ["x"], np.ones((1, 4), dtype=np.float32))
    return store


def test_what_is_kept_is_listed_with_its_numbers(kept, capsys):
    assert command.main([]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["encoder", "fingerprint", "vectors", "maps", "MiB"]
    assert [line.split() for line in printed[2:4]] == [
        ["A", "a" * 32, "3", "1", "0.0"],
        ["?", "b" * 32, "1", "0", "0.0"],
    ]
    assert printed[-1] == str(kept.path)


def test_prune_removes_one_encoder_and_no_other(kept, capsys):
    assert command.main(["--prune", "C"]) == 2
    assert capsys.readouterr().err == "error: --prune C: not in the store; python -m utils.store shows what is\n"
    assert command.main(["--prune", "A"]) == 0
    assert capsys.readouterr().out == f"removed 3 vectors and 1 maps of A ({'a' * 32})\n"
    assert [one.fingerprint for one in kept.contents()] == ["b" * 32]
    assert command.main(["--prune", "b" * 32]) == 0 and not kept.contents()
    capsys.readouterr()
    assert command.main([]) == 0 and capsys.readouterr().out.startswith("the store is empty\n")


def exported(path):
    """The columns of a file of vectors, as lists, and the vectors."""
    if path.suffix == ".npz":
        columns = dict(np.load(path))
        return {name: cells.tolist() for name, cells in columns.items() if name != "vector"}, columns["vector"]
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_json(path, lines=True, dtype=False)
    return table.drop(columns="vector").to_dict("list"), np.stack(table.pop("vector")).astype(np.float32)


@pytest.mark.parametrize("suffix", FORMS)
def test_vectors_are_exported_with_ids_and_without_texts(no_model, tmp_path, capsys, suffix):
    pairs = [("7", "a", "unsafe one", "safe one"), ("x", "a", "unsafe two", "safe two")]
    (tmp_path / "pairs.csv").write_text("\n".join(map(",".join, [CHALLENGING.format.columns, *pairs])))
    path = tmp_path / f"out{suffix}"
    flags = ["export", "--task", "safety_challenging", "--data", str(tmp_path / "pairs.csv"), "--out", str(path)]
    assert command.main(flags) == 0
    columns, vectors = exported(path)
    texts = [pair[i] for i in (2, 3) for pair in pairs]
    assert (vectors == Scattered().encode(texts)).all()
    mark = resolve("all-minilm-l6-v2").fingerprint
    assert columns == {
        "id": ["7", "x"] * 2, "group": ["a"] * 4, "column": ["unsafe_prompt"] * 2 + ["safe_prompt"] * 2,
        "encoder": [f"all-minilm-l6-v2@{mark}"] * 4,
    }  # fmt: skip
    assert not [text for text in texts if text.encode() in path.read_bytes()]
    captured = capsys.readouterr()
    assert captured.out == f"wrote {path}: 4 vectors of 16 numbers by all-minilm-l6-v2@{mark[:7]}\n"
    before = path.read_bytes()
    assert command.main(flags) == 0 and "loading" in captured.err and "loading" not in capsys.readouterr().err
    assert suffix == ".npz" or path.read_bytes() == before  # which holds the time


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--out", "a.csv"], "a.csv: unknown kind of file; give one of .parquet, .npz, .jsonl"),
        (["--out", "a.npz", "--model", "tfidf"], "--model tfidf: is fitted on the data"),
        (["--out", "a.npz", "--model", "a,b"], "--model a,b: a file of vectors takes one encoder"),
    ],
)
def test_an_export_that_is_not_possible_is_refused_in_one_line(tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(tmp_path)
    assert command.main(["export", "--task", "safety_taxonomy", *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not list(tmp_path.glob("a.*"))
