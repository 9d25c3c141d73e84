"""Prompts to matrix, and the store under it, with an encoder that counts what it is asked for."""

import contextlib
import random
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
from doubles import StandIn
from hypothesis import given
from hypothesis import strategies as st

from utils import config
from utils.embed.embedder import Embedder, batches
from utils.encoders import loading, registry
from utils.schema import InputError
from utils.store import embeddings as store


class CountingEncoder(StandIn):
    """A vector of text statistics, so that a wrong row can't go unseen."""

    dimension, max_tokens = 3, 64

    def __init__(self):
        self.asked = []

    def token_counts(self, texts):
        return np.array([len(text) for text in texts])

    def encode(self, texts):
        self.asked += texts
        return np.array([[len(t), sum(map(ord, t)), 1] for t in texts], dtype=np.float32)


@pytest.fixture
def encoder(monkeypatch):
    counting = CountingEncoder()
    monkeypatch.setattr(loading, "load", lambda spec: counting)
    return counting


@pytest.fixture
def kept(tmp_path):
    return store.EmbeddingStore(tmp_path / "store" / "embeddings.sqlite")


SPEC = registry.resolve("all-minilm-l6-v2")
TEXTS = ["b", "a", "ccc", "a", "dd", "b"]
IDS = [f"id {i}" for i in range(6)]


def expected(texts):
    return [[len(t), sum(map(ord, t)), 1] for t in texts]


def test_rows_are_in_order_and_each_text_is_computed_once(encoder, kept):
    embedded = Embedder(SPEC, kept).embed(TEXTS, IDS)
    assert embedded.matrix.tolist() == expected(TEXTS)
    assert sorted(encoder.asked) == ["a", "b", "ccc", "dd"]
    stats = embedded.stats
    assert (stats.prompts, stats.unique, stats.computed, stats.reused) == (6, 4, 4, 0)


def test_what_is_stored_is_not_computed_nor_the_encoder_loaded(encoder, kept, monkeypatch):
    Embedder(SPEC, kept).embed(TEXTS, IDS)
    again = Embedder(SPEC, kept).embed([*TEXTS, "new"], [*IDS, "id 6"])
    assert encoder.asked.count("a") == 1 and encoder.asked[-1] == "new"
    assert (again.stats.computed, again.stats.reused, again.info.dimension) == (1, 4, 3)
    monkeypatch.setattr(loading, "load", lambda spec: pytest.fail("the encoder was loaded"))
    third = Embedder(SPEC, kept).embed(TEXTS, IDS)
    assert third.matrix.tolist() == expected(TEXTS) and third.device is None
    assert (third.info.dimension, third.info.max_tokens) == (3, 64)


@pytest.mark.parametrize(("bad", "what"), [(np.nan, "NaN or infinity"), (np.inf, "NaN"), (0.0, "a zero vector")])
def test_vectors_without_direction_are_refused_with_the_items_id_and_not_stored(encoder, kept, bad, what):
    good = encoder.encode
    encoder.encode = lambda texts: np.where([[t == "ccc"] for t in texts], np.float32(bad), good(texts))
    with pytest.raises(InputError, match=f"gave {what}.* for id 2; leave that row out"):
        Embedder(SPEC, kept).embed(TEXTS, IDS)
    assert kept.get(SPEC.fingerprint, ["ccc"]) == {}


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 1000), st.sampled_from([None, 1, 7]))
def test_batches_hold_every_index_once_within_the_budget(lengths, budget, most):
    parts = batches(np.array(lengths, dtype=int), budget, most)
    assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
    for part in parts:
        longest = max(lengths[i] for i in part)
        assert longest * len(part) <= budget or len(part) == 1
        assert most is None or len(part) <= most


def test_a_damaged_row_is_recomputed(encoder, kept):
    Embedder(SPEC, kept).embed(TEXTS, IDS)
    with sqlite3.connect(kept.path) as connection:
        connection.execute("UPDATE embeddings SET vector = x'0000803f' || substr(vector, 5) WHERE crc32 > 0")
    again = Embedder(SPEC, kept).embed(TEXTS, IDS)
    assert again.matrix.tolist() == expected(TEXTS)
    assert again.stats.computed == 2, "ccc and dd; the vectors of a and b start with 1 anyway"


def test_a_damaged_file_is_set_aside_with_a_message(encoder, kept, capsys):
    Embedder(SPEC, kept).embed(TEXTS, IDS)
    kept.close()
    kept.path.write_bytes(b"not a database at all" * 100)
    fresh = store.EmbeddingStore(kept.path)
    assert Embedder(SPEC, fresh).embed(TEXTS, IDS).stats.computed == 4
    assert "is damaged" in capsys.readouterr().err
    assert len(list(kept.path.parent.glob("*.damaged-*"))) == 1


