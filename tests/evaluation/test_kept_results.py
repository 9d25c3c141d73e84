"""A result is taken from the store only where nothing that could change a number of it has changed."""

import csv
import json
import shutil
from dataclasses import replace

import pytest

from Safety_Challenging.evaluate import TASK as CHALLENGING
from Safety_Contrast.evaluate import TASK as CONTRAST
from Safety_Taxonomy.evaluate import TASK as TAXONOMY
from utils import config, hub
from utils.embed import average_similarity
from utils.encoders import paper, registry
from utils.evaluation import baseline, kept_results
from utils.evaluation import run as evaluation_run
from utils.schema import CONTROLS, EncoderOptions
from utils.store.embeddings import EmbeddingStore, default_path

# Those that a run of one encoder scores: the encoder, TF-IDF and random vectors.
ALL = 1 + len(CONTROLS)


@pytest.fixture
def scored(no_model):
    """The encoders that a task scored anew, and a way to run one that notes them."""
    calls = []

    def run(task, *flags, out):
        def score(dataset, vectors, *others):
            calls.append(next(iter(vectors.values())).shape[1])
            return task.score(dataset, vectors, *others)

        common = ["--quiet", "--bootstrap", "1000", "--baseline", "own", "--out", str(out)]
        flags = [*common, *([] if "--data" in flags else ["--data", "sample"]), *flags]
        calls.clear()
        assert evaluation_run.evaluate(replace(task, score=score), flags) == 0
        return len(calls)

    return run


def kept_as(task, encoder):
    """The stem of an encoder's files under the average similarity that `scored` asks for."""
    return f"{encoder}+own" if task.uses_baseline and encoder not in CONTROLS else encoder


def document(out, task, encoder="all-minilm-l6-v2", dataset="sample"):
    return json.loads((out / dataset / task.name / f"{kept_as(task, encoder)}.json").read_text())


@pytest.mark.parametrize("task", [CHALLENGING, CONTRAST, TAXONOMY], ids=lambda task: task.name)
def test_a_repeated_run_gives_the_same_and_scores_nothing(task, scored, tmp_path, capsys):
    assert scored(task, out=tmp_path / "first") == ALL
    printed = capsys.readouterr().out
    assert scored(task, out=tmp_path / "second") == 0
    assert capsys.readouterr().out == printed
    for encoder in ("all-minilm-l6-v2", *CONTROLS):
        first, second = (document(tmp_path / one, task, encoder) for one in ("first", "second"))
        assert second["embedding"]["computed"] == 0
        assert second["embedding"]["reused"] == first["embedding"]["unique"]
        for changing in ("created", "seconds", "embedding", "environment"):
            del first[changing], second[changing]
        assert first == second
        name = f"sample/{task.name}/{kept_as(task, encoder)}.items.csv"
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        (TAXONOMY, ["--top-k 5"]),
        (
            CHALLENGING,
            ["--threshold 0.4", "--seed 1", "--bootstrap 2000", "--bootstrap 0", "--limit 30", "--no-cache"],
        ),
    ],
    ids=lambda part: "" if isinstance(part, list) else part.name,
)
def test_another_setting_is_scored_anew(task, changes, scored, tmp_path):
    assert scored(task, out=tmp_path) == ALL
    assert {change: scored(task, *change.split(), out=tmp_path) for change in changes} == dict.fromkeys(changes, ALL)
    assert scored(task, out=tmp_path) == 0


def test_what_the_controls_have_no_part_in_is_scored_anew_for_the_encoder_alone(scored, tmp_path):
    assert scored(CHALLENGING, out=tmp_path) == ALL
    assert scored(CHALLENGING, "--baseline", "0.1", out=tmp_path) == 1
    given = tmp_path / "sample" / CHALLENGING.name / "all-minilm-l6-v2+0.1.json"
    assert json.loads(given.read_text())["settings"]["baseline"]["source"] == "given"
    for control in CONTROLS:
        assert document(tmp_path, CHALLENGING, control)["settings"]["baseline"]["source"] == "own"
    assert scored(CHALLENGING, "--prompt", "query: ", out=tmp_path) == 1
    name = f"all-minilm-l6-v2@{registry.resolve('all-minilm-l6-v2', EncoderOptions(prompt='query: ')).fingerprint[:8]}"
    assert document(tmp_path, CHALLENGING, name)["encoder"]["prompt"] == "query: "


