"""A result file is reused only where nothing that could change a number of it has changed."""

import json
from dataclasses import replace

import numpy as np
import pytest

from Safety_Challenging.evaluate import TASK as CHALLENGING
from Safety_Contrast.evaluate import TASK as CONTRAST
from Safety_Taxonomy.evaluate import TASK as TAXONOMY
from utils.embed.average_similarity import BEAVERTAILS_FACT
from utils.embed.embedder import Embedder
from utils.encoders import registry
from utils.evaluation import evaluation as evaluations
from utils.evaluation.evaluation import Evaluation
from utils.evaluation.run import evaluate
from utils.evaluation.settings import settings_of
from utils.results.result_file import influence_path, items_path
from utils.schema import CONTROLS
from utils.store.embeddings import EmbeddingStore, default_path

MINILM = "all-minilm-l6-v2"
# Those that a run of one encoder scores: the encoder, TF-IDF and random vectors.
ALL = 1 + len(CONTROLS)


@pytest.fixture
def scored(no_model, tmp_path):
    """A way to run a task, which gives how many encoders it scored."""

    def run(task, *flags):
        calls = []

        def score(*arguments):
            calls.append(arguments)
            return task.score(*arguments)

        common = ["--data", "sample", "--bootstrap", "1000", "--out", str(tmp_path)]
        common += ["--baseline", "own"] if task.uses_baseline else []
        assert evaluate(replace(task, score=score), [*common, *flags]) == 0
        return len(calls)

    return run


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def evaluation_of(task, tmp_path, *flags, encoder="tfidf", **parts):
    """What a run with these flags evaluates; parts: of the dataset that are replaced."""
    settings = settings_of(task, "evaluate", "", ["--data", "sample", "--out", str(tmp_path), *flags])
    spec = registry.resolve(encoder, settings.encoder)
    store = EmbeddingStore(default_path())
    return Evaluation(task, settings, replace(task.data(settings)[0], **parts), Embedder(spec, store))


@pytest.mark.parametrize("task", [CHALLENGING, CONTRAST, TAXONOMY], ids=lambda task: task.name)
def test_a_repeated_run_prints_the_same_scores_nothing_and_writes_nothing(task, scored, tmp_path, capsys):
    assert scored(task) == ALL
    printed, before = capsys.readouterr().out, contents(tmp_path)
    assert scored(task) == 0
    said = capsys.readouterr()
    assert said.out == printed and contents(tmp_path) == before
    [path] = (path for path in before if path.name.startswith(MINILM) and path.suffix == ".json")
    date = json.loads(before[path])["created"][:10]
    assert f"{MINILM}: reused {path} of {date} (cpu); --no-cache computes it again\n" in said.err
    assert "wrote" not in said.err


def test_what_is_not_of_the_same_run_is_computed_and_replaced(scored, tmp_path, capsys):
    assert scored(CHALLENGING) == ALL
    assert scored(CHALLENGING, "--no-cache") == ALL
    assert scored(CHALLENGING, "--seed", "1") == ALL
    assert "which replaces a result with seed 42" in capsys.readouterr().err
    assert scored(CHALLENGING, "--seed", "1") == 0
    # What the controls have no part in is scored anew for the encoder alone.
    assert scored(CHALLENGING, "--seed", "1", "--baseline", "0.1") == 1


