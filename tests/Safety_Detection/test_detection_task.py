"""Safety-Detection from the command line to the result file, its tables and its finding."""

import csv
import json
import re
from dataclasses import fields, replace

import numpy as np
import pytest
from doubles import StandIn
from oracles import resampled_areas, student
from sklearn.metrics import average_precision_score, roc_auc_score

from Safety_Detection.evaluate import TASK
from Safety_Detection.protocol.measure import resamplings
from Safety_Detection.sets import labelled_sets
from Safety_Detection.shown import differences as differences_module
from Safety_Detection.shown import reading
from Safety_Detection.shown.differences import areas, detector_differences, encoder_differences
from Safety_Detection.shown.finding import distrust, finding
from utils.encoders import loading
from utils.evaluation.run import evaluate
from utils.metrics.uncertainty import grouped_resamples
from utils.results import result_file
from utils.schema import EncoderInfo, Metric
from utils.tables import p_text, signed

KINDS = ["nearest_unsafe", "knn_vote", "centroid_difference", "logistic_regression", "prompt_length"]


def run(folder, *flags):
    return evaluate(TASK, ["--out", str(folder), "--bootstrap", "1000", *flags])


def document(folder, encoder="tfidf", dataset="sample"):
    return json.loads((folder / dataset / "safety_detection" / f"{encoder}.json").read_text())


def value(doc, metric, kind, group, what="value"):
    return next(m[what] for m in doc["metrics"] if (m["metric"], m["detector"], m["group"]) == (metric, kind, group))


