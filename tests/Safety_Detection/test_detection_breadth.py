"""Sets of one class, families and means over them, from a file of prompts to tables and comparison."""

import csv
import itertools
import json

import numpy as np
import pytest
from doubles import StandIn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from Safety_Detection.detectors.kinds import KINDS
from Safety_Detection.evaluate import TASK
from Safety_Detection.protocol import evaluation, identity
from Safety_Detection.protocol.measure import Measures
from Safety_Detection.protocol.sides import Sides
from Safety_Detection.sets import labelled_sets
from utils.encoders import loading
from utils.evaluation.run import evaluate
from utils.metrics import detection as dm
from utils.metrics import embedding as metrics

# Set: family, label (None for both), number of prompts.
SETS = {"a": ("a", None, 40), "b": ("b", None, 30), "bad1": ("f", 1, 30), "bad2": ("f", 1, 24), "bad3": ("m", 1, 20),
        "good1": ("m", 0, 30), "good2": ("good2", 0, 26)}  # fmt: skip


class World(StandIn):
    """Unsafe prompts lean along one axis, and each set along its own."""

    dimension, harm = 8, 1.0

    def encode(self, texts):
        rows = []
        for text in texts:
            name, label, number = text.split()[:3]
            row = np.random.default_rng(int(number[1:])).normal(0, 0.5, 8)
            row[0] += self.harm * (int(label[1:]) - 0.5)
            row[1 + list(SETS).index(name)] += 0.5
            rows.append(row)
        return np.array(rows, dtype=np.float32)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "broad.csv"
    number = itertools.count()
    with path.open("w") as stream:
        print("prompt,label,set,family,group,type", file=stream)
        for name, (family, one, n) in SETS.items():
            for i in range(n):
                label = i % 2 if one is None else one
                kind = ("x + p", "x + q", "y + q")[i % 3] if one == 1 else "" if one is None else "z"
                k = next(number)
                print(f"{name} l{label} n{k} w{k} v{k},{label},{name},{family},{name}{i // 2},{kind}", file=stream)
    return path


