"""Encoders beside one another: differences, p-values and ranks on the same items, and what can't be compared."""

import csv
import io
import json

import numpy as np
import pytest
from doubles import GROUPS, tie, written
from latex_tables import tables_in
from scipy import stats
from sklearn.metrics import roc_auc_score

from Safety_Challenging.evaluate import TASK as CHALLENGING
from Safety_Taxonomy.evaluate import TASK as TAXONOMY
from utils import tables
from utils.compare import __main__ as compare_main
from utils.compare import paired
from utils.evaluation import run as evaluation_run
from utils.schema import DataFile, EncoderInfo, Metric, PValue
from utils.tables import p_text
from utils.transfer import differences


def table(capsys, *arguments):
    assert compare_main.main([*map(str, arguments), "--format", "csv"]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


@pytest.fixture
def three(tmp_path):
    generator = np.random.default_rng(1)
    base = generator.random(22)
    scores = {
        "one": base,
        "two": base + generator.normal(0, 0.01, 22),
        "three": base + 0.3 + generator.normal(0, 0.05, 22),
    }
    for name, values in scores.items():
        written(tmp_path, name, values)
    return tmp_path, scores


def test_differences_p_values_and_ranks(three, capsys):
    out, scores = three
    rows = table(capsys, "one", "two", "three", "--out", out)
    group = np.array(GROUPS)
    exact = {}
    for row in rows:
        values = scores[row["encoder"]]
        mean = {
            "a": lambda v: v[group == "a"].mean(),
            "b": lambda v: v[group == "b"].mean(),
            "average": lambda v: (v[group == "a"].mean() + v[group == "b"].mean()) / 2,
            "overall": lambda v: v.mean(),
        }[row["group"]]
        assert float(row["value"]) == pytest.approx(mean(values))
        assert float(row["low"]) < float(row["value"]) < float(row["high"])
        if row["encoder"] == "one":
            assert row["difference"] == row["p_holm"] == ""
        else:
            assert float(row["difference"]) == pytest.approx(mean(values) - mean(scores["one"]))
    # Groups a and b have so few items that all signs are tried: scipy does so too.
    for name, part in (("two", "a"), ("two", "b"), ("three", "a"), ("three", "b")):
        differences = (scores[name] - scores["one"])[group == part]
        row = next(r for r in rows if (r["encoder"], r["group"]) == (name, part))
        assert float(row["effect_size"]) == pytest.approx(differences.mean() / differences.std(ddof=1))
        exact[name, part] = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
        ).pvalue
    assert (exact["three", "a"], exact["three", "b"]) == (2 / 2**12, 2 / 2**10)
    corrected = {(r["encoder"], r["group"]): float(r["p_holm"]) for r in rows if r["p_holm"]}
    assert len(corrected) == 8, "two encoders in four rows"
    # The averages are corrected over the three pairs of encoders, as the ranks are. Of the six others, `three` has the
    # three smallest. That over all items is drawn, 1 in 20,001 at the least; then come 2/2^12 and 2/2^10, which count
    # as one of five and one of four.
    assert corrected["three", "overall"] == pytest.approx(6 / 20_001)
    assert corrected["three", "a"] == pytest.approx(5 * 2 / 2**12)
    assert corrected["three", "b"] == pytest.approx(4 * 2 / 2**10)
    assert corrected["three", "average"] == pytest.approx(3 / 20_001) and corrected["two", "average"] > 0.05
    assert min(corrected["two", part] for part in "ab") >= min(exact["two", part] for part in "ab")
    ranks = {r["encoder"]: r["rank"] for r in rows if r["group"] == "average"}
    assert ranks == {"one": "1", "two": "1", "three": "3"}
    # Whichever is the reference, a pair's average has the p-value of that pair: of those with `three` the least.
    again = {(r["encoder"], r["group"]): r["p_holm"] for r in table(capsys, "--reference", "three", "--out", out)}
    assert [float(again[name, "average"]) for name in ("one", "two")] == pytest.approx([3 / 20_001] * 2)


