"""`python -m utils.store`: what is kept, and how it is freed."""

import numpy as np
import pytest

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


def test_an_empty_store_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(tmp_path))
    assert command.main([]) == 0 and capsys.readouterr().out.startswith("the store is empty\n")


@pytest.mark.parametrize("name", ["A", "a" * 32])
def test_prune_removes_one_encoder_and_no_other(kept, capsys, name):
    assert command.main(["--prune", name]) == 0
    assert capsys.readouterr().out == f"removed 3 vectors and 1 maps of A ({'a' * 32})\n"
    assert [one.fingerprint for one in kept.contents()] == ["b" * 32]


def test_prune_of_what_is_not_there_is_refused(kept, capsys):
    assert command.main(["--prune", "C"]) == 2
    assert capsys.readouterr().err == "error: --prune C: not in the store; python -m utils.store shows what is\n"
    assert len(kept.contents()) == 2