def test_two_processes_write_at_once(kept):
    code = (
        "import sys, numpy as np; from pathlib import Path; from utils.store.embeddings import EmbeddingStore\n"
        "store = EmbeddingStore(Path(sys.argv[1]))\n"
        "for i in range(60): store.put('f', [f'{sys.argv[2]} {i}'], np.full((1, 4), i, np.float32))"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(kept.path), name], cwd=config.ROOT) for name in ("x", "y")
    ]
    assert [process.wait() for process in both] == [0, 0]
    texts = [f"{name} {i}" for name in "xy" for i in range(60)]
    found = kept.get("f", texts)
    assert len(found) == 120 and all(found[text][0] == int(text.split()[1]) for text in texts)


def test_a_store_that_another_run_holds_or_that_is_full_says_so(encoder, kept):
    with contextlib.closing(sqlite3.connect(kept.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        kept._connection.execute("PRAGMA busy_timeout=0")
        with pytest.raises(InputError, match="another run holds it; wait for that run to end") as held:
            kept.put_fact("f", "x", {})
        assert "space" not in str(held.value)
    kept._connection.execute("PRAGMA max_page_count=1")
    with pytest.raises(InputError, match="free some space"):
        kept.put_fact("f", "x", {"long": "x" * 100_000})
    assert not list(kept.path.parent.glob("*.damaged-*"))


def test_the_store_holds_no_text(encoder, kept):
    Embedder(SPEC, kept).embed(["a rather recognisable prompt"], ["id 0"])
    kept.close()
    assert b"recognisable" not in kept.path.read_bytes()


class SmallMemory(CountingEncoder):
    """An encoder whose device has room for so many padded tokens."""

    token_budget, room = 1000, 40

    def encode(self, texts):
        if len(texts) * max(map(len, texts)) > self.room:
            raise MemoryError
        return super().encode(texts)


def test_a_batch_that_does_not_fit_is_halved_until_it_does_or_a_text_is_named(monkeypatch, kept):
    small = SmallMemory()
    monkeypatch.setattr(loading, "load", lambda spec: small)
    texts = ["x" * (1 + i % 20) + str(i) for i in range(50)]
    embedded = Embedder(SPEC, kept).embed(texts, [str(i) for i in range(50)])
    assert embedded.matrix.tolist() == expected(texts)
    assert sorted(small.asked) == sorted(texts), "each encoded once"
    small.room = 5
    with pytest.raises(InputError, match=r"no memory on cpu for id 2 alone \(6 tokens\); try --dtype bfloat16"):
        Embedder(SPEC, kept).embed(["a", "b" * 3, "c" * 6], ["id 0", "id 1", "id 2"])


def test_killed_at_any_moment_it_loses_one_batch_and_damages_nothing(tmp_path):
    """A text is encoded again only if it was in the batch under way."""
    code = (
        "import sys, time; sys.path.insert(0, 'tests')\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from doubles import StandIn\n"
        "from utils.embed.embedder import Embedder\n"
        "from utils.encoders import loading, registry\n"
        "from utils.store import embeddings as store\n"
        "class Slow(StandIn):\n"
        "    dimension, token_budget = 3, 8\n"
        "    def encode(self, texts):\n"
        "        time.sleep(0.01)\n"
        "        with open(sys.argv[2], 'a') as log: log.write(''.join(f'{text}\\n' for text in texts))\n"
        "        return np.array([[len(t), sum(map(ord, t)), 1] for t in texts], dtype=np.float32)\n"
        "loading.load = lambda spec: Slow()\n"
        "texts = [f'text {i}' for i in range(200)]\n"
        "kept = store.EmbeddingStore(Path(sys.argv[1]))\n"
        "matrix = Embedder(registry.resolve('all-minilm-l6-v2'), kept).embed(texts, texts).matrix\n"
        "np.save(sys.argv[3], matrix)\n"
    )
    log, out = tmp_path / "log", tmp_path / "matrix.npy"
    log.touch()
    command = [sys.executable, "-c", code, str(tmp_path / "embeddings.sqlite"), str(log), str(out)]
    moments, kills = random.Random(0), 0
    while kills < 3:
        before = log.stat().st_size
        process = subprocess.Popen(command, cwd=config.ROOT)
        while log.stat().st_size == before and process.poll() is None:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.06))
        assert process.poll() is None, "killed while it works, not after"
        process.kill()
        process.wait()
        kills += 1
    subprocess.run(command, cwd=config.ROOT, check=True)
    texts = [f"text {i}" for i in range(200)]
    assert np.load(out).tolist() == expected(texts)
    encoded = log.read_text().splitlines()
    assert set(encoded) == set(texts)
    assert len(encoded) - len(texts) <= kills * 8
