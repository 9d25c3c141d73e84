"""Which results stand beside one another: one rule for compare, figures and report, and what keeps results apart."""

import csv
import io
import json
import re
import shutil

import numpy as np
import pytest
from doubles import GROUPS, StandIn, written
from matplotlib import pyplot

from Safety_Challenging.evaluate import TASK as CHALLENGING
from Safety_Contrast.evaluate import TASK as CONTRAST
from Safety_Taxonomy.evaluate import TASK as TAXONOMY
from utils import hub, tasks
from utils.compare import __main__ as compare_main
from utils.encoders import loading, registry
from utils.evaluation import run as evaluation_run
from utils.figures import __main__ as figures_main
from utils.figures import draw
from utils.figures import tasks as task_figures
from utils.figures.style import drawing
from utils.report import __main__ as report_main
from utils.results import find, result_file
from utils.results.find import kept_as
from utils.schema import CONTROLS, EncoderInfo, EncoderOptions

SETTINGS = {"top_k": None, "threshold": 0.5, "bootstrap": 0, "seed": 42}


def by_source(out, name, cosines, source, averages, **more):
    """A result of Safety-Challenging as a run with that average similarity writes it."""
    normalized = (np.array(cosines) - averages[source]) / (1 - averages[source])
    items = {"id": [f"i{k}" for k in range(22)], "type": GROUPS, "cosine": list(cosines),
             "normalized_similarity": normalized.tolist(), "triplet_accuracy": [0.5] * 22}  # fmt: skip
    settings = {**SETTINGS, "baseline": {"value": averages[source], "source": source}}
    more = {"settings": settings, "average_similarities": averages, "items": items, **more}
    return written(out, name, normalized, **more)


def averages_of(capsys, *arguments):
    assert compare_main.main([*map(str, arguments), "--format", "csv"]) == 0
    said = capsys.readouterr()
    rows = csv.DictReader(io.StringIO(said.out))
    return {row["encoder"]: float(row["value"]) for row in rows if row["group"] == "overall"}, said.err


# --- What enters a task ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "metric", "change", "message"),
    [
        ("safety_challenging", "normalized_similarity", {"top_k": 5, "seed": 7}, None),
        ("safety_challenging", "normalized_similarity", {"threshold": 0.4}, "different threshold (0.5 and 0.4)"),
        ("safety_contrast", "boundary_similarity", {"top_k": 5, "seed": 7}, None),
        ("safety_taxonomy", "categorical_purity", {"threshold": 0.4, "seed": 7}, None),
        ("safety_taxonomy", "categorical_purity", {"top_k": 5}, "different k (None and 5)"),
    ],
)
def test_a_task_is_compared_by_what_enters_it(task, metric, change, message, tmp_path, capsys):
    baseline = None if task == "safety_taxonomy" else {"value": 0, "source": "own"}
    for name, settings in (("one", {}), ("two", change)):
        settings = {**SETTINGS, "baseline": baseline, **settings}
        written(tmp_path, name, np.linspace(0, 1, 22), task, metric, settings=settings)
    assert compare_main.main(["--out", str(tmp_path)]) == (0 if message is None else 2)
    said = capsys.readouterr().err
    assert said == "" if message is None else f"error: one and two on {task}: {message}; run both again" in said


