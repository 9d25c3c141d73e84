"""Encoders beside one another: differences, p-values and ranks on the same items, and what can't be compared."""

import csv
import io
import re
import shutil

import numpy as np
import pytest
from doubles import GROUPS, known, written
from latex_tables import tables_in, too_wide
from oracles import resampled_areas, student
from scipy import stats
from sklearn.metrics import roc_auc_score

from utils.compare import __main__ as compare_main
from utils.metrics.summary import summarise
from utils.metrics.uncertainty import cluster_resamples
from utils.schema import DataFile, EncoderInfo, Metric
from utils.tasks import TASKS


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
    known(out, "one", "two", "three")
    rows = table(capsys, "one", "two", "three", "--out", out, "--task", "safety_challenging")
    group = np.array(GROUPS)
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
    # A group's difference is scipy's paired t-test; the average's is Welch and Satterthwaite's, of two groups' means.
    expected = {}
    for name in ("two", "three"):
        gaps = {part: (scores[name] - scores["one"])[group == part] for part in "ab"}
        for part, gap in gaps.items():
            row = next(r for r in rows if (r["encoder"], r["group"]) == (name, part))
            test = stats.ttest_rel(scores[name][group == part], scores["one"][group == part])
            expected[name, part] = test.pvalue, *test.confidence_interval()
            assert float(row["effect_size"]) == pytest.approx(gap.mean() / gap.std(ddof=1))
        for part, weights in (("average", (1 / 2, 1 / 2)), ("overall", (12 / 22, 10 / 22))):
            its = [(w**2 * gap.var(ddof=1) / len(gap), len(gap)) for w, gap in zip(weights, gaps.values(), strict=True)]
            variance = sum(v for v, _ in its)
            freedom = variance**2 / sum(v**2 / (n - 1) for v, n in its)
            mean = sum(w * gap.mean() for w, gap in zip(weights, gaps.values(), strict=True))
            p = 2 * stats.t.sf(abs(mean) / variance**0.5, freedom)
            reach = stats.t.ppf(0.975, freedom) * variance**0.5
            expected[name, part] = p, mean - reach, mean + reach
    shown = {(r["encoder"], r["group"]): r for r in rows if r["p"]}
    assert shown.keys() == expected.keys()
    for key, numbers in expected.items():
        found = [float(shown[key][column]) for column in ("p", "difference_low", "difference_high")]
        assert found == pytest.approx(numbers, rel=1e-5, abs=1e-12)
        assert (found[0] < 0.05) == (found[1] > 0 or found[2] < 0), "p and interval are of one distribution"
    # Holm: the averages over the three pairs of encoders, as the ranks; the six others together.
    others = [key for key in expected if key[1] != "average"]
    order = sorted(others, key=lambda key: expected[key][0])
    least = 0.0
    for i, key in enumerate(order):
        least = max(least, min(1, expected[key][0] * (6 - i)))
        assert float(shown[key]["p_holm"]) == pytest.approx(least, rel=1e-4)
    between = scores["three"] - scores["two"]
    parts = [between[group == part] for part in "ab"]
    variance = sum(gap.var(ddof=1) / len(gap) / 4 for gap in parts)
    assert abs(np.mean([gap.mean() for gap in parts])) > 10 * variance**0.5, "three differs from two as from one"
    assert float(shown["two", "average"]["p_holm"]) == pytest.approx(expected["two", "average"][0], rel=1e-4)
    assert expected["three", "average"][0] < float(shown["three", "average"]["p_holm"]) < 1e-6
    ranks = {r["encoder"]: r["rank"] for r in rows if r["group"] == "average"}
    assert ranks == {"one": "1", "two": "1", "three": "3"}
    # Whichever is the reference, a pair's average has the p-value of that pair.
    again = {(r["encoder"], r["group"]): r for r in table(capsys, "--reference", "three", "--out", out, "--task",
                                                               "safety_challenging")}  # fmt: skip
    for column in ("p", "p_holm"):
        assert float(again["one", "average"][column]) == pytest.approx(float(shown["three", "average"][column]))
    assert float(again["one", "average"]["difference_high"]) == -float(shown["three", "average"]["difference_low"])