def test_other_data_are_scored_anew_whatever_their_name(scored, tmp_path):
    path = tmp_path / "pairs.csv"
    with (config.ROOT / "Safety_Challenging" / "sample.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))

    def write():
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)

    rows[0]["focus"] = "another file"
    write()
    assert scored(CHALLENGING, "--data", str(path), out=tmp_path) == ALL
    assert scored(CHALLENGING, "--data", str(path), out=tmp_path) == 0
    renamed = tmp_path / "same bytes.csv"
    shutil.copy(path, renamed)
    assert scored(CHALLENGING, "--data", str(renamed), out=tmp_path) == 0
    assert document(tmp_path, CHALLENGING, dataset="same bytes")["dataset"]["files"][0]["name"] == "same bytes.csv"
    for column, other in {"unsafe_prompt": "How do I bake bread?", "type": rows[-1]["type"], "id": "9999"}.items():
        rows[0][column] = other
        write()
        assert scored(CHALLENGING, "--data", str(path), out=tmp_path) == ALL, column


def test_another_program_scores_anew(scored, tmp_path, monkeypatch):
    assert scored(CHALLENGING, out=tmp_path) == ALL
    monkeypatch.setattr(kept_results, "code_digest", lambda folder: "another")
    assert scored(CHALLENGING, out=tmp_path) == ALL


def test_the_program_is_known_by_its_files_and_packages(tmp_path, monkeypatch):
    names = ["utils/one.py", "utils/encoders/encoders.yaml", "utils/encoders/paper_figures.json",
             "utils/metrics/sub.py", "Safety_X/one.py", "Safety_X/parts/two.py"]  # fmt: skip
    without = ["Safety_X/data/one.json", "Safety_X/README.md", "Safety_Y/one.py"]
    for name in [*names, *without]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1")
    monkeypatch.setattr(config, "ROOT", tmp_path)

    def digest():
        kept_results.code_digest.cache_clear()
        return kept_results.code_digest("Safety_X")

    digests = [digest()]
    for name in names:
        (tmp_path / name).write_text("x = 2")
        digests.append(digest())
    (tmp_path / "utils" / "one.py").rename(tmp_path / "utils" / "metrics" / "one.py")
    digests.append(digest())
    monkeypatch.setattr(kept_results, "PACKAGES", ("numpy",))
    digests.append(digest())
    assert len(set(digests)) == 1 + len(names) + 2
    for name in without:
        (tmp_path / name).write_text("x = 2")
    assert digest() == digests[-1]
    kept_results.code_digest.cache_clear()


def test_an_average_similarity_that_has_become_known_is_added_to_a_kept_result(scored, tmp_path):
    assert scored(CHALLENGING, out=tmp_path) == ALL
    assert document(tmp_path, CHALLENGING)["average_similarities"].keys() == {"own"}
    fingerprint = registry.resolve("all-minilm-l6-v2").fingerprint
    fact = {"value": 0.125, "median": 0.1, "standard_deviation": 0.1}
    EmbeddingStore(default_path()).put_fact(fingerprint, average_similarity.BEAVERTAILS_FACT, fact)
    assert scored(CHALLENGING, out=tmp_path) == 0
    known = document(tmp_path, CHALLENGING)["average_similarities"]
    assert known.keys() == {"own", "beavertails"} and known["beavertails"] == 0.125


def test_a_damaged_result_is_scored_anew(scored, tmp_path):
    assert scored(CHALLENGING, out=tmp_path) == ALL
    store = EmbeddingStore(default_path())
    store._connection.execute("UPDATE facts SET value = substr(value, 1, 500)")
    store.close()
    assert scored(CHALLENGING, out=tmp_path) == ALL


def test_the_source_of_the_average_similarity_is_settled_as_it_will_be_chosen(tmp_path, monkeypatch):
    store = EmbeddingStore(tmp_path / "store.sqlite")
    minilm = registry.resolve("all-minilm-l6-v2")
    monkeypatch.setattr(hub, "is_offline", lambda: False)
    monkeypatch.setattr(hub, "reachable", lambda: False)
    assert baseline.settled_source(0.25, minilm, store) == "given 0.25"
    assert baseline.settled_source("own", minilm, store) == "own"
    assert baseline.settled_source("auto", minilm, store) == "own", "for want of the hub"
    assert baseline.settled_source("beavertails", minilm, store) is None
    assert {baseline.settled_source("auto", registry.resolve(name), store) for name in CONTROLS} == {"own"}
    monkeypatch.setattr(hub, "reachable", lambda: True)
    assert baseline.settled_source("auto", minilm, store) is None, "BeaverTails can be had now"
    store.put_fact(minilm.fingerprint, average_similarity.BEAVERTAILS_FACT, {"value": 0.1})
    assert {baseline.settled_source(choice, minilm, store) for choice in ("auto", "beavertails")} == {"beavertails"}
    name = next(iter(paper.paper_figures()))
    papers = replace(
        minilm, name=name, **{key: registry.known_encoders()[name][key] for key in ("source", "revision", "prompt")}
    )
    assert {baseline.settled_source(choice, papers, store) for choice in ("auto", "paper")} == {"paper"}