def test_a_task_that_cannot_be_compared_does_not_keep_the_others_from_it(tmp_path, capsys, monkeypatch):
    for name, source in (("one", "own"), ("two", "beavertails")):
        for task, metric in (
            ("safety_challenging", "normalized_similarity"),
            ("safety_taxonomy", "categorical_purity"),
        ):
            baseline = {"value": 0, "source": source} if task == "safety_challenging" else None
            written(tmp_path, name, np.linspace(0, 1, 22), task, metric, settings={**SETTINGS, "baseline": baseline})
    assert compare_main.main(["--out", str(tmp_path)]) == 3
    said = capsys.readouterr()
    assert "Safety-Taxonomy: categorical purity" in said.out and "Safety-Challenging" not in said.out
    message = "without safety_challenging: one and two on safety_challenging: different kind of baseline"
    assert message in said.err
    monkeypatch.setattr(draw, "figures_of", lambda results, *_: {results[0].task: pyplot.figure()})
    assert figures_main.main(["--out", str(tmp_path)]) == 0
    assert message in capsys.readouterr().err
    assert {path.stem for path in (tmp_path / "made-up" / "figures").iterdir()} == {"safety_taxonomy"}


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("safety_taxonomy", {"top_k": 5}, "different k (10 and 5)"),
        ("safety_challenging", {"baseline": {"value": 0.2, "source": "given"}}, "different kind of baseline"),
    ],
)
def test_figures_compare_and_report_refuse_the_same(
    task, change, message, sample_results, sample_store, tmp_path, capsys
):
    shutil.copytree(sample_results / "sample" / task, tmp_path / "sample" / task)
    folder = tmp_path / "sample" / task
    changed = json.loads((folder / "all-minilm-l6-v2.json").read_text())
    changed["settings"].update(change)
    changed["encoder"]["name"], changed["created"] = "other", "2020-01-01T00:00:00+00:00"
    changed.pop("average_similarities", None)
    (folder / "other.json").write_text(json.dumps(changed))
    for suffix in ("items.csv", "influence.safetensors"):
        shutil.copy(folder / f"all-minilm-l6-v2.{suffix}", folder / f"other.{suffix}")
    lines = []
    for command in (compare_main, figures_main):
        assert command.main(["all-minilm-l6-v2", "other", "--out", str(tmp_path)]) == 2
        lines.append(capsys.readouterr().err)
    assert lines[0] == lines[1] and f"error: all-minilm-l6-v2 and other on {task}: {message}" in lines[0]
    assert not list(tmp_path.rglob("*.png"))
    assert report_main.main(["--out", str(tmp_path)]) == 0
    assert f"Left out: {lines[0].removeprefix('error: ').strip()}." in capsys.readouterr().err


def test_k_and_the_kind_of_average_similarity_are_in_the_titles(sample_results):
    titles = {}
    for task in (one.name for one in tasks.tasks_by_items()):
        read = [result_file.read_with_items(path) for path in sorted((sample_results / "sample" / task).glob("*.json"))]
        with drawing():
            drawn = task_figures.figures_of(read)
        titles[task] = {figure.get_suptitle().replace("\n", " ") for figure in drawn.values()}
        pyplot.close("all")
    assert all("144 items, data: sample, k = 10" in title for title in titles["safety_taxonomy"])
    for task in ("safety_challenging", "safety_contrast"):
        assert all("items, data: sample, b: own" in title for title in titles[task]), titles[task]


# --- One kind of average similarity ----------------------------------------------------------------------------------


