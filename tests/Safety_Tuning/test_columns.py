"""The columns of the table, and the choice of how far to go: against slow loops and scipy, and by hand."""

import numpy as np
import oracles
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from test_training import labelled, side_of, two_sets, unit

from Safety_Tuning import choice, columns, sts
from Safety_Tuning.choice import BASE, Candidate, HeldOut, Measured
from Safety_Tuning.columns import Bank, Column, Unseen
from Safety_Tuning.triples import drawn_evenly
from utils.schema import Difference, Metric

# Six unsafe prompts (two of a set of twins), four ordinary ones and five safe ones that resemble unsafe ones.
LABELS = np.array([1] * 6 + [0] * 9)
ORDINARY = np.array([False] * 6 + [True] * 4 + [False] * 5)
TWINS = np.array([True, True, *[False] * 8, *[True] * 5])
SCORES = np.array([9, 7, 5, 3, 8, 1, 2, 4, 6, 0, 7.5, 6.5, 3, 2, 9.5])


def unseen(resamples=0):
    return Unseen(LABELS, np.arange(15), ORDINARY, TWINS, resamples, 1)


def test_a_verdict_is_of_the_differences_interval():
    def verdict(better, low, high):
        row = Metric("x", "overall", 0.5, 9, better)
        return Column(row, row, Difference(0.1, low, high), "quality").verdict

    assert [verdict("higher", *ends) for ends in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), (None, None))] == [
        "better", "worse", "unclear", "-"]  # fmt: skip
    assert [verdict("lower", *ends) for ends in ((0.1, 0.2), (-0.2, -0.1))] == ["worse", "better"]


def test_the_numbers_of_detection_are_those_of_slow_counts():
    of, against = unseen(), np.arange(15) < 10
    assert of.of_curve(SCORES, against, "auroc").value == pytest.approx(roc_auc_score(LABELS[:10], SCORES[:10]))
    # One of four ordinary prompts would be 25 %, so at 1 % the threshold is the lowest score above 6: all from 7 up.
    assert of.of_curve(SCORES, against, "tpr_at_1_fpr").value == pytest.approx(3 / 6)
    # Above the highest ordinary score, 6, are 7.5, 6.5 and 9.5 of the five that are alike.
    assert of.flagged_alike(SCORES).value == pytest.approx(3 / 5)


def test_intervals_are_of_resampled_groups_and_of_paired_differences():
    of, drawn = unseen(1000), np.random.default_rng(0)
    noisy = SCORES + drawn.normal(0, 3, 15)
    pair = [of.of_curve(one, np.arange(15) < 10, "auroc") for one in (SCORES, SCORES + 1)]
    same = columns.column("x", "higher", pair, 10, "detection")
    assert (same.difference.low, same.difference.high) == (0, 0), "the same ranking differs in no resample"
    pair[1] = of.of_curve(noisy, np.arange(15) < 10, "auroc")
    one = columns.column("x", "higher", pair, 10, "detection")
    assert one.difference.value == pytest.approx(one.tuned.value - one.base.value)
    assert one.difference.low < one.difference.value < one.difference.high
    assert one.base.low < one.base.value < one.base.high <= 1


def test_detectors_are_fitted_alike_and_tested_on_both_encoders():
    drawn = np.random.default_rng(1)
    rows = unit(drawn.standard_normal((40, 6)).astype(np.float32))
    labels = np.arange(40) % 2
    banks = [Bank(rows, labels, ["a"] * 40), Bank(unit(rows + labels[:, None].astype(np.float32)), labels, ["a"] * 40)]
    tested = unit(drawn.standard_normal((15, 6)).astype(np.float32))
    found = columns.detection_columns(banks, [tested, unit(tested + LABELS[:, None].astype(np.float32))], unseen())
    assert [one.base.metric for one in found][:4] == [
        "nearest unsafe, AUROC", "nearest unsafe, TPR at 1 % FPR", "nearest unsafe, over-refusal",
        "nearest unsafe, AUROC on XSTest"]  # fmt: skip
    assert len(found) == 8 and {one.base.better for one in found} == {"higher", "lower"}
    nearest = (tested @ rows[labels == 1].T).max(axis=1)
    assert found[0].base.value == pytest.approx(roc_auc_score(LABELS[:10], nearest[:10]), abs=1e-6)
    assert found[0].tuned.value > found[0].base.value, "the tuned encoder has the label in every dimension"