def items(folder, encoder="tfidf", dataset="sample"):
    with (folder / dataset / "safety_detection" / f"{encoder}.items.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder of a run of TF-IDF on the sample, and what it printed."""
    import contextlib
    import io

    folder, said = tmp_path_factory.mktemp("results"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setenv("SAFE_EMBED_CACHE_DIR", str(folder / "cache"))
        patch.setattr("utils.evaluation.run.sys.stdout", said, raising=False)
        said.reconfigure = lambda **more: None
        assert run(folder, "tfidf", "--data", "sample", "--quiet") == 0
    return folder, said.getvalue()


def test_metrics_are_those_of_the_scores_beside_them(done):
    folder, _ = done
    doc, rows = document(folder), items(folder)
    for kind in KINDS:
        for train in ("edits", "twins"):
            for test in ("edits", "twins"):
                mine = [row for row in rows if row["set"] == test]
                labels = [int(row["label"]) for row in mine]
                scores = [float(row[f"{kind}/{train}"]) for row in mine]
                group = f"{train} -> {test}"
                assert value(doc, "auroc", kind, group) == pytest.approx(roc_auc_score(labels, scores))
                assert value(doc, "auprc", kind, group) == pytest.approx(average_precision_score(labels, scores))
                assert value(doc, "auprc", kind, group, "chance") == 0.5
        within = [value(doc, "auroc", kind, f"{s} -> {s}") for s in ("edits", "twins")]
        across = [value(doc, "auroc", kind, g) for g in ("edits -> twins", "twins -> edits")]
        assert value(doc, "auroc", kind, "within") == pytest.approx(np.mean(within))
        assert value(doc, "auroc", kind, "across") == pytest.approx(np.mean(across))
    for m in doc["metrics"]:
        if m["detector"] != "set_identity":
            assert 0 <= m["low"] <= m["value"] <= m["high"] <= 1


def test_no_prompt_is_written(done):
    folder, said = done
    dataset, _ = labelled_sets.load("sample")
    written = said + "".join(path.read_text() for path in (folder / "sample").rglob("*.*"))
    assert not [text for text in dataset.texts["prompt"] if text in written]


def test_it_prints_the_matrix_within_80_columns(done):
    folder, said = done
    doc = document(folder)
    assert max(map(len, said.splitlines())) <= 80
    lines = said.splitlines()
    at = lines.index("AUROC of logistic regression, with half the width of its 95 % interval")
    assert lines[at + 2].split() == ["trained", "on", "tested", "on", "TF-IDF"]
    pairs = [(train, test) for test in ("edits", "twins") for train in ("edits", "twins")]
    for line, (train, test) in zip(lines[at + 4 : at + 8], pairs, strict=True):
        shown = f"{value(doc, 'auroc', 'logistic_regression', f'{train} -> {test}'):.3f}"
        assert line.split()[:3] == [train, test, shown]
    assert "SAMPLE: scores on the small set" in said and "without any word" not in said


def read(folder):
    return reading.read(folder / "sample" / "safety_detection" / "tfidf.json")


def test_p_and_interval_of_every_difference_agree_and_are_those_of_resampled_groups(done):
    folder, said = done
    one = read(folder)
    # As if it were of a different encoder: by what a different detector says.
    swapped = {f"logistic_regression/{train}": one.items[f"nearest_unsafe/{train}"] for train in ("edits", "twins")}
    other = replace(one, items=one.items | swapped)
    between = [*encoder_differences([one, other]), *detector_differences(one)]
    assert len(between) == 4 + 3 * 4
    for d in between:
        low, high, p = d.difference.low, d.difference.high, d.difference.p
        assert (p < 0.05) == (low > 0 or high < 0) and p <= d.p
        assert d.difference.value == pytest.approx((low + high) / 2)
    assert {d.difference.p < 0.05 for d in between} == {True, False}
    # The slow way, a pair of sets; both are of pairs of a safe and an unsafe prompt.
    for position, test in enumerate(("edits", "twins")):
        its = [i for i, name in enumerate(one.items["set"]) if name == test]
        labels, groups = ([one.items[column][i] for i in its] for column in ("label", "group"))
        counts = grouped_resamples(groups, labels, 1000, (42, position))
        scores = {kind: [one.items[f"{kind}/edits"][i] for i in its] for kind in KINDS[:4]}
        drawn = {kind: resampled_areas(labels, of, counts) for kind, of in scores.items()}
        for d in between[4:]:
            if d.group == f"edits -> {test}":
                kind = d.other.replace(" ", "_")
                value = roc_auc_score(labels, scores["logistic_regression"]) - roc_auc_score(labels, scores[kind])
                expected = student(value, drawn["logistic_regression"] - drawn[kind], len(set(groups)))
                assert (d.difference.low, d.difference.high, d.difference.p) == pytest.approx(expected)
    # Each is printed with both p-values.
    shown = said[said.index("Differences of AUROC between detectors on TF-IDF: logistic regression minus each") :]
    for d in between[4:]:
        half = (d.difference.high - d.difference.low) / 2
        texts = [f"{signed(d.difference.value)} ±{half:.3f}", p_text(d.difference.p), p_text(d.p)]
        assert re.search(rf"^{d.group} .*{' +'.join(map(re.escape, texts))}", shown, re.M)


def made_up(rows):
    """A result that says these metrics and nothing else."""
    return result_file.result_of(
        {
            "schema": 1, "task": "safety_detection", "created": "", "seconds": 0,
            "settings": dict.fromkeys(result_file.SETTINGS),
            "encoder": dict.fromkeys((field.name for field in fields(EncoderInfo)), "x"),
            "dataset": {"name": "paper", "files": [], "items": 5},
            "embedding": {"prompts": 1, "unique": 1, "computed": 1, "reused": 0, "seconds": 0},
            "metrics": [vars(m) for m in rows], "environment": {},
        }
    )  # fmt: skip


def test_a_file_without_fields_for_the_parts_of_a_metric_is_read_by_its_strings(done):
    """As files were written when `metric` held the detector's name too, and before that without such fields."""
    path = done[0] / "sample" / "safety_detection" / "tfidf.json"
    old = json.loads(path.read_text())
    parts = ("detector", "train", "test", "type", "k")
    assert {key for row in old["metrics"] for key in row} & set(parts) == {"detector", "train", "test"}
    for row in old["metrics"]:
        row["metric"] += f"/{row['detector']}"
    assert result_file.result_of(old).metrics == result_file.read_result(path).metrics
    for row in old["metrics"]:
        for part in parts:
            row.pop(part, None)
    assert result_file.result_of(old).metrics == result_file.read_result(path).metrics
    [typed] = made_up([Metric("fpr_at_threshold/x", "a -> b: c: d", 0.5, 5, "lower")]).metrics
    assert (typed.name, typed.train, typed.test, typed.type) == ("fpr_at_threshold/x", "a", "b", "c: d")
    assert typed.metric == "fpr_at_threshold"
    with pytest.raises(ValueError, match="names its detector"):
        old["metrics"][0]["metric"] = "auroc"
        result_file.result_of(old)


def test_a_second_run_reuses_the_result(tmp_path, capsys):
    said = []
    for _ in range(2):
        assert run(tmp_path, "tfidf", "--data", "sample", "--detectors", "centroid_difference") == 0
        said.append(capsys.readouterr())
    assert said[0].out == said[1].out and "tfidf: reused " in said[1].err
    first = document(tmp_path)["metrics"]
    assert run(tmp_path, "tfidf", "--data", "sample", "--detectors", "knn_vote", "--top-k", "3") == 0
    assert "reused" not in capsys.readouterr().err and document(tmp_path)["metrics"] != first
    assert document(tmp_path)["settings"]["detectors"] == ["knn_vote"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--detectors", "svm"], "--detectors svm: give one or more of nearest_unsafe"),
        (["--data", "nothing.csv"], "no such file, nor a set, family or class of that"),
        (["--limit", "6"], "fewer than the 5 folds; raise --limit above 6"),
    ],
)
def test_bad_flags_are_one_line(tmp_path, capsys, flags, message):
    assert run(tmp_path, "tfidf", "--quiet", *(flags if "--data" in flags else ["--data", "sample", *flags])) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and said.out == ""


class World(StandIn):
    """Unsafe prompts lean along the axis of their set: a shortcut."""

    dimension = 8

    def encode(self, texts):
        rows = []
        for text in texts:
            set_name, label, number = text.split()
            row = np.random.default_rng(int(number)).normal(0, 0.5, 8)
            row["ab".index(set_name)] += 3 * (int(label) - 0.5)
            rows.append(row)
        return np.array(rows, dtype=np.float32)


def test_a_shortcut_is_told_in_words_and_types_and_differences_in_tables(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(loading, "load", lambda spec: World())
    path = tmp_path / "worlds.csv"
    with path.open("w") as stream:
        print("prompt,label,set,type", file=stream)
        for s, start in (("a", 0), ("b", 1000)):
            for i in range(80):
                print(f"{s} {i % 2} {start + i},{i % 2},{s},{'odd' if i % 4 else 'even'}", file=stream)
    assert run(tmp_path, "--data", str(path), "--detectors", "logistic_regression,nearest_unsafe") == 0
    said = capsys.readouterr().out
    doc = document(tmp_path, "all-minilm-l6-v2", "worlds")
    within, across = (value(doc, "auroc", "logistic_regression", g) for g in ("a -> a", "a -> b"))
    assert within > 0.9 and abs(across - 0.5) < 0.2
    flat = " ".join(said.split())
    assert f"trained on a: AUROC {within:.2f} within, {across:.2f} on b" in flat
    assert "do not trust this threshold on other traffic" in flat and "it holds there" not in flat
    # Of 40 safe prompts, even i, those of i = 0, 4, 8, ... are even: 20 of each type.
    types = [m for m in doc["metrics"] if m["group"].startswith("a -> b: ")]
    assert {m["group"].split(": ")[1]: m["n"] for m in types} == {"even": 20, "odd": 20}
    mine = [m["value"] for m in types
            if (m["metric"], m["detector"]) == ("fpr_at_threshold", "logistic_regression")]  # fmt: skip
    assert np.mean(mine) == pytest.approx(value(doc, "fpr_at_threshold", "logistic_regression", "a -> b"))
    lines = said.splitlines()
    for title in ("minus nearest", "minus TF-IDF"):
        [at] = [i for i, line in enumerate(lines) if title in line]
        rows = [line.split("  ")[0] for line in lines[at : at + 7] if "->  " not in f"{line}  " and " -> " in line]
        assert rows == [f"{a} -> {b}" for b in "ab" for a in "ab"]


def test_what_is_not_to_be_trusted():
    def m(value, low, high):
        return Metric("auroc", "g", value, 9, "higher", low, high)

    assert distrust(m(0.95, 0.93, 0.97), m(0.8, 0.75, 0.85), 0.05), "intervals apart"
    assert not distrust(m(0.95, 0.93, 0.97), m(0.92, 0.89, 0.95), 0.06)
    assert distrust(m(0.95, 0.93, 0.97), m(0.94, 0.91, 0.96), 0.30), "six times the false alarms"
    assert distrust(m(0.55, 0.45, 0.65), m(0.55, 0.45, 0.65), 0.05), "nothing is known within either"
    # Without intervals 0.05 either way: 0.90 to 1.00 within.
    assert distrust(m(0.95, None, None), m(0.84, None, None), 0.05)
    assert not distrust(m(0.95, None, None), m(0.86, None, None), 0.05)


def test_the_finding_is_of_a_set_that_is_not_to_be_trusted_where_there_is_one():
    def m(name, group, value):
        return Metric(f"{name}/knn_vote", group, value, 9, "higher", value - 0.02, value + 0.02)

    rows = [m("auroc", "within", 0.9)]
    for train in "abc":
        for test in "abc":
            # On b areas are lowest but hold; on c the threshold does not.
            rows.append(m("auroc", f"{train} -> {test}", 0.88 if test == "b" else 0.9))
            rows.append(m("fpr_at_threshold", f"{train} -> {test}", 0.3 if test == "c" else 0.05))
            rows.append(m("tpr_at_threshold", f"{train} -> {test}", 0.6))
    said = finding(made_up(rows))
    assert (
        "With knn vote on x, trained on a: AUROC 0.90 within, 0.90 on c, where its threshold for 5 % false alarms "
        "flags 30 % of the safe" in said
    )
    assert said.count("do not trust") == 2 and "Trained on c: AUROC 0.90 within, 0.88 on b" in said


def test_many_differences_can_still_be_told_apart():
    """Three encoders without knowledge and one with all of it: Holm's correction must not hide the one."""
    generator = np.random.default_rng(0)
    sets, labels = ["abcd"[i // 40] for i in range(160)], [i % 2 for i in range(160)]
    trains = [*"abcd", "others"]
    rows = [
        Metric("auroc/knn_vote", g, 0.5, 9, "higher")
        for g in ("within", *(f"{t} -> {s}" for s in "abcd" for t in trains))
    ]
    found = []
    for knows in (True, False, False, False):
        scores = {f"knn_vote/{t}": [label * 9 * knows + generator.normal() for label in labels] for t in trains}
        items = {"id": list(range(160)), "set": sets, "label": labels, "group": list(range(160)), **scores}
        found.append(replace(made_up(rows), items=items))
    differences = encoder_differences(found)
    assert len(differences) == 3 and max(d.p for d in differences) <= 0.05, "of many sets, the mean that is there"
    for limit, number in ((4, 60), (3, 3)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(differences_module, "MOST_SETS", limit)
            some = encoder_differences(found)
            assert len(some) == number and max(d.p for d in some) <= 0.05


def test_sets_are_resampled_each_in_its_own_way():
    dataset, _ = labelled_sets.load("sample")
    of_sets = resamplings(dataset, 1000, 42)
    drawn = [of_sets[test].weights for test in dataset.group_order]
    assert drawn[0].shape == drawn[1].shape and (drawn[0] != drawn[1]).any()
    # Two sets that are the same: their mean varies less than either, by the square root of 2, if they are drawn apart.
    generator = np.random.default_rng(0)
    labels = [0, 1] * 40
    scores = (np.array(labels) + generator.normal(0, 1, 80)).tolist()
    items = {"set": ["a"] * 80 + ["b"] * 80, "label": labels * 2, "group": list(range(160))}
    items |= {f"knn_vote/{train}": scores * 2 for train in "ab"}
    rows = [Metric("auroc/knn_vote", f"{t} -> {s}", 0.5, 9, "higher") for s in "ab" for t in "ab"]
    (of,) = areas([(replace(made_up(rows), items=items), "knn_vote")], 2000)
    spread = {group: float(drawn.replicates.std()) for group, drawn in of.items()}
    assert spread["within"] == pytest.approx(spread["a -> a"] / np.sqrt(2), rel=0.1)
    assert spread["a -> b"] == pytest.approx(spread["a -> a"], rel=0.1)