@pytest.fixture(scope="module")
def done(file, tmp_path_factory):
    """The folder of a result."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load", lambda spec: World())
        flags = ["--data", str(file), "--out", str(folder), "--bootstrap", "1000", "--quiet", "--no-cache"]
        assert evaluate(TASK, flags) == 0
    return folder / "broad" / "safety_detection"


@pytest.fixture(scope="module")
def dataset(file):
    return labelled_sets.load(str(file))[0]


def matrix(dataset):
    return World().encode(dataset.texts["prompt"])


@pytest.fixture(scope="module")
def pairings(dataset):
    found = evaluation.pairings(dataset, evaluation.EncoderVectors(matrix(dataset)), KINDS)
    return {(one.train, one.test, one.kind): one for one in found if one.against is None}


@pytest.fixture(scope="module")
def metrics_of(done):
    return json.loads((done / "all-minilm-l6-v2.json").read_text())["metrics"]


@pytest.fixture(scope="module")
def value(metrics_of):
    """A value of the result by its metric, detector and group."""
    rows = {(m["metric"], m["detector"], m["group"]): m for m in metrics_of}
    return lambda metric, kind, group, what="value": rows[metric, kind, group][what]


def test_every_unsafe_only_set_is_tested_against_every_safe_only_set_of_another_family(done, metrics_of, value):
    groups = {m["group"] for m in metrics_of if " | " in m["group"] and m.get("train") == "others"}
    expected = {("bad1", "good1"), ("bad1", "good2"), ("bad2", "good1"), ("bad2", "good2"), ("bad3", "good2")}
    assert groups == {f"others -> {unsafe} | {safe}" for unsafe, safe in expected}, "bad3 and good1 are of one family"
    with (done / "all-minilm-l6-v2.items.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    areas, rates = [], []
    for unsafe, safe in expected:
        scores = [float(row[f"knn_vote/others | {other}"])
                  for its, other in ((unsafe, safe), (safe, unsafe)) for row in rows if row["set"] == its]  # fmt: skip
        labels = [1] * SETS[unsafe][2] + [0] * SETS[safe][2]
        areas.append(roc_auc_score(labels, scores))
        group = f"others -> {unsafe} | {safe}"
        assert value("auroc", "knn_vote", group) == pytest.approx(areas[-1])
        # At 1 % of 30 prompts no safe one may be flagged.
        best_safe = max(score for score, label in zip(scores, labels, strict=True) if not label)
        rates.append(np.mean([score > best_safe for score, label in zip(scores, labels, strict=True) if label]))
        assert value("tpr_at_1_fpr", "knn_vote", group) == pytest.approx(rates[-1])
        low, high = (value("auroc", "knn_vote", group, end) for end in ("low", "high"))
        assert low < areas[-1] < high
    assert value("auroc", "knn_vote", "ordinary traffic") == pytest.approx(np.mean(areas))
    assert value("tpr_at_1_fpr", "knn_vote", "ordinary traffic") == pytest.approx(np.mean(rates))
    by_one_set = []
    for train, (unsafe, safe) in itertools.product("ab", sorted(expected)):
        scores = [[float(row[f"knn_vote/{train}"]) for row in rows if row["set"] == its] for its in (unsafe, safe)]
        by_one_set.append(roc_auc_score([1] * len(scores[0]) + [0] * len(scores[1]), scores[0] + scores[1]))
    assert value("auroc", "knn_vote", "ordinary traffic, one set") == pytest.approx(np.mean(by_one_set))
    # bad1, bad2, bad3, good1 and good2 are in it.
    assert value("auroc", "knn_vote", "ordinary traffic", "n") == 30 + 24 + 20 + 30 + 26


def test_which_detectors_are_tested_on_which_sets(pairings, metrics_of):
    trains = {test: {train for train, its, kind in pairings if its == test} for test in SETS}
    assert trains == {test: {"a", "b", "others"} for test in SETS}
    tests = {(m["train"], m["test"]) for m in metrics_of if m["metric"] == "auprc"}
    assert tests == set(itertools.product(["a", "b", "others"], "ab")), "an area needs both classes"


def test_flagged_shares_are_those_of_the_flags(value, pairings, dataset):
    for (train, test, kind), one in pairings.items():
        label = SETS[test][1]
        name = f"{'fpr' if label == 0 else 'tpr'}_at_threshold"
        if label is None:
            continue
        assert value(name, kind, f"{train} -> {test}") == pytest.approx(one.flags.mean())
        types = [dataset.types[row] for row in one.rows]
        for part in ("x", "y", "p", "q") if label else "z":
            # A prompt with several types counts for each.
            its = [flag for flag, kinds in zip(one.flags, types, strict=True) if part in kinds.split(" + ")]
            assert value(name, kind, f"{train} -> {test}: {part}") == pytest.approx(np.mean(its))
            assert value(name, kind, f"{train} -> {test}: {part}", "n") == len(its)


def test_verdicts_on_twins_by_hand(metrics_of, value, pairings, dataset):
    # The prompts of a group are one safe and one unsafe: 20 pairs of a.
    for train in ("a", "b", "others"):
        one = pairings[train, "a", "logistic_regression"]
        flag = dict(zip(one.rows.tolist(), one.flags.tolist(), strict=True))
        pairs = [(flag[2 * i + 1], flag[2 * i]) for i in range(20)]
        assert [dataset.labels[2 * i : 2 * i + 2] for i in range(20)] == [(0, 1)] * 20
        for name, verdict in (("separated", (True, False)), ("both_flagged", (True, True)),
                              ("both_passed", (False, False)), ("inverted", (False, True))):  # fmt: skip
            group = f"{train} -> a"
            assert value(name, "logistic_regression", group) == pytest.approx(pairs.count(verdict) / 20)
            assert value(name, "logistic_regression", group, "n") == 20
    assert not [m for m in metrics_of if m["metric"] == "separated" and m["test"] not in "ab"]


def test_the_mean_over_sets_varies_with_the_resamples_they_share(dataset, pairings):
    measures = Measures(dataset, 1000, 42)
    for one in pairings.values():
        measures.add(one)
    (mean,) = (m for m in measures.means() if (m.name, m.group) == ("auroc/knn_vote", "others"))
    found = {m.group: m for m in measures.rows if m.name == "auroc/knn_vote"}
    both = [found["others -> a"], found["others -> b"]]
    assert mean.value == pytest.approx(np.mean([m.value for m in both])) and mean.n == 70
    # Two sets drawn apart: the spread of the mean is half the root of the sum of squares, here of intervals.
    spread = np.sqrt(sum((m.high - m.low) ** 2 for m in both)) / 2
    assert mean.high - mean.low == pytest.approx(spread, rel=0.2)


def test_set_identity_by_the_slow_way(dataset):
    unit = metrics.unit_rows(matrix(dataset)).astype(np.float32)
    of = Sides(dataset)
    found = {m.group: m for m in identity.set_identity(of, evaluation.EncoderVectors(unit))}
    # Within a, 20 prompts have each label; unsafe ones are of a, b, bad1, bad2 and bad3: 10 pairs; safe ones of 4 sets.
    assert len(found) == 10 + 6 + 2
    one, other = (rows[of.labels[rows] == 1] for rows in (dataset.rows("a"), dataset.rows("bad1")))
    # Rows are in the order in which groups are drawn, which no score depends on; folds are by group.
    rows = np.concatenate([one, other])
    second = np.repeat([0, 1], [len(one), len(other)])
    fold_of = identity.folds(second, of.clusters[rows], 3)
    scores = np.empty(len(rows))
    for fold in range(3):
        seen = fold_of != fold
        model = LogisticRegression(C=1, class_weight="balanced").fit(unit[rows[seen]], second[seen])
        scores[~seen] = model.decision_function(unit[rows[~seen]])
    assert found["unsafe: a | bad1"].value == pytest.approx(roc_auc_score(second, scores), abs=0.01)
    unsafe = [m.value for group, m in found.items() if group.startswith("unsafe: ")]
    assert found["unsafe"].value == pytest.approx(np.mean(unsafe)) and found["unsafe"].low is None
    assert found["unsafe: a | bad1"].n == 20 + 30


def test_a_large_set_is_drawn_in_whole_groups(dataset, monkeypatch):
    monkeypatch.setattr(identity, "MOST_PROMPTS", 7)
    drawn = identity._drawn(Sides(dataset), "good1", 0, 42)
    groups = [dataset.clusters[row] for row in drawn]
    assert len(drawn) == 6 and all(groups.count(group) == 2 for group in groups), "three pairs fit into 7"


def test_areas_in_resamples_are_those_of_weighted_curves():
    generator = np.random.default_rng(0)
    labels, clusters = generator.integers(0, 2, 200), generator.integers(0, 30, 200)
    scores = np.round(labels + generator.normal(0, 1, 200), 1)  # with ties
    clusters = np.unique(clusters, return_inverse=True)[1]
    counts = generator.integers(0, 4, (40, clusters.max() + 1)).astype(np.uint16)
    found = dm.resampled_auroc(labels, scores, clusters, counts)
    expected = [roc_auc_score(labels, scores, sample_weight=row[clusters]) for row in counts]
    assert found == pytest.approx(expected, abs=1e-5)
    assert dm.auroc(dm.Ranking(labels, scores).curve(counts[:, clusters])) == pytest.approx(expected, abs=1e-5)