def test_everything_that_changes_a_number_changes_the_digest(tmp_path, monkeypatch):
    def digest(*flags, task=CHALLENGING, **parts):
        return evaluation_of(task, tmp_path, *flags, **parts).digest

    dataset = evaluation_of(CHALLENGING, tmp_path).dataset
    [file] = dataset.files
    digests = [
        digest(),
        digest("--baseline", "0.1"),
        digest(encoder="random"),
        digest(encoder=MINILM),
        digest("--prompt", "query: ", encoder=MINILM),
        *(digest(*change.split()) for change in ("--threshold 0.4", "--seed 1", "--bootstrap 2000", "--limit 30")),
        digest(files=(replace(file, sha256="0" * 64),)),
        digest(ids=("x", *dataset.ids[1:])),
        digest(task=TAXONOMY),
        digest("--top-k", "5", task=TAXONOMY),
    ]
    for same in (["--baseline", "own"], ["--device", "cpu"], ["--quiet"], ["--out", "elsewhere"]):
        assert digest(*same) == digests[0], same
    monkeypatch.setattr(evaluations, "code_digest", lambda folder: "another program")
    assert len({*digests, digest()}) == len(digests) + 1


@pytest.mark.parametrize("task", [CHALLENGING, CONTRAST], ids=lambda task: task.name)
def test_a_reused_result_is_the_computed_one_and_a_damaged_one_is_none(task, tmp_path):
    evaluation = evaluation_of(task, tmp_path, "--bootstrap", "0")
    assert evaluation.reused() is None
    computed = evaluation.computed()
    evaluation.write(computed)
    reused = evaluation.reused()
    assert replace(reused, items={}) == replace(computed, items={})
    assert list(reused.items) == list(computed.items)
    for name, column in computed.items.items():
        assert type(reused.items[name][0]) is type(column[0]), name
        np.testing.assert_array_equal(reused.items[name], column)
    document = json.loads(evaluation.path.read_text())
    del document["made_by"]  # as an earlier version wrote it
    for path, content in (
        (evaluation.path, json.dumps(document).encode()),
        (evaluation.path, b"{"),
        (items_path(evaluation.path), b"id,type\n"),
        (influence_path(evaluation.path), b""),
    ):
        before = path.read_bytes()
        path.write_bytes(content)
        assert evaluation.reused() is None
        path.write_bytes(before)
    assert evaluation.reused() is not None


def test_an_average_similarity_that_has_become_known_is_added_to_the_file_and_nothing_else(tmp_path):
    evaluation = evaluation_of(CHALLENGING, tmp_path, "--bootstrap", "0", "--baseline", "own", encoder=MINILM)
    evaluation = replace(evaluation, embedder=Embedder(registry.resolve("random"), evaluation.embedder.store))
    evaluation.write(evaluation.computed())
    before = contents(tmp_path)
    fact = {"value": 0.125, "median": 0.1, "standard_deviation": 0.1}
    evaluation.embedder.store.put_fact(evaluation.embedder.spec.fingerprint, BEAVERTAILS_FACT, fact)
    assert evaluation.reused().average_similarities["beavertails"] == 0.125
    after = contents(tmp_path)
    known, document = (json.loads(files.pop(evaluation.path)) for files in (after, before))
    assert after == before
    assert known.pop("average_similarities") == {**document.pop("average_similarities"), "beavertails": 0.125}
    assert known == document


def test_truncated_texts_are_reported_of_a_reused_result_too(scored, tmp_path, capsys):
    assert scored(CHALLENGING) == ALL
    path = tmp_path / "sample" / CHALLENGING.name / f"{MINILM}+own.json"
    document = json.loads(path.read_text())
    document["embedding"]["truncated"] = 3
    path.write_text(json.dumps(document))
    capsys.readouterr()
    assert scored(CHALLENGING) == 0
    assert "3 of 140 distinct texts are longer" in capsys.readouterr().err


def test_a_device_that_is_missing_is_refused_before_anything_is_reused(scored, tmp_path, capsys):
    assert scored(CHALLENGING) == ALL
    flags = ["--data", "sample", "--bootstrap", "1000", "--baseline", "own", "--out", str(tmp_path)]
    capsys.readouterr()
    for more in ([], ["--prompt-spread"]):
        assert evaluate(CHALLENGING, [*flags, *more, "--quiet", "--device", "cuda:63"]) == 2
        assert "--device cuda:63: not on this machine" in capsys.readouterr().err