def test_results_are_brought_to_the_kind_that_most_have(tmp_path, capsys):
    cosines = np.linspace(0.2, 0.9, 22)  # whose mean is 0.55
    by_source(tmp_path, "one", cosines, "own", {"own": 0.1})
    by_source(tmp_path, "two", cosines, "paper", {"own": 0.25, "paper": 0.4, "beavertails": 0.41})
    values, said = averages_of(capsys, "--out", tmp_path)
    # Own is there for both: (0.55 - 0.1) / 0.9 = 0.5 and (0.55 - 0.25) / 0.75 = 0.4.
    assert values == pytest.approx({"one": 0.5, "two": 0.4}, abs=1e-12)
    assert said == "average similarity: own for all; normalized again from the cosines kept: TWO\n"
    by_source(tmp_path, "three", cosines, "beavertails", {"own": 0.25, "beavertails": 0.0})
    by_source(tmp_path, "one", cosines, "own", {"own": 0.1, "beavertails": 0.5})
    values, said = averages_of(capsys, "--out", tmp_path)
    # Two have BeaverTails' or the paper's, which is a mean over BeaverTails too; one can be brought to it:
    # (0.55 - 0.5) / 0.5 = 0.1, (0.55 - 0.4) / 0.6 = 0.25, and 0.55 as it is.
    assert values == pytest.approx({"one": 0.1, "two": 0.25, "three": 0.55}, abs=1e-12)
    assert said == "average similarity: beavertails for all; normalized again from the cosines kept: ONE\n"
    for form in ("text", "markdown", "latex"):
        assert compare_main.main(["--out", str(tmp_path), "--format", form]) == 0
        printed = capsys.readouterr().out
        assert "beavertails for all; normalized again from the" in printed
        assert max(map(len, printed.splitlines())) <= 80 or form != "text"
        assert "from the cosines kept: ONE" in printed or form != "markdown"
    assert figures_main.main(["--out", str(tmp_path)]) == 0
    assert "normalized again from the cosines kept: ONE" in capsys.readouterr().err
    assert report_main.main(["--out", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "Average similarity: beavertails for all; normalized again" in said.err and "Left out" not in said.err
    page = (tmp_path / "made-up" / "report.md").read_text()
    assert re.search(r"\| overall +\| +22 \|.*0\.100", page)
    # Two of three have own now, and the third can be brought to it, though all have BeaverTails' too.
    by_source(tmp_path, "three", cosines, "own", {"own": 0.0, "beavertails": 0.3})
    values, said = averages_of(capsys, "--out", tmp_path)
    assert values == pytest.approx({"one": 0.5, "two": 0.4, "three": 0.55}, abs=1e-12)
    assert said == "average similarity: own for all; normalized again from the cosines kept: TWO\n"


def test_an_encoder_of_the_papers_beside_another_without_the_hub(tmp_path, capsys, monkeypatch):
    """What all.sh and reproduce.sh leave behind where BeaverTails can't be had: own beside paper."""

    class Arbitrary(StandIn):
        dimension = 4

        def encode(self, texts):
            return np.array([[len(text), text.count("e"), ord(text[0]), 9] for text in texts], dtype=np.float32)

    monkeypatch.setattr(hub, "commit", lambda repository, revision, expected="": revision)
    load = loading.load
    monkeypatch.setattr(loading, "load", lambda spec: Arbitrary() if spec.name == "st5-base" else load(spec))
    flags = ["--data", "sample", "--quiet", "--bootstrap", "0", "--out", str(tmp_path)]
    assert evaluation_run.evaluate_all([CHALLENGING, CONTRAST, TAXONOMY], "all", flags) == 0
    for task in (CHALLENGING, TAXONOMY):
        assert evaluation_run.evaluate(task, [*flags, "--model", "st5-base", "--baseline", "auto"]) == 0
    path = tmp_path / "sample" / CHALLENGING.name / "st5-base.json"
    before = path.read_bytes()
    assert json.loads(before)["settings"]["baseline"]["source"] == "paper"
    capsys.readouterr()
    assert compare_main.main(["all-minilm-l6-v2", "st5-base", "--out", str(tmp_path), "--format", "csv"]) == 0
    said = capsys.readouterr()
    rows = {(row["task"], row["encoder"], row["group"]): row for row in csv.DictReader(io.StringIO(said.out))}
    assert {task for task, *_ in rows} == {CHALLENGING.name, TAXONOMY.name}
    assert "own for all; normalized again from the cosines kept: ST5-Base" in said.err
    assert "without safety_contrast: st5-base: no result in" in said.err
    assert evaluation_run.evaluate(CHALLENGING, [*flags, "--model", "st5-base", "--baseline", "own"]) == 0
    assert path.read_bytes() == before
    by_own = result_file.read_result(path.with_name("st5-base+own.json"))
    for group in ("homonyms", "average", "overall"):
        wanted = by_own.value("normalized_similarity", group)
        assert float(rows[CHALLENGING.name, "st5-base", group]["value"]) == pytest.approx(wanted, abs=1e-12)
    assert report_main.main(["--out", str(tmp_path), "--quiet"]) == 0
    assert "Left out" not in capsys.readouterr().err


def test_tf_idf_has_its_own_and_no_say(tmp_path, capsys):
    cosines = np.linspace(0.2, 0.9, 22)
    fitted = EncoderInfo("floor", "FLOOR", "", "1", 3, "float32", None, "", "scikit-learn", "f")
    by_source(tmp_path, "floor", cosines, "own", {"own": 0.1}, encoder=fitted)
    by_source(tmp_path, "one", cosines, "own", {"own": 0.1, "beavertails": 0.5})
    by_source(tmp_path, "two", cosines, "beavertails", {"own": 0.1, "beavertails": 0.5})
    values, _ = averages_of(capsys, "--out", tmp_path)
    # One has either kind: BeaverTails' goes before.
    assert values == pytest.approx({"floor": 0.5, "one": 0.1, "two": 0.1}, abs=1e-12)


def test_results_without_what_is_needed_are_refused_as_before(tmp_path, capsys):
    cosines = np.linspace(0.2, 0.9, 22)
    by_source(tmp_path, "one", cosines, "own", {"own": 0.1})
    written(tmp_path, "two", cosines, settings={**SETTINGS, "baseline": {"value": 0.4, "source": "paper"}})
    assert compare_main.main(["--out", str(tmp_path)]) == 2
    assert "on safety_challenging: different kind of baseline (own and beavertails)" in capsys.readouterr().err


# --- Files of two runs -----------------------------------------------------------------------------------------------


def test_a_crash_between_the_two_files_is_told(sample_results, sample_store, tmp_path, capsys, monkeypatch):
    def run(*flags):
        flags = ["--data", "sample", "--quiet", "--bootstrap", "0", "--model", "tfidf", *flags]
        return evaluation_run.evaluate(TAXONOMY, [*flags, "--out", str(tmp_path), "--no-cache"])

    assert run() == 0

    def killed(path, text):
        raise KeyboardInterrupt

    folder = tmp_path / "sample" / TAXONOMY.name
    for suffix in ("json", "items.csv", "influence.safetensors"):
        shutil.copy(sample_results / "sample" / TAXONOMY.name / f"all-minilm-l6-v2.{suffix}", folder)
    with monkeypatch.context() as patch:
        patch.setattr(result_file, "write_whole", killed)
        assert run("--top-k", "5") == 130
    capsys.readouterr()
    message = "tfidf.items.csv: not of the run that wrote tfidf.json, or changed since; run the task again"
    for command in (compare_main, figures_main):
        assert command.main(["--out", str(tmp_path)]) == 2
        line = capsys.readouterr().err
        assert message in line and line.count("\n") == 1
    assert report_main.main(["--out", str(tmp_path)]) == 0
    assert message in capsys.readouterr().err
    # Where only the influences are of a different run, their file is named; and results of before are told to be so.
    assert run() == 0
    path = folder / "tfidf.influence.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    assert compare_main.main(["--out", str(tmp_path)]) == 2
    assert "tfidf.influence.safetensors: not of the run that wrote tfidf.json" in capsys.readouterr().err
    document = json.loads((folder / "tfidf.json").read_text())
    del document["influence"]
    (folder / "tfidf.json").write_text(json.dumps(document))
    assert compare_main.main(["--out", str(tmp_path)]) == 2
    assert "tfidf.json: its intervals are of an earlier version" in capsys.readouterr().err


# --- Encoders of one name --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "options", "baseline", "name"),
    [
        ("all-minilm-l6-v2", {}, "auto", "all-minilm-l6-v2"),
        ("all-minilm-l6-v2", {"prompt": ""}, "auto", "all-minilm-l6-v2"),
        ("all-minilm-l6-v2", {"device": "cpu", "dtype": "float32"}, "auto", "all-minilm-l6-v2"),
        ("all-minilm-l6-v2", {"prompt": "query: "}, "auto", "all-minilm-l6-v2@FINGERPR"),
        ("all-minilm-l6-v2", {"dtype": "bfloat16"}, "auto", "all-minilm-l6-v2@FINGERPR"),
        ("st5-base", {}, "auto", "st5-base"),
        ("st5-base", {"revision": "abc"}, "auto", "st5-base@FINGERPR"),
        ("llm2vec-mistral", {}, "auto", "llm2vec-mistral"),
        ("some/model-v1.5", {}, "auto", "some/model-v1.5@FINGERPR"),
        ("text-embedding-v3", {}, "auto", "text-embedding-v3"),
        ("openai:text-embedding-3-small", {}, "auto", "openai:text-embedding-3-small@FINGERPR"),
        ("tfidf", {}, "own", "tfidf"),
        ("random", {}, "own", "random"),
        ("all-minilm-l6-v2", {}, "own", "all-minilm-l6-v2+own"),
        ("all-minilm-l6-v2", {}, 0.3, "all-minilm-l6-v2+0.3"),
        ("all-minilm-l6-v2", {"prompt": "query: "}, "own", "all-minilm-l6-v2@FINGERPR+own"),
    ],
)
def test_what_a_result_is_kept_as(asked, options, baseline, name, monkeypatch):
    monkeypatch.setattr(hub, "commit", lambda repository, revision, expected="": revision)
    spec = registry.resolve(asked, EncoderOptions(**options))
    assert kept_as(spec, baseline) == name.replace("FINGERPR", spec.fingerprint[:8])


def test_another_servers_model_is_not_the_registrys(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1")
    spec = registry.resolve("text-embedding-v3")
    assert kept_as(spec, "auto") == f"text-embedding-v3@{spec.fingerprint[:8]}"


def test_two_checkpoints_of_one_basename_and_prompt_variants_stand_beside_one_another(tmp_path, capsys, monkeypatch):
    class Folder(StandIn):
        dimension = 4

        def __init__(self, spec):
            self.seed = int(spec.fingerprint[:6], 16)

        def encode(self, texts):
            seeds = [[self.seed, *text.encode()] for text in texts]
            return np.stack([np.random.default_rng(seed).normal(0.3, 1, 4) for seed in seeds]).astype(np.float32)

    monkeypatch.setattr(loading, "load", Folder)
    monkeypatch.setenv("SAFE_EMBED_CALLED_FROM_DIR", str(tmp_path))
    for name in ("exp1", "exp2"):
        (tmp_path / name / "checkpoint-500").mkdir(parents=True)
        (tmp_path / name / "checkpoint-500" / "config.json").write_text(json.dumps({"name": name}))
        (tmp_path / name / "checkpoint-500" / "model.safetensors").write_bytes(b"")
    common = ["--data", "sample", "--bootstrap", "0", "--out", str(tmp_path / "o"), "--quiet"]
    both = "exp1/checkpoint-500,exp2/checkpoint-500"
    assert evaluation_run.evaluate(CHALLENGING, [*common, "--model", both]) == 0
    printed = capsys.readouterr().out
    assert "exp1/checkpoint-500" in printed and "exp2/checkpoint-500" in printed
    folder = tmp_path / "o" / "sample" / CHALLENGING.name
    assert len(list(folder.glob("checkpoint-500@*.json"))) == 2
    assert compare_main.main(["--out", str(tmp_path / "o"), *both.split(",")]) == 0
    printed = capsys.readouterr().out
    assert "exp1/checkpoint-500" in printed and "exp2/checkpoint-500" in printed and "\nTF-IDF" not in printed
    for prompt in ("query: ", "passage: "):
        arguments = ["--model", "exp1/checkpoint-500", "--prompt", prompt]
        assert evaluation_run.evaluate(CHALLENGING, [*common, *arguments]) == 0
    assert len(list(folder.glob("checkpoint-500@*.json"))) == 4
    capsys.readouterr()
    assert compare_main.main(["--out", str(tmp_path / "o"), "checkpoint-500", "tfidf", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len({row["encoder"] for row in rows}) == 5
    assert compare_main.main(["--out", str(tmp_path / "o"), "checkpoint-500"]) == 0
    printed = capsys.readouterr().out
    assert "'query: ')" in printed and "'passage: ')" in printed
    assert compare_main.main(["--out", str(tmp_path / "o"), "--reference", "checkpoint-500"]) == 2
    assert "--reference checkpoint-500: several results of safety_challenging" in capsys.readouterr().err
    for command in (figures_main, report_main):
        assert command.main(["--out", str(tmp_path / "o"), "--data", "sample"]) == 0
    page = (tmp_path / "o" / "sample" / "report.md").read_text()
    assert all(f"| exp{i}/checkpoint-500" in page for i in (1, 2))


def test_a_run_with_an_average_similarity_of_its_own_replaces_nothing(tmp_path, capsys, monkeypatch):
    def run(*flags):
        flags = ["--data", "sample", "--quiet", "--bootstrap", "0", "--out", str(tmp_path), *flags]
        assert evaluation_run.evaluate(CHALLENGING, flags) == 0

    folder = tmp_path / "sample" / CHALLENGING.name
    run()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    run("--baseline", "0.3")
    run("--baseline", "own")
    now = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert all(now[name] == content for name, content in before.items() if not name.startswith(CONTROLS))
    assert {path.name for path in folder.glob("*+*.json")} == {"all-minilm-l6-v2+0.3.json", "all-minilm-l6-v2+own.json"}
    capsys.readouterr()
    # Of all there are, each encoder once; what is named is what is taken.
    stems = [path.stem for path in find.find_results([tmp_path], None, CHALLENGING.name, [])]
    assert stems == ["all-minilm-l6-v2", "tfidf", "random"]
    both = find.find_results([tmp_path], None, CHALLENGING.name, ["all-minilm-l6-v2+0.3", "tfidf"])
    assert [path.stem for path in both] == ["all-minilm-l6-v2+0.3", "tfidf"]
    asked = find.find_results([tmp_path], None, CHALLENGING.name, [], 0.3)
    assert [path.stem for path in asked] == ["all-minilm-l6-v2+0.3", "tfidf", "random"]
    for choice, given in (("auto", False), ("0.3", True)):
        monkeypatch.setenv("BASELINE", choice)
        assert report_main.main(["--out", str(tmp_path), "--quiet"]) == 0
        assert ("0.300 (given)" in (tmp_path / "sample" / "report.html").read_text()) == given
    evaluation_run.evaluate(TAXONOMY, ["--data", "sample", "--quiet", "--bootstrap", "0", "--out", str(tmp_path),
                                   "--baseline", "own", "--model", "tfidf"])  # fmt: skip
    assert [path.stem for path in sorted((tmp_path / "sample" / TAXONOMY.name).glob("*.json"))] == ["random", "tfidf"]
    (folder / "all-minilm-l6-v2.json").unlink()
    with_own = find.find_results([tmp_path], None, CHALLENGING.name, ["all-minilm-l6-v2"])
    assert [path.stem for path in with_own] == ["all-minilm-l6-v2+0.3", "all-minilm-l6-v2+own"]


@pytest.mark.parametrize("flags", [["--out", "A,B"], ["--out", "A", "--out", "B"]])
def test_results_of_several_folders_are_compared(flags, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SAFE_EMBED_CALLED_FROM_DIR", str(tmp_path))
    written(tmp_path / "A", "one", np.linspace(0, 1, 22))
    written(tmp_path / "B", "one", np.linspace(0, 0.5, 22))
    written(tmp_path / "B", "two", np.linspace(0, 0.25, 22))
    values, _ = averages_of(capsys, *flags)
    names = [f"{out}/made-up/safety_challenging/one.json" for out in "AB"]
    assert values == pytest.approx({names[0]: 0.5, names[1]: 0.25, "two": 0.125})
    assert compare_main.main([*flags, "--reference", "two"]) == 0
    printed = capsys.readouterr().out
    assert "ONE (A)" in printed and "ONE (B)" in printed and "difference: minus TWO" in printed
    assert compare_main.main([*flags, "three"]) == 2
    said = capsys.readouterr().err
    assert "A/made-up/safety_challenging, B/made-up/safety_challenging (there are: one, one, two)" in said
