"""Guards whose scores are given: their numbers, what is left out, and the detectors beside them."""

import csv
import io
import itertools
import json
import re

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score, roc_curve

from Safety_Detection import guards
from Safety_Detection.evaluate import TASK
from Safety_Detection.sets import labelled_sets
from Safety_Detection.shown import reading
from Safety_Detection.shown.section import detection_section
from utils.compare import __main__ as compare_main
from utils.evaluation.run import evaluate
from utils.schema import InputError, Metric
from utils.tables import with_interval

# Set: label (None for both), number of prompts, family.
SETS = {"a": (None, 40, "a"), "b": (None, 30, "b"), "c": (None, 24, "c"), "bad": (1, 30, "bad"),
        "good": (0, 26, "good"), "fine": (0, 20, "bad")}  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "made.csv"
    generator = np.random.default_rng(0)
    words = {0: ["bread", "garden", "song", "river", "knife"], 1: ["knife", "poison", "garden", "theft", "song"]}
    with path.open("w") as stream:
        print("id,prompt,label,set,family,group", file=stream)
        for name, (one, n, family) in SETS.items():
            for i in range(n):
                label = i % 2 if one is None else one
                said = f"{generator.choice(words[label])} {name}x{i} {name}y{i} {name}z{i} {name}{i}"
                print(f"{name}{i},{said},{label},{name},{family},{name}{i // 2}", file=stream)
    return path


@pytest.fixture(scope="module")
def dataset(file):
    return labelled_sets.load(str(file))[0]


@pytest.fixture(scope="module")
def given(dataset):
    """Of each id, a score with ties, whether it is flagged, and milliseconds."""
    generator = np.random.default_rng(1)
    scores = np.round(np.array(dataset.labels) + generator.normal(0, 0.8, len(dataset)), 1)
    flags = (scores + generator.normal(0, 0.2, len(dataset)) > 0.6).astype(int)
    slow = generator.integers(50, 400, len(dataset))
    return {one: cells for one, *cells in zip(dataset.ids, scores, flags, slow, strict=True)}


def saved(path, given, ids=None, columns=("score", "flagged", "milliseconds")):
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", *columns])
        writer.writerows([one, *given[one][: len(columns)]] for one in ids or given)
    return path


def guard(file, scores, out, *flags, name="judge"):
    return guards.main(["--scores", str(scores), "--name", name, "--data", str(file), "--out", str(out), *flags])


def document(out, name="judge"):
    return json.loads((out / "made" / "safety_detection" / f"{name}.json").read_text())


def metrics(out, name="judge"):
    return {(m["metric"], m["detector"], m["group"]): m for m in document(out, name)["metrics"]}


@pytest.fixture(scope="module")
def done(file, given, tmp_path_factory):
    """The folder of the results of TF-IDF and of a guard that has scored everything."""
    out = tmp_path_factory.mktemp("results")
    assert evaluate(TASK, ["tfidf", "--data", str(file), "--out", str(out), "--bootstrap", "1000", "--quiet",
                           "--no-cache", "--detectors", "centroid_difference,logistic_regression"]) == 0  # fmt: skip
    assert guard(file, saved(out / "scores.csv", given), out, "--quiet") == 0
    return out


def of(dataset, given, *names):
    rows = [i for i, name in enumerate(dataset.groups) if name in names]
    labels = np.array([dataset.labels[i] for i in rows])
    return labels, *np.array([given[dataset.ids[i]][:2] for i in rows]).T