def test_the_floor_is_compared_whatever_the_others_average_similarity(tmp_path, capsys):
    """It is fitted on the prompts, so it has no other than its own; and the paper's figure is BeaverTails' mean too."""
    values = np.random.default_rng(0).random(22)
    settings = {"top_k": None, "threshold": 0.5, "bootstrap": 1000, "seed": 42}
    for name, source in (("one", "paper"), ("two", "beavertails"), ("floor", "own")):
        more = {"settings": {**settings, "baseline": {"value": 0, "source": source}}}
        if name == "floor":
            more["encoder"] = EncoderInfo("floor", "F", "", "1", 3, "float32", None, "", "scikit-learn", "f")
        written(tmp_path, name, values, **more)
        values = values + 0.1
    rows = table(capsys, "floor", "one", "two", "--out", tmp_path)
    differences = {r["encoder"]: float(r["difference"]) for r in rows if r["group"] == "overall" and r["difference"]}
    assert differences == pytest.approx({"one": -0.2, "two": -0.1})


def test_an_encoder_that_is_better_has_the_better_rank_when_higher_is_better(tmp_path, capsys):
    values = np.random.default_rng(0).random(22) / 2
    for name, scores in (("weak", values), ("strong", values + 0.4)):
        path = written(tmp_path, name, scores, "safety_taxonomy", "categorical_purity")
        document = json.loads(path.read_text())
        for metric in document["metrics"]:
            metric["better"] = "higher"
        path.write_text(json.dumps(document))
    ranks = {r["encoder"]: r["rank"] for r in table(capsys, "--out", tmp_path) if r["group"] == "average"}
    assert ranks == {"strong": "1", "weak": "2"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"dataset_files": (DataFile("y.csv", "1" * 64, 22),)},
            "different data (x.csv 000000000000 and y.csv 111111111111)",
        ),
        (
            {
                "settings": {
                    "top_k": None,
                    "threshold": 0.4,
                    "bootstrap": 0,
                    "seed": 1,
                    "baseline": {"value": 0, "source": "own"},
                }
            },
            "different threshold",
        ),
        (
            {
                "settings": {
                    "top_k": None,
                    "threshold": 0.5,
                    "bootstrap": 0,
                    "seed": 1,
                    "baseline": {"value": 0, "source": "paper"},
                }
            },
            "different kind of baseline (own and beavertails)",
        ),
        (
            {"items": {"id": [f"j{k}" for k in range(22)], "type": GROUPS, "normalized_similarity": [0.5] * 22}},
            "different items",
        ),
    ],
)
def test_what_is_not_alike_is_not_compared(tmp_path, capsys, change, message):
    written(tmp_path, "one", np.linspace(0, 1, 22))
    written(tmp_path, "two", np.linspace(0, 0.9, 22), **change)
    assert compare_main.main(["--out", str(tmp_path)]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: one and two on safety_challenging: ") and message in line


def test_bad_input_is_one_line(three, capsys):
    out, _ = three
    for arguments, message in (
        (["--format", "html"], "--format html"),
        (["one", "four"], "four: no result in"),
        (["--metric", "cosine_of_all"], "--metric cosine_of_all"),
        (["--reference", "four"], "--reference four: no result of safety_challenging"),
        (["--data", "nothing"], "no task has results of two encoders"),
    ):
        assert compare_main.main(["--out", str(out), *arguments]) == 2
        line = capsys.readouterr().err
        assert message in line and line.count("\n") == 1, line


def test_real_results_in_every_format(tmp_path, capsys):
    for task in (CHALLENGING, TAXONOMY):
        arguments = ["--data", "sample", "--model", "all-minilm-l6-v2,tfidf", "--out", str(tmp_path), "--quiet"]
        assert evaluation_run.evaluate(task, arguments) == 0
    capsys.readouterr()
    printed = {}
    for form in compare_main.FORMATS:
        assert compare_main.main(["tfidf", "all-minilm-l6-v2", "--out", str(tmp_path), "--format", form]) == 0
        printed[form] = capsys.readouterr().out
    assert max(len(line) for line in printed["text"].splitlines()) <= 80
    assert printed["markdown"].count("| average ") == 2 + 2
    shown = tables_in(printed["latex"])
    assert [label for _, label, _ in shown] == [
        f"tab:safety-{task}{part}" for task in ("challenging", "taxonomy") for part in ("", "-groups")
    ]
    assert printed["latex"].count("% needs \\usepackage{booktabs}") == 2 and "±" not in printed["latex"]
    rows = list(csv.DictReader(io.StringIO(printed["csv"])))
    assert {row["task"] for row in rows} == {"safety_challenging", "safety_taxonomy"}
    assert {row["reference"] for row in rows} == {"tfidf"}


@pytest.fixture
def detectors(tmp_path):
    """Results of three made-up encoders on two sets: one knows both, one the first only, one nothing."""
    generator = np.random.default_rng(0)
    sets, labels, clusters = ["a"] * 80 + ["b"] * 80, [0, 1] * 80, [i // 2 for i in range(160)]
    for name, knows in (("both", "ab"), ("first", "a"), ("none", "")):
        items = {"id": [f"i{k}" for k in range(160)], "set": sets, "label": labels, "group": clusters}
        for train in "ab":
            noise = generator.normal(0, 1, 160)
            own = [3.0 * label * (train in knows and its in knows) for label, its in zip(labels, sets, strict=True)]
            items[f"knn_vote/{train}"] = (noise + own).tolist()
        area = {
            f"{train} -> {test}": roc_auc_score(
                *(np.array(items[c])[np.array(sets) == test] for c in ("label", f"knn_vote/{train}"))
            )
            for test in "ab"
            for train in "ab"
        }
        area["within"] = (area["a -> a"] + area["b -> b"]) / 2
        area["across"] = (area["a -> b"] + area["b -> a"]) / 2
        metrics = tuple(
            Metric("auroc/knn_vote", g, v, 80, "higher", v - 0.1, min(v + 0.1, 1), 0.5) for g, v in area.items()
        )
        settings = {"top_k": 10, "threshold": None, "bootstrap": 1000, "seed": 42, "baseline": None}
        more = {"metrics": metrics, "items": items, "settings": settings, "dataset_items": 160}
        written(tmp_path, name, np.zeros(22), "safety_detection", **more)
    return tmp_path


def test_detectors_are_compared_by_their_areas_and_ranked_by_those_across(detectors, capsys):
    rows = table(capsys, "none", "first", "both", "--out", detectors)
    assert {row["metric"] for row in rows} == {"auroc/knn_vote"} and {row["reference"] for row in rows} == {"none"}
    of = {(row["encoder"], row["group"]): row for row in rows}
    assert len(of) == 3 * 6
    for (encoder, group), row in of.items():
        if encoder == "none":
            assert row["difference"] == row["p_holm"] == ""
            continue
        assert float(row["difference"]) == pytest.approx(float(row["value"]) - float(of["none", group]["value"]))
        # The first knows what is in a, trained on a; both know everything.
        knows = encoder == "both" or group in ("a -> a", "within")
        assert (float(row["p_holm"]) <= 0.05) == knows, (encoder, group)
    # The least p-value is one of 1,001: of 2 encoders in 5 groups, the mean across corrected over the 3 pairs instead.
    assert float(of["both", "a -> b"]["p_holm"]) == pytest.approx(10 / 1001)
    assert float(of["both", "across"]["p_holm"]) == pytest.approx(3 / 1001)
    assert {e: of[e, "across"]["rank"] for e in ("none", "first", "both")} == {"none": "2", "first": "2", "both": "1"}
    assert all(row["rank"] == "" for (_, group), row in of.items() if group != "across")
    for form in ("text", "markdown", "latex"):
        assert compare_main.main(["--out", str(detectors), "--format", form]) == 0
        said = capsys.readouterr().out
        assert "paired bootstrap of groups" in said and "Cohen" not in said and "sign-flip" not in said
    assert compare_main.main(["--out", str(detectors)]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_results_of_a_labelled_file_are_found_by_its_path(detectors, capsys):
    """A file of detection has no format of another task's."""
    (detectors / "made-up").rename(detectors / "made-up.v2")
    path = detectors / "made-up.v2.csv"
    path.write_text("prompt,label\n")
    (detectors / "made-up.v3.csv").write_text("prompt,label\n")
    arguments = ["--out", detectors, "--task", "safety_detection"]
    assert len(table(capsys, *arguments, "--data", path)) == 3 * 6
    assert compare_main.main([*map(str, arguments), "--data", str(detectors / "made-up.v3.csv")]) == 2
    assert "made-up.v3.csv (there are some on made-up.v2)" in capsys.readouterr().err, "another dataset"
    (detectors / "made-up.v2").rename(detectors / "made-up.v2+xstest")
    assert compare_main.main([*map(str, arguments), "--data", str(path)]) == 2
    said = capsys.readouterr().err
    assert "no task has results of two encoders on " in said
    assert "made-up.v2.csv (there are some on made-up.v2+xstest)" in said
    assert len(table(capsys, *arguments, "--data", f"{path}, xstest")) == 3 * 6, "as the task itself takes it"


def test_detectors_of_one_set_are_ranked_by_that_set(detectors, capsys):
    folder = detectors / "made-up" / "safety_detection"
    for path in folder.glob("*.json"):
        document = json.loads(path.read_text())
        document["metrics"] = [m for m in document["metrics"] if m["group"] in ("a -> a", "within")]
        path.write_text(json.dumps(document))
        items = path.with_name(f"{path.stem}.items.csv")
        items.write_text("\n".join(line for line in items.read_text().splitlines() if ",b," not in line) + "\n")
        tie(path)
    ranks = {r["encoder"]: r["rank"] for r in table(capsys, "--out", detectors) if r["group"] == "within"}
    assert ranks == {"both": "1", "first": "1", "none": "3"}


def test_detectors_are_resampled_as_often_as_their_correction_needs(detectors, capsys, monkeypatch):
    # Of 2 encoders in 5 groups: 50 resamples for each difference, so that the least p-value is 10 of 501.
    monkeypatch.setattr(differences, "LEAST_RESAMPLES", 10)
    rows = table(capsys, "none", "first", "both", "--out", detectors)
    assert min(float(r["p_holm"]) for r in rows if r["p_holm"] and r["group"] != "across") == pytest.approx(10 / 501)


def test_labels_that_tell_options_fit_the_terminal(detectors, capsys):
    """The label of 32 letters beside 11 + 4 * 2 + 7 + 14 + 6 + 5 + 5 others of the ranking would take 88."""
    labels = {"both": "MiniLM-L6 (own prompt, bfloat16)", "none": "Qwen3-Embedding-8B (no prompt)"}
    for name, label in labels.items():
        encoder = EncoderInfo(name, label, "", "1", 3, "float32", None, "", "torch", "f")
        written(detectors, name, np.linspace(0, 1, 22), encoder=encoder)
    assert compare_main.main(["both", "none", "--out", str(detectors), "--task", "safety_challenging"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80 and all(label in said for label in labels.values())
    # A row's name of 38 and columns of 30, 6 and 6, with two blanks between each, are 86.
    groups = ["openai_moderation -> openai_moderation"]
    block = [(labels["none"], ["0.911 ±0.011"]), ("diff", ["-0.009"]), ("p", ["<0.001"])]
    lines = tables.blocks([("trained -> tested", groups)], [block]).splitlines()
    assert len(lines) == 4 and max(map(len, lines)) <= 80
    assert "Qwen3-Embedding-8B" in lines[0] and "(no prompt)" in lines[1]


def test_a_label_is_text_in_markdown(tmp_path, capsys):
    for name, label in (("one", "a|b <i>"), ("two", "c")):
        encoder = EncoderInfo(name, label, "", "1", 3, "float32", None, "", "torch", "f")
        written(tmp_path, name, np.linspace(0, 0.9, 22), encoder=encoder)
    assert compare_main.main(["--out", str(tmp_path), "--format", "markdown"]) == 0
    assert capsys.readouterr().out.count("a\\|b &lt;i>") == 2, "a row of the ranking and a heading"


def test_a_minus_in_latex_is_that_of_a_number(tmp_path, capsys):
    for name, label, least in (("one", "MiniLM-L6", 0.2), ("two", "gte-Qwen2-1.5B", 0.1)):
        encoder = EncoderInfo(name, label, "", "1", 3, "float32", None, "", "torch", "f")
        written(tmp_path, name, np.linspace(least, 0.9, 22), encoder=encoder)
    assert compare_main.main(["one", "two", "--out", str(tmp_path), "--format", "latex"]) == 0
    said = capsys.readouterr().out
    # Item k of 22 is 0.1 (1 - k/21) lower: by 0.0738 in a, where k is 5.5 in the mean, and by 0.0214 in b (16.5).
    assert "gte-Qwen2-1.5B" in said and "$-$0.048" in said


def test_the_best_of_a_row_is_bold_in_latex_and_what_differs_has_a_star(three, capsys):
    out, scores = three
    assert compare_main.main(["one", "two", "three", "--out", str(out), "--format", "latex"]) == 0
    [(caption, _, ranking), (explained, _, [head, *rows])] = tables_in(capsys.readouterr().out)
    assert "lower is better" in caption and "in bold" in explained and "differs from ONE at 0.05" in explained
    assert [cell for cell, _ in head] == ["type", "ONE", "TWO", "THREE"] and len(ranking) == 1 + 3
    group = np.array(GROUPS)
    for [(name, _), *cells], its in zip(rows, ("a", "b", "average", "overall"), strict=True):
        weights = {"average": (group == "a") / 24 + (group == "b") / 20, "overall": np.full(22, 1 / 22)}.get(its)
        weights = (group == its) / (group == its).sum() if weights is None else weights
        means = [f"{scores[one] @ weights:.3f}" for one in ("one", "two", "three")]
        assert name == its and [text.split()[0] for text, _ in cells] == means
        assert [bold for _, bold in cells] == [mean == min(means) for mean in means]
        # The third is 0.3 above the first everywhere, the second as near as noise of 0.01 leaves it.
        assert [text.endswith("*") for text, _ in cells] == [False, False, True]


def test_latex_tables_of_many_encoders_are_no_wider_than_a_page(tmp_path, capsys):
    values = np.linspace(0, 0.9, 22)
    for i in range(7):
        encoder = EncoderInfo(f"e{i}", f"50% of R&D_{i}", "", "1", 3, "float32", None, "", "torch", f"f{i}")
        written(tmp_path, f"e{i}", values, encoder=encoder)
    assert compare_main.main(["--out", str(tmp_path), "--format", "latex"]) == 0
    _, *parts = tables_in(capsys.readouterr().out)
    # Each of the seven takes 15 characters, "0.450 ±0.108" and two blanks, or 13 more; the groups take 9: 5 and 2.
    assert [label for _, label, _ in parts] == [f"tab:safety-challenging-groups-{i}" for i in (1, 2)]
    heads = [cell for _, _, [head, *_] in parts for cell, _ in head[1:]]
    assert [len(head) for _, _, [head, *_] in parts] == [1 + 5, 1 + 2]
    assert heads == [f"50% of R&D_{i}" for i in range(7)]


def test_an_encoder_that_has_no_detection_is_compared_all_the_same(detectors, capsys):
    for name in ("both", "new"):
        written(detectors, name, np.linspace(0, 1, 22))
    assert compare_main.main(["both", "new", "--out", str(detectors)]) == 0
    said = capsys.readouterr()
    assert "safety-challenging: " in said.out and "safety-detection" not in said.out
    assert "without safety_detection: new: no result in" in said.err
    assert compare_main.main(["both", "new", "--out", str(detectors), "--task", "safety_detection"]) == 2


def test_detectors_that_cannot_be_compared(detectors, capsys):
    for arguments, message in (
        (["--metric", "auroc/svm"], "--metric auroc/svm: "),
        (["--task", "safety_detection", "one"], "one: no result in"),
    ):
        assert compare_main.main(["--out", str(detectors), *arguments]) == 2
        line = capsys.readouterr().err
        assert message in line and line.count("\n") == 1
    path = detectors / "made-up" / "safety_detection" / "none.json"
    before = path.read_text()
    path.write_text(before.replace('"seed": 42', '"seed": 7'))
    assert compare_main.main(["--out", str(detectors)]) == 2
    assert "both and none on safety_detection: different seed (42 and 7)" in capsys.readouterr().err
    path.write_text(before)
    items = path.with_name("none.items.csv")
    items.write_text(items.read_text().replace("i3,a,1", "i3,b,1"))
    tie(path)
    assert compare_main.main(["--out", str(detectors)]) == 2
    assert "both and none on safety_detection: different items" in capsys.readouterr().err


def test_p_values_are_never_printed_as_nought():
    p_values = (PValue(0.00004), PValue(0.0123), PValue(1.0), PValue(0.00004, True), PValue(0.0123, True))
    assert [*map(p_text, p_values)] == ["<0.001", "0.012", "1.000", "<0.001", "≤0.012"]
    assert p_text(None) == "-"


def test_the_average_and_overall_of_types_of_one_size_are_one_test(tmp_path, capsys):
    """Their p-values were corrected over different families, and differed beside the same difference."""
    generator, groups = np.random.default_rng(2), ["a"] * 10 + ["b"] * 10 + ["c"] * 10
    values = generator.random(30)
    written(tmp_path, "one", values, groups=groups)
    written(tmp_path, "two", values + generator.normal(0.06, 0.2, 30), groups=groups)
    rows = {r["group"]: r for r in table(capsys, "one", "two", "--out", tmp_path) if r["encoder"] == "two"}
    assert rows["overall"]["p_holm"] == rows["average"]["p_holm"] and float(rows["average"]["p_holm"]) < 1
    # Only a, b and c are left to correct over: the least of their exact p-values counts three times.
    items = {name: np.array(list(csv.DictReader(path.open())), dtype=object) for name, path in (
        (name, tmp_path / "made-up" / "safety_challenging" / f"{name}.items.csv") for name in ("one", "two")
    )}  # fmt: skip
    scores = {name: np.array([float(row["normalized_similarity"]) for row in its]) for name, its in items.items()}
    gaps = (scores["two"] - scores["one"]).reshape(3, 10)
    exact = [
        stats.permutation_test((gap,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True).pvalue
        for gap in gaps
    ]
    assert min(float(rows[group]["p_holm"]) for group in "abc") == pytest.approx(min(1, 3 * min(exact)))
    assert compare_main.main(["one", "two", "--out", str(tmp_path)]) == 0
    assert "'overall' is the same mean as 'average', and one test with it" in capsys.readouterr().out


def test_the_least_p_that_few_items_can_give_has_a_sign(tmp_path, capsys):
    # Five items in each group: 2 of the 2^5 choices of signs at the least, twice that after Holm's correction.
    groups = ["a"] * 5 + ["b"] * 5
    written(tmp_path, "one", np.linspace(0, 0.5, 10), groups=groups)
    written(tmp_path, "two", np.linspace(0.2, 0.8, 10), groups=groups)
    rows = {r["group"]: r for r in table(capsys, "one", "two", "--out", tmp_path) if r["encoder"] == "two"}
    assert float(rows["a"]["p_holm"]) == 2 * 2 / 32
    assert compare_main.main(["one", "two", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.count("≤0.125") == 2 and "≤: the test can give no smaller p" in said
    written(tmp_path, "two", [*np.linspace(0.2, 0.5, 9), 0], groups=groups)  # one difference of another sign
    assert compare_main.main(["one", "two", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("≤0.") == 1, "of a only"


def test_signs_are_drawn_as_often_as_the_correction_needs(three, capsys, monkeypatch):
    # Of 2 encoders in 3 groups and 3 pairs: 6 tests, and 60 flips for ten each; that of all items is the least.
    monkeypatch.setattr(paired, "LEAST_FLIPS", 5)
    monkeypatch.setattr(paired, "FLIPS_PER_TEST", 10)
    rows = table(capsys, "one", "two", "three", "--out", three[0])
    found = {(r["encoder"], r["group"]): float(r["p_holm"]) for r in rows if r["p_holm"]}
    assert found["three", "average"] == pytest.approx(3 / 61)
