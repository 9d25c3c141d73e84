"""How much a score depends on the instruction before each text."""

import re

import numpy as np
import pytest
from doubles import StandIn

from Safety_Challenging.evaluate import TASK
from utils.encoders import loading
from utils.evaluation import spread
from utils.evaluation.run import evaluate


class Shifted(StandIn):
    """The longer the instruction, the nearer are all vectors to each other."""

    dimension = 6

    def __init__(self, spec):
        self.shift = len(spec.prompt) / 20

    def encode(self, texts):
        rows = np.stack([np.random.default_rng(sum(text.encode())).normal(0, 1, 6) for text in texts])
        return (rows + self.shift).astype(np.float32)


@pytest.fixture(autouse=True)
def shifted(monkeypatch):
    monkeypatch.setattr(loading, "load", Shifted)


def test_the_spread_is_that_of_runs_with_each_instruction(tmp_path, capsys):
    flags = ["--data", "sample", "--quiet", "--bootstrap", "1000", "--baseline", "0.1", "--no-cache"]
    assert evaluate(TASK, [*flags, "--prompt-spread", "--out", str(tmp_path / "none")]) == 0
    said = capsys.readouterr().out
    assert not (tmp_path / "none").exists(), "nothing is written"
    shown = [float(value) for value in re.findall(r"^(?:none|other \d) +(-?\d\.\d{3}) ±", said, re.M)]
    expected = []
    for _, text in spread.prompts_of(""):
        assert evaluate(TASK, [*flags, "--prompt", text, "--out", str(tmp_path / "out")]) == 0
        printed = capsys.readouterr().out
        expected.append(float(re.search(r"^average +\d+ +(-?\d\.\d{3})", printed, re.M)[1]))
    assert shown == expected and len(shown) == 5 and len(set(shown)) > 3
    flat = " ".join(said.split())
    assert f"({min(shown):.3f} to {max(shown):.3f})" in flat and " minus " not in flat and "is not one" not in flat
    assert max(len(line) for line in said.splitlines() if "|" not in line) <= 80, "a signature is one word"


def test_a_documented_instruction_comes_first_and_none_is_tried_twice():
    def titles(documented):
        return [title for title, _ in spread.prompts_of(documented)]

    assert titles("clf: ") == ["documented", "none", "other 1", "other 2", "other 3", "other 4"]
    assert titles("query: ") == ["documented", "none", "other 2", "other 3", "other 4"]


def test_an_encoder_without_instructions_is_named_before_any_is_evaluated(capsys, monkeypatch):
    monkeypatch.setattr(loading, "load", None)
    assert evaluate(TASK, ["--data", "sample", "--quiet", "--model", "all-minilm-l6-v2,tfidf", "--prompt-spread"]) == 2
    assert capsys.readouterr().err == "error: --prompt-spread: tfidf takes no instruction; leave it out\n"