def test_every_number_is_scikit_learns(done, dataset, given):
    found = metrics(done)
    for name in "abc":
        labels, scores, flags = of(dataset, given, name)
        false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
        expected = {
            "auroc": roc_auc_score(labels, scores),
            "auprc": average_precision_score(labels, scores),
            "fpr_at_95_tpr": false[true >= 0.95 - 1e-9].min(),
            "tpr_at_1_fpr": true[false <= 0.01].max(),
            "f1": f1_score(labels, flags),
            "tpr_at_threshold": flags[labels == 1].mean(),
            "fpr_at_threshold": flags[labels == 0].mean(),
        }
        for metric, value in expected.items():
            m = found[metric, "guard", f"as given -> {name}"]
            assert m["value"] == pytest.approx(value), metric
            assert m["low"] <= value <= m["high"] and m["high"] > m["low"] and m["n"] in (len(labels), len(labels) // 2)
        # The prompts of a group are a safe one and an unsafe one after it.
        pairs = flags.reshape(-1, 2)
        for verdict, (safe, unsafe) in (("separated", (0, 1)), ("both_flagged", (1, 1)), ("both_passed", (0, 0)),
                                        ("inverted", (1, 0))):  # fmt: skip
            share = ((pairs[:, 0] == safe) & (pairs[:, 1] == unsafe)).mean()
            assert found[verdict, "guard", f"as given -> {name}"]["value"] == pytest.approx(share)
    mean = np.mean([found["auroc", "guard", f"as given -> {name}"]["value"] for name in "abc"])
    assert found["auroc", "guard", "as given"]["value"] == pytest.approx(mean)
    labels, scores, _ = of(dataset, given, "bad", "good")
    area = roc_auc_score(labels, scores)
    assert found["auroc", "guard", "as given -> bad | good"]["value"] == pytest.approx(area)
    # The other safe-only set is of the family of the unsafe-only one, which no detector of others is tested against.
    assert found["auroc", "guard", "ordinary traffic"]["value"] == pytest.approx(area)
    assert ("auroc", "guard", "as given -> bad | fine") not in found
    assert found["fpr_at_threshold", "guard", "as given -> fine"]["value"] == of(dataset, given, "fine")[2].mean()
    slow = [milliseconds for *_, milliseconds in given.values()]
    assert found["median_milliseconds", "guard", "as given"]["value"] == pytest.approx(np.median(slow))
    assert found["p95_milliseconds", "guard", "as given"]["value"] == pytest.approx(np.percentile(slow, 95))


def test_a_guard_that_is_a_detector_has_its_numbers_and_differs_from_it_by_nothing(done, file, tmp_path, capsys):
    folder = tmp_path / "made" / "safety_detection"
    folder.mkdir(parents=True)
    for path in (done / "made" / "safety_detection").glob("tfidf.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    with (folder / "tfidf.items.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    scores = tmp_path / "same.csv"
    scores.write_text("id,score\n" + "".join(f"{r['id']},{r['logistic_regression/others']}\n" for r in rows))
    assert guard(file, scores, tmp_path, name="same") == 0
    theirs, mine = metrics(done, "tfidf"), metrics(tmp_path, "same")
    for name, metric in itertools.product("abc", ("auroc", "auprc", "fpr_at_95_tpr", "tpr_at_1_fpr")):
        one = mine[metric, "guard", f"as given -> {name}"]
        other = theirs[metric, "logistic_regression", f"others -> {name}"]
        assert [one[key] for key in ("value", "low", "high")] == [other[key] for key in ("value", "low", "high")]
    assert not [name for name, *_ in mine if "threshold" in name or "f1" in name], "nothing says what is flagged"
    lines = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.split()[:2] == ["a", "same"])
    assert lines[at].split()[2:6] == lines[at + 1].split()[1:5], "the detector is beside it, by the same four metrics"
    area = mine["auroc", "guard", "as given -> a"]
    said = with_interval(Metric("auroc", "a", area["value"], 40, "higher", area["low"], area["high"]))
    assert lines[at].split()[2:4] == said.split()[:2], "with its interval"
    assert compare_main.main(["tfidf", "same", "--out", str(tmp_path), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    mine = [row for row in rows if row["encoder"] == "same" and row["group"][-2:] in ("rs", " a", " b", " c")]
    assert len(mine) == 4 and {(row["difference"], row["p_holm"]) for row in mine} == {("0.0", "1.0")}


def test_prompts_are_matched_without_regard_to_case_and_space(done, dataset, file, given, tmp_path):
    path = tmp_path / "by-text.jsonl"
    rows = [{"prompt": f"  {text.upper()} ", "score": float(given[one][0]), "flagged": bool(given[one][1])}
            for one, text in zip(dataset.ids, dataset.texts["prompt"], strict=True)]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[::-1]))
    assert guard(file, path, tmp_path) == 0
    by_id = {key: m for key, m in metrics(done).items() if "milliseconds" not in key[0]}
    assert metrics(tmp_path) == by_id


@pytest.mark.parametrize("how", ["id", "row"])
def test_ids_are_known_as_score_wrote_them(dataset, file, given, tmp_path, how):
    """Of a file with ids `score` writes those, without the set; of one without any the number of the row."""
    path = tmp_path / "scores.csv"
    with path.open("w") as stream:
        print("line,row,id,score,flagged,truncated", file=stream)
        for i, one in enumerate(dataset.ids[40:70]):
            score, flagged, _ = given[one]
            print(f"{i + 2},{i + 1},{one.partition(':')[2] if how == 'id' else ''},{score},{flagged},0", file=stream)
    only = dataset
    if how == "row":
        alone = tmp_path / "b.csv"
        texts = [text for text, name in zip(dataset.texts["prompt"], dataset.groups, strict=True) if name == "b"]
        alone.write_text("prompt,label\n" + "".join(f"{text},{i % 2}\n" for i, text in enumerate(texts)))
        only = labelled_sets.load(str(alone))[0]
    found = guards.read_scores(path, only)
    assert found.rows.tolist() == list(range(40, 70) if how == "id" else range(30))
    assert found.scores.tolist() == [given[one][0] for one in dataset.ids[40:70]]
    with path.open("a") as stream:
        print(f"99,99,{dataset.ids[40] if how == 'id' else ''},1,1,0", file=stream)
    message = "row 31: id b:b0 is that of row 1 too" if how == "id" else "row 31: row 99 is not in the data"
    with pytest.raises(InputError, match=message):
        guards.read_scores(path, only)


def test_what_is_not_scored_is_counted_and_left_out_of_both_sides(done, dataset, file, given, tmp_path, capsys):
    for path in (done / "made" / "safety_detection").glob("tfidf.*"):
        (tmp_path / "made" / "safety_detection").mkdir(parents=True, exist_ok=True)
        (tmp_path / "made" / "safety_detection" / path.name).write_bytes(path.read_bytes())
    # Of a the first 18 prompts, of b all but one, of c no safe prompt.
    kept = [one for one in given if not re.fullmatch("a:a(1[89]|[23].)|b:b3|c:c.?[02468]|good:.*", one)]
    assert guard(file, saved(tmp_path / "few.csv", given, kept), tmp_path) == 0
    said = capsys.readouterr()
    assert "without c: none of its safe prompts has a score\n" in said.err
    assert "without good: none of its safe prompts has a score\n" in said.err
    assert document(tmp_path)["settings"]["unscored"] == {"a": 22, "b": 1, "c": 24, "good": 26}
    assert "not scored and left out: 73 (22 of a, 1 of b, 24 of c, 26 of good)" in said.out
    row = next(line.split() for line in said.out.splitlines() if line.split()[:1] == ["TF-IDF"])
    assert len(row) == 3, "AUROC and AUPRC without the intervals of the result, which are of more prompts"
    assert "for 5 %" not in " ".join(said.out.split()), "what a guard flags is by its own threshold"
    with (tmp_path / "made" / "safety_detection" / "tfidf.items.csv").open() as stream:
        theirs = {row["id"]: float(row["logistic_regression/others"]) for row in csv.DictReader(stream)}
    areas = {}
    for who, scores in (("judge", {one: given[one][0] for one in given}), ("tfidf", theirs)):
        for name in "ab":
            its = [one for one in kept if one.startswith(f"{name}:")]
            labels = [dataset.labels[dataset.ids.index(one)] for one in its]
            areas[who, name] = roc_auc_score(labels, [scores[one] for one in its])
    arguments = ["judge", "tfidf", "--out", str(tmp_path), "--task", "safety_detection", "--format", "csv"]
    assert compare_main.main(arguments) == 0
    said = capsys.readouterr()
    rows = {(row["encoder"], row["group"]): row for row in csv.DictReader(io.StringIO(said.out))}
    assert {group for _, group in rows} == {"others -> a", "others -> b", "others"}
    for (who, name), area in areas.items():
        assert float(rows[who, f"others -> {name}"]["value"]) == pytest.approx(area)
    for who in ("judge", "tfidf"):
        mean = (areas[who, "a"] + areas[who, "b"]) / 2
        row = rows[who, "others"]
        assert float(row["value"]) == pytest.approx(mean) and row["n"] == str(18 + 29)
        assert float(row["low"]) < mean < float(row["high"])
    gap = sum(areas["tfidf", name] - areas["judge", name] for name in "ab") / 2
    assert float(rows["tfidf", "others"]["difference"]) == pytest.approx(gap) and rows["tfidf", "others"]["p_holm"]
    assert "prompts that all have scored" in said.err


def test_encoders_are_compared_and_reported_as_before_beside_a_guard(done, capsys, monkeypatch):
    monkeypatch.setattr("Safety_Detection.shown.section.drawn", lambda *_: [])
    assert compare_main.main(["--out", str(done), "--format", "csv"]) == 0
    groups = {row["group"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert groups == {"others -> a", "others -> b", "others -> c", "others", "others -> bad | good", "ordinary traffic"}
    folder = done / "made" / "safety_detection"
    assert [one.encoder.name for one in reading.alike(sorted(folder.glob("*.json")))[0]] == ["tfidf"]
    section, _ = detection_section(TASK, done, "made", [])
    table, differences = (table for table in section.tables if "guard judge" in table.caption)
    cells = {row[0].text: row[2].value for row in (*table.rows, *table.foot)}
    assert cells["others"] == pytest.approx(metrics(done)["auroc", "guard", "as given"]["value"])
    assert table.headings[1:] == ["n", "judge", "TF-IDF", "chance"] and not table.on_demand
    assert differences.headings[1:] == ["TF-IDF minus judge", "p"] and differences.on_demand
    assert [one.encoder.name for one in section.results] == ["tfidf"] and not section.notes


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("id,score\na:a1,1\na:a2,high\n", "s.csv: row 2: 'score' is not a number; fix the row or leave it out"),
        ("id,score\na:a1,1\na:a2,0\na:a1,1\n", "s.csv: row 3: id a:a1 is that of row 1 too; score each prompt once"),
        ("id,score\na:a99,1\n", "s.csv: row 1: id a:a99 is not in the data; name its set with --data or fix the row"),
        ("score\n1\n", "s.csv: no column 'id' with ids such as a:a0, nor a column 'prompt'; add one"),
        ("id,flagged\na:a1,1\n", "s.csv: no column 'score' "),
        ("id,score,flagged\na:a1,1,perhaps\n", "s.csv: row 1: 'flagged' is neither one of 1, "),
        ("id,score,milliseconds\na:a1,1,-3\n", "s.csv: row 1: 'milliseconds' is not a number of at least 0; "),
        ("prompt,score\nsecret words,1\n", "s.csv: row 1: its prompt is not in the data; name its set with --data"),
        ("id,score\na:a1,1\n", "--scores: a: none of its safe prompts has a score; score prompts of each class"),
    ],
)
def test_bad_scores_are_one_line(file, tmp_path, capsys, rows, message):
    (tmp_path / "s.csv").write_text(rows)
    assert guard(file, tmp_path / "s.csv", tmp_path) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: {message}") and line.count("\n") == 1 and "secret" not in line
    assert not list(tmp_path.glob("made/safety_detection/*"))


def test_a_threshold_flags_in_place_of_the_column(done, dataset, file, given, tmp_path, capsys):
    assert guard(file, done / "scores.csv", tmp_path, "--threshold", "0.5") == 0
    labels, scores, _ = of(dataset, given, "a")
    assert metrics(tmp_path)["f1", "guard", "as given -> a"]["value"] == pytest.approx(f1_score(labels, scores >= 0.5))
    assert document(tmp_path)["settings"]["threshold"] == 0.5
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
