"""Gates: results worse than the reference by more than is allowed end the comparison with status 1."""

import re

import numpy as np
import pytest
from doubles import GROUPS, written
from sklearn.metrics import f1_score, roc_auc_score, roc_curve

from utils.compare import __main__ as compare_main
from utils.schema import Metric

SETS = np.array(["a"] * 80 + ["b"] * 80 + ["bad"] * 60 + ["good"] * 60, dtype=object)
LABELS = np.array([0, 1] * 80 + [1] * 60 + [0] * 60)
LINE = re.compile(
    r"gate (\S+) is not met: (\S+) has (\S+) and (\S+) (\S+) on (\w+), (.+) "
    r"\(difference (\S+), 95 % interval (\S+) to (\S+)\)"
)


def gated(capsys, out, *arguments):
    """The exit status, the breaches, and the rest of standard error.

    A breach is gate, encoder, value, reference, its value, task, group, difference, low, high.
    """
    status = compare_main.main([*arguments, "--out", str(out)])
    lines = capsys.readouterr().err.splitlines()
    found = [LINE.fullmatch(line).groups() for line in lines if line.startswith("gate ")]
    return status, found, "\n".join(line for line in lines if not line.startswith("gate "))


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    """Two encoders of Safety-Challenging, of which lower is better, and their scores."""
    out, generator = tmp_path_factory.mktemp("items"), np.random.default_rng(0)
    scores = {"base": generator.random(22) / 2}
    scores["worse"] = scores["base"] + generator.normal(0.1, 0.05, 22)
    for name, values in scores.items():
        written(out, name, values)
    return out, scores


