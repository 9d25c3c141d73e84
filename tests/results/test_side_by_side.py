"""Which results stand beside one another: one rule for compare, figures and report, and what keeps results apart."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from doubles import GROUPS, written

from Safety_Taxonomy.evaluate import TASK as TAXONOMY
from utils import hub
from utils.compare import __main__ as compare_main
from utils.encoders import registry
from utils.evaluation import run as evaluation_run
from utils.figures import __main__ as figures_main
from utils.files import write_whole
from utils.results import result_file
from utils.results.find import kept_as
from utils.schema import EncoderInfo, EncoderOptions

CONVERTED = "those of {} were computed by a different one and are converted here, from the stored cosines\n"
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


# --- One kind of average similarity ----------------------------------------------------------------------------------


def test_results_are_brought_to_the_kind_that_most_have(tmp_path, capsys):
    cosines = np.linspace(0.2, 0.9, 22)  # whose mean is 0.55
    by_source(tmp_path, "one", cosines, "own", {"own": 0.1})
    by_source(tmp_path, "two", cosines, "paper", {"own": 0.25, "paper": 0.4, "beavertails": 0.41})
    values, said = averages_of(capsys, "--out", tmp_path)
    # Own is there for both: (0.55 - 0.1) / 0.9 = 0.5 and (0.55 - 0.25) / 0.75 = 0.4.
    assert values == pytest.approx({"one": 0.5, "two": 0.4}, abs=1e-12)
    assert said == f"All scores are by the average similarity of the evaluated prompts (own); {CONVERTED.format('TWO')}"
    # A control is fitted on the prompts, so it has no other than its own, and is compared with all.
    control = EncoderInfo("floor", "FLOOR", "", "1", 3, "float32", None, "", "scikit-learn", "floor")
    by_source(tmp_path, "floor", cosines, "own", {"own": 0.1}, encoder=control)
    by_source(tmp_path, "three", cosines, "beavertails", {"own": 0.25, "beavertails": 0.0})
    by_source(tmp_path, "one", cosines, "own", {"own": 0.1, "beavertails": 0.5})
    values, said = averages_of(capsys, "--out", tmp_path)
    # Two have BeaverTails' or the paper's, which is a mean over BeaverTails too; one can be brought to it:
    # (0.55 - 0.5) / 0.5 = 0.1, (0.55 - 0.4) / 0.6 = 0.25, and 0.55 as it is.
    assert values == pytest.approx({"one": 0.1, "two": 0.25, "three": 0.55, "floor": 0.5}, abs=1e-12)
    assert said == (
        f"All scores are by the average similarity over BeaverTails (paper or beavertails); {CONVERTED.format('ONE')}"
    )
    # Two of three have own now, and the third can be brought to it, though all have BeaverTails' too.
    by_source(tmp_path, "three", cosines, "own", {"own": 0.0, "beavertails": 0.3})
    values, said = averages_of(capsys, "--out", tmp_path)
    assert values == pytest.approx({"one": 0.5, "two": 0.4, "three": 0.55, "floor": 0.5}, abs=1e-12)
    assert said == f"All scores are by the average similarity of the evaluated prompts (own); {CONVERTED.format('TWO')}"


# --- Files of two runs -----------------------------------------------------------------------------------------------


def test_a_crash_between_the_two_files_is_told(sample_results, sample_store, tmp_path, capsys, monkeypatch):
    def run(*flags):
        flags = ["--data", "sample", "--quiet", "--bootstrap", "0", "--model", "tfidf", *flags]
        return evaluation_run.evaluate(TAXONOMY, [*flags, "--out", str(tmp_path), "--no-cache"])

    assert run() == 0

    def killed(path, content):
        if path.suffix == ".json":
            raise KeyboardInterrupt
        write_whole(path, content)

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
        ("all-minilm-l6-v2", {"prompt": "query: "}, "auto", "all-minilm-l6-v2@FINGERPR"),
        ("all-minilm-l6-v2", {"dtype": "bfloat16"}, "auto", "all-minilm-l6-v2@FINGERPR"),
        ("st5-base", {}, "auto", "st5-base"),
        ("st5-base", {"revision": "abc"}, "auto", "st5-base@FINGERPR"),
        ("some/model-v1.5", {}, "auto", "some/model-v1.5@FINGERPR"),
        ("openai:text-embedding-3-small", {}, "auto", "openai:text-embedding-3-small@FINGERPR"),
        ("tfidf", {}, "own", "tfidf"),
        ("all-minilm-l6-v2", {}, "own", "all-minilm-l6-v2+own"),
        ("all-minilm-l6-v2", {}, 0.3, "all-minilm-l6-v2+0.3"),
        ("all-minilm-l6-v2", {"prompt": "query: "}, "own", "all-minilm-l6-v2@FINGERPR+own"),
    ],
)
def test_what_a_result_is_kept_as(asked, options, baseline, name, monkeypatch):
    monkeypatch.setattr(hub, "commit", lambda repository, revision, expected="": revision)
    spec = registry.resolve(asked, EncoderOptions(**options))
    assert kept_as(spec, baseline) == name.replace("FINGERPR", spec.fingerprint[:8])


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
    assert "ONE (A)" in printed and "ONE (B)" in printed and "minus TWO: the difference from it" in printed
    assert compare_main.main([*flags, "three"]) == 2
    said = capsys.readouterr().err
    assert "A/made-up/safety_challenging, B/made-up/safety_challenging (there are: one, one, two)" in said