def test_an_encoder_that_is_better_has_the_better_rank_when_higher_is_better(tmp_path, capsys):
    values = np.random.default_rng(0).random(22) / 2
    for name, scores in (("weak", values), ("strong", values + 0.4)):
        metrics = summarise("categorical_purity", scores, GROUPS, ["a", "b"], "higher", resamples=1000)
        written(tmp_path, name, scores, "safety_taxonomy", "categorical_purity", metrics=tuple(metrics))
    ranks = {r["encoder"]: r["rank"] for r in table(capsys, "--out", tmp_path) if r["group"] == "average"}
    assert ranks == {"strong": "1", "weak": "2"}


BASELINE = {"value": 0, "source": "own"}
SETTINGS = {"top_k": None, "threshold": 0.5, "bootstrap": 0, "seed": 42, "baseline": BASELINE}
OTHER_ITEMS = {"id": [*"abcdefghijklmnopqrstuv"], "type": GROUPS, "normalized_similarity": [0.5] * 22}


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("challenging", {"dataset_files": (DataFile("y.csv", "1" * 64, 22),)},
         "different data (x.csv 000000000000 and y.csv 111111111111)"),
        ("challenging", {"items": OTHER_ITEMS}, "different items"),
        ("challenging", {"settings": {"baseline": {"value": 0, "source": "paper"}}},
         "different kind of baseline (own and beavertails)"),
        ("challenging", {"settings": {"threshold": 0.4}}, "different threshold (0.5 and 0.4)"),
        ("taxonomy", {"settings": {"top_k": 5}}, "different k (None and 5)"),
        # What does not enter a task's numbers.
        ("challenging", {"settings": {"top_k": 5, "seed": 7}}, None),
        ("contrast", {"settings": {"top_k": 5, "seed": 7}}, None),
        ("taxonomy", {"settings": {"threshold": 0.4, "seed": 7}}, None),
    ],
)  # fmt: skip
def test_what_is_not_alike_in_what_enters_a_task_is_not_compared(tmp_path, capsys, task, change, message):
    task = TASKS[f"safety_{task}"]
    settings = SETTINGS | ({} if task.uses_baseline else {"baseline": None})
    for name, more in (("one", {}), ("two", change)):
        more = more | {"settings": settings | more.get("settings", {})}
        written(tmp_path, name, np.linspace(0, 1, 22), task.name, task.headline, **more)
    assert compare_main.main(["--out", str(tmp_path)]) == (0 if message is None else 2)
    said = capsys.readouterr().err
    assert said == "" if message is None else said.startswith(f"error: one and two on {task.name}: {message}; run both")


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


def test_real_results_in_every_format(sample_results, tmp_path, capsys):
    for task in ("safety_challenging", "safety_taxonomy"):
        shutil.copytree(sample_results / "sample" / task, tmp_path / "sample" / task)
    printed = {}
    for form in compare_main.FORMATS:
        assert compare_main.main(["tfidf", "all-minilm-l6-v2", "--out", str(tmp_path), "--format", form]) == 0
        printed[form] = capsys.readouterr().out
    assert max(len(line) for line in printed["text"].splitlines()) <= 80
    assert printed["markdown"].count("| average ") == 2 + 2 + 2
    shown = tables_in(printed["latex"])
    assert list(dict.fromkeys(re.sub(r"-\d$", "", label) for _, label, _ in shown)) == [
        f"tab:safety-{task}{part}"
        for task in ("challenging", "taxonomy")
        for part in ("", "-groups", "-groups-differences")
    ]
    assert printed["latex"].count("% needs \\usepackage{booktabs}") == 2 and "±" not in printed["latex"]
    rows = list(csv.DictReader(io.StringIO(printed["csv"])))
    assert {row["task"] for row in rows} == {"safety_challenging", "safety_taxonomy"}
    assert {row["reference"] for row in rows} == {"tfidf"}


