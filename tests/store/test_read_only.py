"""A store that can be read but not written, as in a folder of somebody else."""

import numpy as np
import pytest

from utils.schema import InputError
from utils.store.embeddings import EmbeddingStore

ROWS = np.eye(2, dtype=np.float32)


@pytest.fixture
def kept(tmp_path):
    """An open store with the vectors of the texts a and b."""
    store = EmbeddingStore(tmp_path / "cache" / "embeddings.sqlite")
    store.put("f", ["a", "b"], ROWS)
    return store


def test_a_store_that_can_no_longer_be_written_says_so_once(kept, capsys):
    kept._connection.execute("PRAGMA query_only=1")
    kept.put("f", ["c"], ROWS[:1])
    kept.put_fact("f", "x", {})
    assert kept.get("f", ["a", "b", "c"]).keys() == {"a", "b"} and kept.fact("f", "x") is None
    assert capsys.readouterr().err == f"embedding store: {kept.path} is read only; nothing new is kept\n"
    with pytest.raises(InputError, match="it may be read only; make it writable"):
        kept.prune("f")


def test_a_store_that_can_only_be_read_is_read(kept, capsys):
    kept.close()
    # A folder in the place of the log keeps even root from writing.
    kept.path.with_name(f"{kept.path.name}-wal").mkdir()
    store = EmbeddingStore(kept.path)
    assert store.get("f", ["a", "b"])["b"].tolist() == [0, 1]
    assert [one.vectors for one in store.contents()] == [2] and capsys.readouterr().err == ""
    store.put("f", ["c"], ROWS[:1])
    assert store.get("f", ["c"]) == {} and "is read only; nothing new is kept" in capsys.readouterr().err
    with pytest.raises(InputError, match="make it writable"):
        store.prune("f")
    store.close()


def test_a_damaged_store_that_can_only_be_read_is_left_where_it_is(kept):
    kept.close()
    kept.path.with_name(f"{kept.path.name}-wal").mkdir()
    with kept.path.open("r+b") as stream:
        stream.write(b"\xff" * 4096)
    with pytest.raises(InputError, match="can't be used"):
        EmbeddingStore(kept.path)
    assert not list(kept.path.parent.glob("*.damaged-*"))
