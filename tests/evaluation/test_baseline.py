"""The choice of the average similarity, and BeaverTails' own, on a file in its format."""

from itertools import product

import numpy as np
import oracles
import pandas as pd
import pytest
from doubles import StandIn

from utils import hub
from utils.embed import average_similarity
from utils.embed.embedder import Embedder
from utils.encoders import __main__ as encoders_main
from utils.encoders import loading, registry
from utils.evaluation import baseline, settings
from utils.schema import CONTROLS, Baseline, InputError
from utils.store.embeddings import EmbeddingStore

VECTORS = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
GROUPS = ["a", "a", "b"]
OWN = (0 + 0.8) / 2  # the pairs of different groups: (1, 0) with (0, 1): 0; (0.6, 0.8) with (0, 1): 0.8


@pytest.fixture
def frame():
    """1,300 rows of 1,250 distinct prompts; a repeated prompt's later row has the other label."""
    prompts = [f"prompt {i}" for i in range(1250)]
    safe = [i % 2 == 0 for i in range(1250)]
    return pd.DataFrame({"prompt": prompts + prompts[:50], "is_safe": safe + [not s for s in safe[:50]]})


def test_beavertails_prompts_are_drawn_as_the_paper_says(frame):
    head, tail = average_similarity.beavertails_head_and_tail(frame)
    assert len(head) == len(tail) == 500 and not set(head) & set(tail)

    def drawn(prompts):
        """500 of the prompts as the legacy generator of NumPy draws them without replacement, seeded with 42."""
        return [prompts[i] for i in np.random.RandomState(42).choice(len(prompts), 500, replace=False)]

    # Safe prompts have even numbers: the first row of each prompt counts.
    both = [prompt for parity in (0, 1) for prompt in drawn([f"prompt {i}" for i in range(parity, 1250, 2)])]
    assert head == drawn(both) and tail == [prompt for prompt in both if prompt not in set(head)]
    numbers = [int(prompt.split()[1]) for prompt in head + tail]
    assert sum(i % 2 == 0 for i in numbers) == 500, "a repeated prompt counts with its first label"


class LetterEncoder(StandIn):
    dimension = 3

    def encode(self, texts):
        numbers = np.array([int(text.split()[1]) for text in texts])
        return np.stack([np.cos(numbers), np.sin(numbers), np.full(len(texts), 0.5)], axis=1).astype(np.float32)


def test_beavertails_average_equals_the_double_loop_and_is_kept(frame, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(loading, "load", lambda spec: LetterEncoder())
    monkeypatch.setattr(average_similarity, "_beavertails_frame", lambda: frame)
    vectors = [LetterEncoder().encode(texts).tolist() for texts in average_similarity.beavertails_head_and_tail(frame)]
    cosines = sorted(oracles.cosine(a, b) for a, b in product(*vectors))
    mean = sum(cosines) / len(cosines)
    deviation = (sum((cosine - mean) ** 2 for cosine in cosines) / len(cosines)) ** 0.5
    middle = (cosines[len(cosines) // 2 - 1] + cosines[len(cosines) // 2]) / 2
    assert encoders_main.main(["average", "all-minilm-l6-v2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [float(line.split()[-1]) for line in printed[1:]] == pytest.approx([mean, middle, deviation], abs=6e-5)
    assert [encoders_main.main(["average", control]) for control in CONTROLS] == [2, 2]
    embedder = Embedder(registry.resolve("all-minilm-l6-v2"), EmbeddingStore(tmp_path / "embeddings.sqlite"))
    b = baseline.choose_baseline("auto", embedder, VECTORS, GROUPS)
    assert (b.source, b.value) == ("beavertails", pytest.approx(mean, abs=1e-7))
    monkeypatch.setattr(average_similarity, "_beavertails_frame", lambda: pytest.fail("was asked for again"))
    assert baseline.choose_baseline("beavertails", embedder, VECTORS, GROUPS) == b


def test_auto_takes_own_where_beavertails_cannot_be_had(monkeypatch):
    embedder = Embedder(registry.resolve("all-minilm-l6-v2"))

    def cannot():
        raise InputError("BeaverTails: the Hugging Face hub can't be reached")

    monkeypatch.setattr(average_similarity, "_beavertails_frame", cannot)
    notes = []
    b = baseline.choose_baseline("auto", embedder, VECTORS, GROUPS, notes.append)
    assert (b.source, b.value) == ("own", pytest.approx(OWN))
    assert "can't be reached" in notes[0]
    with pytest.raises(InputError, match="can't be reached"):
        baseline.choose_baseline("beavertails", embedder, VECTORS, GROUPS)


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_takes_own_and_a_number_is_taken_as_given(control):
    embedder = Embedder(registry.resolve(control))
    assert baseline.choose_baseline("auto", embedder, VECTORS, GROUPS).source == "own"
    assert baseline.choose_baseline(0.25, embedder, VECTORS, GROUPS) == Baseline(0.25, "given")
    for choice in ("paper", "beavertails"):
        with pytest.raises(InputError, match=f"--baseline {choice}"):
            baseline.choose_baseline(choice, embedder, VECTORS, GROUPS)
    with pytest.raises(InputError, match="two types or categories; add others, or give a number, as --baseline"):
        baseline.choose_baseline("own", embedder, VECTORS, ["a"] * 3)


@pytest.mark.parametrize("text", ["1", "1.5", "nan", "papers", "-2"])
def test_a_baseline_out_of_range_is_refused(text):
    with pytest.raises(InputError, match=f"--baseline {text}"):
        settings.parse_baseline(text)


def test_auto_is_outdated_once_beavertails_can_be_had(tmp_path, monkeypatch):
    store, minilm = EmbeddingStore(tmp_path / "store.sqlite"), registry.resolve("all-minilm-l6-v2")
    monkeypatch.setattr(hub, "reachable", lambda: False)
    assert not baseline.is_outdated("own", minilm, store)
    monkeypatch.setattr(hub, "reachable", lambda: True)
    assert baseline.is_outdated("own", minilm, store)
    assert not baseline.is_outdated("beavertails", minilm, store)
    assert not any(baseline.is_outdated("own", registry.resolve(name), store) for name in CONTROLS)
    monkeypatch.setattr(hub, "reachable", lambda: False)
    store.put_fact(minilm.fingerprint, average_similarity.BEAVERTAILS_FACT, {"value": 0.1})
    assert baseline.is_outdated("own", minilm, store)
