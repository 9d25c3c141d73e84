"""What is normalized again from a result's file is what a run with that average similarity gives."""

import json
from dataclasses import replace

import numpy as np
import pytest
from doubles import StandIn

from Safety_Challenging.evaluate import TASK as CHALLENGING
from Safety_Contrast.evaluate import TASK as CONTRAST
from utils.encoders import loading
from utils.evaluation import run as evaluation_run
from utils.results.normalization import renormalized
from utils.results.result_file import read_with_items

PAIRS = "id,type,unsafe_prompt,safe_prompt\n" + "".join(
    # Type c has one unsafe text only, so that its triplet accuracies are not defined.
    f"{i},{'abc'[i % 3]},{'same' if i % 3 == 2 else f'unsafe {i}'},safe {i}\n"
    for i in range(30)
)
WORDS = "one two three four five six"  # shared with its edits: 6/7 of the first's words, 2/7 and so on of the others'
EDITS = [
    {"id": i, "category": "abc"[i % 3], "original_prompt": "same" if i % 3 == 2 else f"{WORDS} {i}",
     **{f"prompt_#{j}": f"{' '.join(WORDS.split()[: 7 - j])} edit {i}" for j in range(1, 6)}}
    for i in range(30)
]  # fmt: skip
SCORES = {"normalized_similarity", "boundary_similarity", "mean_similarity", "pairwise_accuracy", "triplet_accuracy"}


@pytest.fixture(params=[CHALLENGING, CONTRAST], ids=lambda task: task.name)
def results(request, tmp_path, monkeypatch):
    """A way to a task's result under an average similarity, by an encoder of arbitrary vectors."""

    class Arbitrary(StandIn):
        dimension = 4

        def encode(self, texts):
            seeds = [sum(i * ord(letter) for i, letter in enumerate(text, 1)) for text in texts]
            return np.stack([np.random.default_rng(s).normal(0.6, 1, 4) for s in seeds]).astype(np.float32)

    monkeypatch.setattr(loading, "load", lambda spec: Arbitrary())
    task = request.param
    path = tmp_path / ("own.csv" if task is CHALLENGING else "own.jsonl")
    path.write_text(PAIRS if task is CHALLENGING else "\n".join(map(json.dumps, EDITS)))

    def by(baseline):
        flags = ["--data", str(path), "--out", str(tmp_path), "--quiet", "--bootstrap", "1000", "--threshold", "0.3"]
        assert evaluation_run.evaluate(task, [*flags, "--baseline", baseline]) == 0
        return read_with_items(tmp_path / "own" / task.name / f"all-minilm-l6-v2+{baseline}.json")

    return by


def test_every_number_and_interval_is_that_of_a_run(results):
    own, given = results("own"), results("0.3")
    assert own.average_similarities == given.average_similarities == {"own": own.settings["baseline"]["value"]}
    assert own.settings["baseline"]["value"] != 0.3
    for one, other, b in ((given, own, "own"), (own, given, "other")):
        one = replace(one, average_similarities={**one.average_similarities, "other": 0.3})
        again = renormalized(one, b)
        assert again.settings["baseline"]["value"] == other.settings["baseline"]["value"]
        assert [(m.metric, m.group, m.n, m.better) for m in again.metrics] == [
            (m.metric, m.group, m.n, m.better) for m in other.metrics
        ]
        for key in ("value", "low", "high", "chance"):
            got, wanted = ([getattr(m, key) for m in r.metrics] for r in (again, other))
            assert got == pytest.approx(wanted, abs=1e-6)  # influences are kept in single precision
        assert again.items.keys() == other.items.keys()
        for name, column in other.items.items():
            got, wanted = (np.array(c) if name in SCORES else c for c in (again.items[name], column))
            assert got == (pytest.approx(wanted, abs=1e-12, nan_ok=True) if name in SCORES else wanted), name