@pytest.mark.parametrize(
    ("names", "groups", "environments"),
    [
        (["b", "c"], ["a", "b"], {"table"}),  # type, n and two numbers are narrower than a column
        (
            ["folder/checkpoint-1000-of-a-run", *"bcde"],
            [f"a name of {n} letters" for n in ("many", "more")],
            {"table*"},
        ),
    ],
)
def test_tables_fit_a_paper_in_two_columns(tmp_path, capsys, names, groups, environments):
    groups = [group for group in groups for _ in range(8)]
    values = np.random.default_rng(0).random(16) / 2
    for i, name in enumerate(names):
        items = {"id": [f"i{k}" for k in range(16)], "type": groups, "normalized_similarity": list(values + i / 9)}
        written(tmp_path, name, values + i / 9, groups=groups, items=items)
    assert compare_main.main(["--out", str(tmp_path), "--format", "latex"]) == 0
    text = capsys.readouterr().out
    assert environments <= set(re.findall(r"\\begin\{(table\*?)\}", text))
    assert too_wide(text, tmp_path) == []


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


def drawn_areas(out):
    """Encoder to group to the area in each of 1,000 resamples of pairs of prompts; sets are drawn apart."""
    found = {}
    for path in (out / "made-up" / "safety_detection").glob("*.items.csv"):
        rows, of = list(csv.DictReader(path.open())), found.setdefault(path.name.split(".")[0], {})
        for position, test in enumerate("ab"):
            mine = [row for row in rows if row["set"] == test]
            labels, groups = ([int(row[column]) for row in mine] for column in ("label", "group"))
            counts = cluster_resamples(groups, labels, 1000, (42, position))
            counts = counts[:, np.unique(groups, return_inverse=True)[1]]
            for train in "ab":
                scores = [float(row[f"knn_vote/{train}"]) for row in mine]
                of[f"{train} -> {test}"] = resampled_areas(labels, scores, counts)
        of["within"] = (of["a -> a"] + of["b -> b"]) / 2
        of["across"] = (of["a -> b"] + of["b -> a"]) / 2
    return found


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
    # Forty pairs of prompts in each set, and those of both for a mean.
    areas = drawn_areas(detectors)
    order = sorted((float(row["p"]), key) for key, row in of.items() if row["p"] and key[1] != "across")
    least = 0.0
    for i, (p, key) in enumerate(order):
        least = max(least, min(1, p * (len(order) - i)))
        assert float(of[key]["p_holm"]) == pytest.approx(least)
    for (encoder, group), row in of.items():
        if encoder != "none":
            drawn, clusters = areas[encoder][group] - areas["none"][group], 40 if "->" in group else 80
            expected = student(float(row["difference"]), drawn, clusters)
            found = [float(row[column]) for column in ("difference_low", "difference_high", "p")]
            assert found == pytest.approx(expected, rel=1e-6), (encoder, group)
            assert (found[2] < 0.05) == (found[0] > 0 or found[1] < 0), "p and interval are of one distribution"
    assert len(order) == 2 * 5 and float(of["both", "across"]["p"]) < float(of["both", "across"]["p_holm"]) < 1e-6
    assert {e: of[e, "across"]["rank"] for e in ("none", "first", "both")} == {"none": "2", "first": "2", "both": "1"}
    assert all(row["rank"] == "" for (_, group), row in of.items() if group != "across")
    for form in ("text", "markdown", "latex"):
        assert compare_main.main(["--out", str(detectors), "--format", form]) == 0
        said = capsys.readouterr().out
        assert "paired bootstrap of groups" in said and "Cohen" not in said and "sign-flip" not in said
    assert compare_main.main(["--out", str(detectors)]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_the_average_and_overall_of_types_of_one_size_are_one_test(tmp_path, capsys):
    """Their p-values were corrected over different families, and differed beside the same difference."""
    generator, groups = np.random.default_rng(2), ["a"] * 10 + ["b"] * 10 + ["c"] * 10
    values = generator.random(30)
    written(tmp_path, "one", values, groups=groups)
    written(tmp_path, "two", values + generator.normal(0.06, 0.2, 30), groups=groups)
    rows = {r["group"]: r for r in table(capsys, "one", "two", "--out", tmp_path) if r["encoder"] == "two"}
    assert rows["overall"]["p_holm"] == rows["average"]["p_holm"] and float(rows["average"]["p_holm"]) < 1
    # Only a, b and c are left to correct over: the least of their p-values counts three times.
    least = min(float(rows[group]["p"]) for group in "abc")
    assert min(float(rows[group]["p_holm"]) for group in "abc") == pytest.approx(min(1, 3 * least))
    assert compare_main.main(["one", "two", "--out", str(tmp_path)]) == 0
    assert "'overall' is the same number as 'average' here, so it has the same p" in capsys.readouterr().out


def test_an_encoder_that_is_there_twice_counts_once(three, tmp_path_factory, capsys):
    """Copies took ranks, and Holm's method counted them. A different encoder of the same scores does not differ."""
    out, scores = three
    copies = tmp_path_factory.mktemp("copies")
    shutil.copytree(out, copies, dirs_exist_ok=True)
    rows = table(capsys, "--out", out)
    assert table(capsys, "--out", out, "--with", copies) == rows
    # Of the same encoder with different scores both are shown.
    generator = np.random.default_rng(9)
    written(copies, "two", generator.random(22))
    names = {r["encoder"] for r in table(capsys, "--out", out, "--with", copies)}
    assert len(names) == 4
    written(out, "same", scores["one"])
    rows = [r for r in table(capsys, "one", "same", "--out", out) if r["encoder"] == "same"]
    for row in rows:
        numbers = [float(row[name]) for name in ("difference", "difference_low", "difference_high", "p", "p_holm")]
        assert numbers == [0, 0, 0, 1, 1]


def test_an_encoder_that_knows_less_than_words_has_no_rank_by_a_similarity(tmp_path, capsys):
    """One that knows nothing has the best similarity there is."""
    values = np.random.default_rng(3).random(22)
    known(tmp_path, "good")
    known(tmp_path, "broken", purity=0.3)
    for name, level in (("good", 0.4), ("broken", 0.0), ("tfidf", 0.3), ("unknown", 0.1)):
        backend = "scikit-learn" if name == "tfidf" else "torch"
        encoder = EncoderInfo(name, name.title(), "", "1", 3, "float32", None, "", backend, name)
        written(tmp_path, name, (values + level) / 2, encoder=encoder)
    rows = table(capsys, "--task", "safety_challenging", "--out", tmp_path)
    averages = {r["encoder"]: r for r in rows if r["group"] == "average"}
    assert {name: row["rank"] for name, row in averages.items()} == {
        "good": "2",
        "tfidf": "1",
        "broken": "",
        "unknown": "",
    }
    assert averages["broken"]["no_rank"] == "its Categorical Purity, 0.300, is below TF-IDF's, 0.500"
    assert averages["unknown"]["no_rank"].endswith("is not known; run scripts/safety_taxonomy.sh with it")
    # Two have ranks, so one pair is corrected for.
    good = next(r for r in table(capsys, "--task", "safety_challenging", "--reference", "tfidf", "--out", tmp_path)
                if (r["encoder"], r["group"]) == ("good", "average"))  # fmt: skip
    assert good["p_holm"] == good["p"]
    for form in ("text", "markdown", "latex"):
        assert compare_main.main(["--task", "safety_challenging", "--out", str(tmp_path), "--format", form]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert (
            "Broken has no rank: its Categorical Purity, 0.300, is below" in said
            and "has no rank by a similarity" in said
        )
    rows = table(capsys, "--task", "safety_taxonomy", "--out", tmp_path)
    assert all(r["rank"] for r in rows if r["group"] == "average"), "purity ranks all"