@pytest.fixture(scope="module")
def detection(tmp_path_factory):
    """Two encoders on two sets, and on unsafe prompts against ordinary traffic, and the scores of each column."""
    out, generator = tmp_path_factory.mktemp("detection"), np.random.default_rng(0)
    scores = {}
    for name, signal in (("base", 2.0), ("worse", 1.0)):
        items = {"id": [f"i{k}" for k in range(280)], "set": SETS.tolist(), "label": LABELS.tolist(),
                 "group": [i // 2 for i in range(280)]}  # fmt: skip
        mine = {}
        for column, its in (("a", "ab"), ("b", "ab"), ("others", "ab"), ("others | good", ["bad"]),
                            ("others | bad", ["good"])):  # fmt: skip
            values = signal * LABELS + generator.normal(0, 1, 280)
            values[~np.isin(SETS, list(its))] = np.nan
            mine[f"knn_vote/{column}"] = values
        for column in ("a", "b", "others"):
            values = (signal * LABELS + generator.normal(0, 1, 280) > 1.2).astype(float)
            values[~np.isin(SETS, ["a", "b", *(("bad", "good") if column == "others" else ())])] = np.nan
            mine[f"flagged/knn_vote/{column}"] = values
        where = [{"train": train, "test": test} for test in "ab" for train in ("a", "b", "others")]
        metrics = [Metric("auroc", f"{w['train']} -> {w['test']}", 0.5, 80, "higher", detector="knn_vote", **w)
                   for w in where]  # fmt: skip
        metrics.append(Metric("auroc", "others -> bad | good", 0.5, 120, "higher", detector="knn_vote",
                              train="others", test="bad", against="good"))  # fmt: skip
        for place in ("within", "across", "others"):
            metrics.append(Metric("auroc", place, 0.5, 160, "higher", detector="knn_vote"))
        metrics.append(Metric("auroc", "ordinary traffic", 0.5, 120, "higher", detector="knn_vote", against="good"))
        settings = {"top_k": 10, "threshold": None, "bootstrap": 1000, "seed": 42, "baseline": None}
        written(out, name, np.zeros(22), "safety_detection", metrics=tuple(metrics), settings=settings,
                dataset_items=280, items=items | {c: v.tolist() for c, v in mine.items()})  # fmt: skip
        scores[name] = mine
    return out, scores


def recall_at(rate):
    def recall(labels, scores):
        false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
        return true[false <= rate + 1e-9].max()

    return recall


def means_of_scores(columns, metric):
    """Each mean of an area or a recall that a gate is on, the slow way."""

    def of(column, test):
        its = test == SETS
        return metric(LABELS[its], columns[f"knn_vote/{column}"][its])

    crossed = np.concatenate([columns["knn_vote/others | good"][SETS == "bad"],
                              columns["knn_vote/others | bad"][SETS == "good"]])  # fmt: skip
    return {
        "across": (of("a", "b") + of("b", "a")) / 2,
        "others": (of("others", "a") + of("others", "b")) / 2,
        "ordinary traffic": metric([1] * 60 + [0] * 60, crossed),
    }


def means_of_flags(columns, metric):
    """Each mean of what is flagged at the own thresholds, the slow way."""

    def of(train, test):
        its = test == SETS
        flags, labels = columns[f"flagged/knn_vote/{train}"][its], LABELS[its]
        if metric == "f1":
            return f1_score(labels, flags)
        return flags[labels == (metric == "flagged_unsafe")].mean()

    sets = {"flagged_unsafe": ["a", "b", "bad"], "flagged_safe": ["a", "b", "good"], "f1": ["a", "b"]}[metric]
    found = {"across": np.mean([of("a", "b"), of("b", "a")]), "others": np.mean([of("others", one) for one in sets])}
    return found | ({"ordinary traffic": of("others", "good")} if metric == "flagged_safe" else {})


@pytest.mark.parametrize(
    ("gate", "means", "metric"),
    [
        ("auroc=", means_of_scores, roc_auc_score),
        ("recall_at_fpr=0.01:", means_of_scores, recall_at(0.01)),
        ("recall_at_fpr=0.1:", means_of_scores, recall_at(0.1)),
        ("flagged_unsafe=", means_of_flags, "flagged_unsafe"),
        ("flagged_safe=", means_of_flags, "flagged_safe"),
        ("f1=", means_of_flags, "f1"),
    ],
)
def test_the_means_of_detection_are_gated_both_ways(detection, capsys, gate, means, metric):
    out, scores = detection
    one, other = (means(scores[name], metric) for name in ("worse", "base"))
    sign = -1 if metric == "flagged_safe" else 1
    gaps = {place: sign * (one[place] - other[place]) for place in one}
    status, found, _ = gated(capsys, out, "base", "worse", "--gate", f"{gate}0")
    assert [row[6] for row in found] == [place for place in gaps if gaps[place] < 0]
    assert status == (1 if found else 0) and (found or means is means_of_flags)
    for _, name, value, reference, theirs, task, place, difference, low, high in found:
        assert (name, reference, task) == ("worse", "base", "safety_detection")
        gap = sign * gaps[place]
        assert (value, theirs, difference) == (f"{one[place]:.3f}", f"{other[place]:.3f}", f"{gap:+.3f}")
        assert float(low) + float(high) == pytest.approx(2 * gap, abs=0.002)
        assert 0 < float(high) - float(low) < 0.7
    # A tolerance between two of the differences lets the smaller one pass.
    most, second = sorted(gaps.values())[:2]
    if second < 0:
        status, found, _ = gated(capsys, out, "base", "worse", "--gate", f"{gate}{-(most + second) / 2:.6f}")
        assert status == 1 and [gaps[row[6]] for row in found] == [most]
    assert gated(capsys, out, "base", "worse", "--gate", f"{gate}{0.001 - min(most, 0):.6f}")[:2] == (0, [])
    assert gated(capsys, out, "worse", "base", "--gate", f"{gate}0")[0] == (1 if max(gaps.values()) > 0 else 0)


def test_an_average_is_gated_both_ways(items, capsys):
    out, scores = items
    groups = np.array(GROUPS)
    average = {name: np.mean([values[groups == one].mean() for one in "ab"]) for name, values in scores.items()}
    gap = average["worse"] - average["base"]
    arguments = ["--reference", "base", "--gate"]
    status, found, _ = gated(capsys, out, *arguments, f"normalized_similarity={gap - 0.001:.6f}")
    assert status == 1
    ((_, name, value, reference, theirs, task, group, difference, low, high),) = found
    assert (name, reference, task, group) == ("worse", "base", "safety_challenging", "average")
    assert [value, theirs] == [f"{average[one]:.3f}" for one in ("worse", "base")] and difference == f"{gap:+.3f}"
    # The standard error of the mean of two means of 12 and 10 differences, times Student's 2.1 of some 20 degrees.
    gaps = scores["worse"] - scores["base"]
    error = np.sqrt(sum(gaps[groups == one].var(ddof=1) / (groups == one).sum() for one in "ab")) / 2
    assert [float(low), float(high)] == pytest.approx([gap - 2.1 * error, gap + 2.1 * error], abs=0.004)
    assert gated(capsys, out, *arguments, f"normalized_similarity={gap + 0.001:.6f}")[:2] == (0, [])
    # Lower is better, so the other way round nothing is worse.
    assert gated(capsys, out, "--reference", "worse", "--gate", "normalized_similarity=0")[:2] == (0, [])


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("categorical_purity=0.1", "can't be evaluated: no two results of safety_taxonomy were compared"),
        ("auroc", "give METRIC=TOLERANCE, such as auroc=0.02, flagged_unsafe=0.05 or recall_at_fpr=0.01:0.05"),
        ("auroc=nan", "give METRIC=TOLERANCE"),
        ("recall_at_fpr=2:0.1", "give METRIC=TOLERANCE"),
        ("f2=0.1", "METRIC is one of normalized_similarity, boundary_similarity, categorical_purity, auroc, flagged"),
    ],
)
def test_a_gate_that_says_nothing_is_an_error(detection, capsys, gate, message):
    status, found, rest = gated(capsys, detection[0], "base", "worse", "--gate", gate)
    (line,) = [line for line in rest.splitlines() if line.startswith("error: ")]
    assert status == 2 and not found and line.startswith(f"error: --gate {gate}: ") and message in line