def test_neighbours_kept_and_correlations_equal_slow_ones():
    drawn = np.random.default_rng(2)
    base = unit(drawn.standard_normal((30, 5)))
    tuned = unit(base + drawn.normal(0, 0.2, base.shape))
    near = [[set(row) for row in oracles.neighbors(vectors, 10)] for vectors in (base, tuned)]
    slow = [len(before & after) / 10 for before, after in zip(*near, strict=True)]
    assert columns.neighbors_kept(base, tuned) == pytest.approx(slow)
    assert (columns.neighbors_kept(base, base) == 1).all()
    parts = [(drawn.random(50), drawn.integers(0, 5, 50).astype(float)) for _ in range(2)]
    mean = columns.mean_correlation(*zip(*parts, strict=True), 300, 1)
    assert mean.value == pytest.approx(np.mean([spearmanr(*part).statistic for part in parts]))
    # The standard error of a correlation of 50 pairs near 0 is 1/7, of the mean of two 0.10.
    assert mean.replicates.std() == pytest.approx(0.10, abs=0.03) and len(mean.replicates) == 300


def test_pairs_without_a_score_are_left_out():
    pairs = sts.pairs_of("3.5\ta b\tc\n\td\te\n0\tf\tg\n")
    assert (pairs.left, pairs.right, pairs.scores.tolist()) == (["a b", "f"], ["c", "g"], [3.5, 0.0])
    assert all(len(card.sha256) == 64 and card.url.endswith(".tsv") for card in sts.cards())


def measured(detection, purity=0.5, triplet=0.2, similarity=0.4, kept=0.9):
    return Measured(detection, purity, triplet, similarity, kept)


def test_the_best_detector_that_loses_nothing_is_chosen():
    far, near = Candidate(1.0, 0.0), Candidate(0.3, 0.1)
    found = {BASE: measured(0.6, kept=1.0), near: measured(0.7), far: measured(0.9, kept=0.8)}
    assert choice.chosen([found]) == near, "the other keeps too few neighbours"
    for worse in ({"purity": 0.48}, {"triplet": 0.18}, {"similarity": 0.42}):
        assert choice.chosen([{**found, near: measured(0.7, **worse)}]) == BASE
    # Gained are 0.05 + 0.02 of purity by the one, 0.08 of detection less 0.005 of triplet by the other.
    gained = {near: measured(0.65, purity=0.52), far: measured(0.68, triplet=0.195)}
    assert choice.chosen([{**found, **gained}]) == far
    # The mean over two parts decides.
    assert choice.chosen([{**found, **gained}, {**found, near: measured(0.7), far: measured(0.6)}]) == near
    assert choice.chosen([{BASE: measured(0.6), near: measured(0.6)}]) == BASE, "it gains nothing"


def test_held_out_families_are_measured_by_a_bank_that_lacks_them():
    side = side_of([*two_sets(), *two_sets_more()], [])
    assert choice.parts(side) == [["one", "three"], ["two"]], "the largest is always tuned on"
    base = unit(np.random.default_rng(3).standard_normal((len(side), 4)).astype(np.float32))
    held = HeldOut(side, base, ["two"], 1)
    assert not set(held.train) & (set(side.of_families(["two"])) | set(choice.ordinary_rows(side)))
    # Vectors that know the label: every unsafe prompt is one point, every safe one another.
    known = np.eye(2, dtype=np.float32)[side.labels[held.rows]]
    found = held.measured(known + 1e-3 * base[held.rows][:, :2], base[held.rows])
    assert found.detection == pytest.approx(1) and found.similarity < 0.01
    assert held.measured(base[held.rows], base[held.rows]).kept == 1


def two_sets_more():
    rows = [(f"case {i} of {'theft' if i % 2 else 'blows'}", 1, "theft" if i % 2 else "blows") for i in range(6)]
    return [labelled("largest", [*rows, ("fine", 0, "")]), labelled("three", [("shoplift", 1, "theft"), ("ok", 0, "")])]


def test_a_bank_is_drawn_evenly_and_by_the_seed():
    side = side_of(two_sets(), [])
    assert drawn_evenly(side, np.arange(8), 9, 1).tolist() == list(range(8))
    few = drawn_evenly(side, np.arange(8), 1, 1)
    of_each = [(name, label) for name in ("one", "two") for label in (1, 0)]
    assert [(side.sets[i], int(side.labels[i])) for i in few] == [*of_each, ("plain", 0)]
    assert few.tolist() == drawn_evenly(side, np.arange(8), 1, 1).tolist()
