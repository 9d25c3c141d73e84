"""A store that can be read but not written, as in a folder of somebody else."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from Safety_Detection import fit
from Safety_Taxonomy.evaluate import TASK as TAXONOMY
from utils import config
from utils.evaluation import run as evaluation_run
from utils.schema import InputError
from utils.store.embeddings import EmbeddingStore

AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
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


def runs_as_nobody():
    try:
        return not subprocess.run([*AS_NOBODY, sys.executable, "-c", "import numpy"], capture_output=True).returncode
    except OSError:
        return False


def test_the_stored_vectors_of_somebody_else_serve_all_that_reads_them(tmp_path, monkeypatch):
    """Each command of a user who may write in another folder only."""
    if not runs_as_nobody():
        pytest.skip("a command can't be run as another user here")
    cache, detector, theirs = tmp_path / "cache", tmp_path / "detector", tmp_path / "theirs"
    monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(cache))
    flags = ["--data", "sample", "--model", "all-minilm-l6-v2", "--quiet"]
    assert evaluation_run.evaluate(TAXONOMY, [*flags, "--bootstrap", "0", "--out", str(tmp_path / "ours")]) == 0
    assert fit.main([*flags, "--out", str(detector)]) == 0
    theirs.mkdir()
    (theirs / "prompts.txt").write_text("one\n")
    theirs.chmod(0o777)
    for folder in tmp_path.parents:
        if folder.is_relative_to(tempfile.gettempdir()) and folder != Path(tempfile.gettempdir()):
            folder.chmod(0o755)
    tmp_path.chmod(0o755)
    before = {path.name: path.read_bytes() for path in cache.iterdir()}
    evaluation = ["Safety_Taxonomy.evaluate", *flags, "--bootstrap", "0", "--out", "out"]
    for expected, command in (
        (0, evaluation),
        (0, ["utils.compare", "--data", "sample", "--out", "out"]),
        (1, ["utils.report", "--data", "sample", "--out", "out", "--quiet"]),  # nor are the maps
        (0, ["utils.store"]),
        (0, ["Safety_Detection.score", "--detector", str(detector), "--input", "prompts.txt"]),
    ):
        run = subprocess.run(
            [*AS_NOBODY, sys.executable, "-m", *command],
            cwd=config.ROOT,
            env=os.environ | {"HOME": str(theirs), "SAFE_EMBED_CALLED_FROM_DIR": str(theirs)},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0 and "Traceback" not in run.stderr, run.stderr
        assert run.stderr.count("is read only; nothing new is kept") == expected
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == before
