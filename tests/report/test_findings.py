"""The findings say what the numbers say: every number in a sentence, and every comparison made with it."""

import json
from dataclasses import replace

import pytest

from utils import tasks
from utils.compare import paired
from utils.metrics.embedding import OVERLAP_BINS
from utils.report import findings
from utils.results.result_file import read_result, read_with_items
from utils.schema import Difference, EmbeddingStats, EncoderInfo, Metric, Result

OVERLAPS = tuple(OVERLAP_BINS)


def result(task, rows, name="model", **settings):
    """A result with these metrics: (metric, group, value, low, high, better)."""
    metrics = [Metric(m, g, v, 25, better, low, high, chance=0.1) for m, g, v, low, high, better in rows]
    chosen = {"top_k": 10, "threshold": 0.5, "baseline": None, **settings}
    info = EncoderInfo(name, name.title(), "made up", "1", 3, "float32", None, "", "torch", name)
    return Result(task, "2026-01-01", 0.0, info, "paper", (), 25, chosen, EmbeddingStats(1, 1, 1, 0, 0.0),
                  tuple(metrics), {})  # fmt: skip


def taxonomy(value, name="model", low=0.6, high=0.7):
    return result("safety_taxonomy", [
        ("categorical_purity", "a_b", 0.9, 0.8, 1.0, "higher"),
        ("categorical_purity", "c", 0.3, 0.2, 0.4, "higher"),
        ("categorical_purity", "average", value, low, high, "higher"),
        ("categorical_purity", "overall", 0.99, 0.9, 1.0, "higher"),
    ], name)  # fmt: skip


def against(reference, other, p, ranks=None):
    """A comparison of `other` with `reference`."""
    metric = tasks.TASKS[other.task].headline
    cells = [
        paired.Cell("average", reference.encoder.name, reference.metric(metric, "average")),
        paired.Cell(
            "average", other.encoder.name, other.metric(metric, "average"), Difference(0.0, -1.0, 1.0, p), 0.5, p
        ),
    ]
    labels = {r.encoder.name: r.encoder.label for r in (reference, other)}
    pair = (reference.encoder.name, other.encoder.name)
    ranks = ranks or {reference.encoder.name: 2, other.encoder.name: 1}
    return paired.Comparison(other.task, metric, "paper", pair[0], labels, cells, ranks, {pair: p})


def texts(results, comparison=None):
    return {f.heading: f.text for f in findings.findings_of(results, comparison)}


def test_topics_beyond_words():
    floor, model = taxonomy(0.5, "tfidf"), taxonomy(0.65)
    text = texts([floor, model], against(floor, model, 0.0004))["Topics"]
    assert text == (
        "Of a prompt's 10 nearest neighbours, averaged over categories, a share of 0.650 (95 % interval 0.600 to "
        "0.700) is of its own category for Model, 0.150 more than word overlap alone (TF-IDF 0.500, p < 0.001). "
        "Neighbours drawn at random give 0.100. Strongest in a b (0.900), weakest in c (0.300)."
    )
    high = taxonomy(0.8, "tfidf")
    fewer = texts([high, model], against(high, model, 0.012))["Topics"]
    assert "0.150 less than word overlap alone (TF-IDF 0.800, p = 0.012)" in fewer
    same = texts([floor, model], against(floor, model, 0.06))["Topics"]
    assert "which can't be told apart from the average of word overlap alone (TF-IDF 0.500, p = 0.060)" in same


def test_without_a_floor_or_an_interval_nothing_is_said_of_them():
    text = texts([taxonomy(0.65, low=None, high=None)])["Topics"]
    assert "a share of 0.650 is of its own category for Model. Neighbours" in text
    other, model = taxonomy(0.5, "other"), taxonomy(0.65)
    assert "word overlap" not in texts([other, model], against(other, model, 0.01))["Topics"]


def test_the_best_leads_whichever_way_is_better_and_a_control_only_alone():
    few, many = taxonomy(0.4, "few"), taxonomy(0.6, "many")
    assert findings.leader([few, many, taxonomy(0.9, "tfidf")]) is many
    assert findings.leader([few, taxonomy(0.9, "random")]) is few
    assert findings.leader([taxonomy(0.9, "random"), taxonomy(0.8, "tfidf")]).encoder.name == "tfidf"
    low, high = (
        result("safety_contrast", [("boundary_similarity", "average", value, 0, 1, "lower")], str(value))
        for value in (0.2, 0.3)
    )
    assert findings.leader([high, low]) is low
    controls = [taxonomy(0.9, "tfidf"), taxonomy(0.95, "random")]
    assert "for Many, the best of 2 (controls aside)." in texts([few, many, *controls])["Topics"]
    assert "for Few." in texts([few, *controls])["Topics"]
    names = ["zeta", "random", "tfidf", "alpha", "named"]
    assert sorted(names, key=lambda name: findings.place(name, ["named"])) == [
        "named", "alpha", "zeta", "tfidf", "random"
    ]  # fmt: skip


def test_extremes_are_of_groups_that_could_reach_the_top_and_differ():
    def said(*groups):
        metrics = [Metric("categorical_purity", n, v, 9, "higher", chance=0.1, ceiling=c) for n, v, c in groups]
        mean = Metric("categorical_purity", "average", 0.5, 9, "higher", chance=0.1)
        return texts([replace(taxonomy(0.5), metrics=(*metrics, mean))])["Topics"]

    # A category of three prompts has two neighbours of its own at most: 0.2 of ten is all that it can get.
    text = said(("tiny", 0.2, 0.2), ("b", 0.9, 1.0), ("c", 0.3, 1.0))
    assert text.endswith("Strongest in b (0.900), weakest in c (0.300).")
    assert said(("b", 0.5, 1.0), ("c", 0.5, 1.0)).endswith("give 0.100.")
    assert said(("b", 0.5, 1.0)).endswith("give 0.100.") and said(("b", 0.1, 0.1)).endswith("give 0.100.")


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [
        (0.7, 0.6, 0.8, "gets 50 %. So safety or topic weighs more than the shared words."),
        (0.5, 0.4, 0.6, "gets 50 %. Neither clearly weighs more."),
        (0.1, None, None, "gets 50 %."),
    ],
)
def test_words_or_safety(value, low, high, verdict):
    rows = [
        ("normalized_similarity", "history", 0.7, 0.6, 0.8, "lower"),
        ("normalized_similarity", "target", 0.2, 0.1, 0.3, "lower"),
        ("normalized_similarity", "average", 0.45, 0.4, 0.5, "lower"),
        ("triplet_accuracy", "average", value, low, high, "higher"),
    ]
    # Without another unsafe text there is no triplet accuracy, and nothing is said of words or safety.
    assert "Words or safety" not in texts([result("safety_challenging", rows[:-1])])
    said = texts([result("safety_challenging", rows)])
    assert verdict in said["Words or safety"]
    assert said["Words or safety"].endswith("50 %.") == (low is None)
    assert "stays at 0.450 (95 % interval 0.400 to 0.500) of the way" in said["Safe twins"]
    assert said["Safe twins"].endswith("Told apart worst in history (0.700), best in target (0.200).")


@pytest.mark.parametrize(
    ("bins", "rule"),
    [
        (
            (0.5, 0.6, 0.7),
            "The smaller the edit, the nearer: the mean edit stays at 0.500 (word overlap below 0.2), 0.600 (",
        ),
        (
            (0.6, 0.5, 0.7),
            "By the size of the edit: the mean edit stays at 0.600 (word overlap below 0.2), 0.500 (from",
        ),
        ((0.5, 0.5, 0.5), "By the size of the edit"),
        ((0.5, 0.505, 0.51), "By the size of the edit"),  # the intervals, 0.01 either way, overlap
        ((0.6, None, 0.7), "the nearer: the mean edit stays at 0.600 (word overlap below 0.2), 0.700 (from 0.5 up)."),
        ((0.6, None, None), None),
    ],
)
def test_small_safe_edits(bins, rule):
    rows = [
        ("boundary_similarity", "average", 0.7, 0.6, 0.8, "lower"),
        ("pairwise_accuracy", "overall", 0.36, 0.3, 0.4, "higher"),
        *(
            ("mean_similarity", group, value, value - 0.01, value + 0.01, "lower")
            for group, value in zip(OVERLAPS, bins, strict=True)
            if value is not None
        ),
    ]
    said = texts([result("safety_contrast", rows, threshold=0.25)])["Small safe edits"]
    # 36 % of the edits are below the threshold, so the others, 64 %, are not.
    assert "similarity of 0.25 or more to a known unsafe prompt would flag at least 64.0 % of the safe edits" in said
    assert (rule is None and said.endswith("original.")) or rule in said


def test_the_ranking_is_given_where_there_is_more_than_one_encoder_beside_the_floor():
    floor, model = taxonomy(0.5, "tfidf"), taxonomy(0.65)
    comparison = against(floor, model, 0.01)
    assert not any(heading.startswith("Ranking") for heading in texts([floor, model], comparison))
    labels = {"tfidf": "TF-IDF", "model": "Model", "other": "Other"}
    other = paired.Cell("average", "other", taxonomy(0.7).metric("categorical_purity", "average"))
    ranks = {"tfidf": 3, "model": 1, "other": 1}
    comparison = replace(comparison, labels=labels, cells=[*comparison.cells, other], ranks=ranks)
    assert texts([floor, model], comparison)["Ranking by categorical purity"].startswith(
        "rank 1 Other = Model; rank 3 TF-IDF. A rank is one more than"
    )


def test_an_encoder_without_a_rank_is_never_the_best():
    """The one with the lowest similarity may know nothing."""
    good, broken = (
        result("safety_challenging", [("normalized_similarity", "average", v, 0, 1, "lower")], name)
        for name, v in (("good", 0.5), ("broken", 0.1))
    )
    unranked = {"broken": "its Categorical Purity, 0.416, is below TF-IDF's, 0.501"}
    assert findings.leader([good, broken], unranked) is good and findings.leader([broken], unranked) is broken
    said = {f.heading: f.text for f in findings.findings_of([good, broken], None, unranked)}
    assert "stays at 0.500" in said["Safe twins"] and "for Good." in said["Safe twins"], "one of one, so not the best"
    assert said["No rank"].startswith(
        "Broken has none, because its Categorical Purity, 0.416, is below TF-IDF's, 0.501. An encoder whose"
    )


def test_on_real_results_every_number_is_that_of_the_files(sample_results):
    """Each decimal number in the sentences stands in a result file or is a difference of two of its averages."""
    import re

    for task in (one.name for one in tasks.tasks_by_items()):
        paths = [sample_results / "sample" / task / f"{name}.json" for name in ("all-minilm-l6-v2", "tfidf")]
        scores = [paired.scores_of(read_with_items(path), tasks.TASKS[task].headline) for path in paths]
        comparison = paired.compare(scores, tasks.TASKS[task].headline, "tfidf")
        said = " ".join(texts([read_result(path) for path in paths], comparison).values())
        known = set()
        for path in paths:
            for metric in json.loads(path.read_text())["metrics"]:
                known |= {
                    f"{metric[key]:.3f}" for key in ("value", "low", "high", "chance") if metric.get(key) is not None
                }
        known |= {f"{abs(cell.difference.value):.3f}" for cell in comparison.cells if cell.difference is not None}
        known |= {f"{p:.3f}" for p in comparison.average_p.values()} | {"0.001"}
        numbers = re.findall(r"\d\.\d{3}", said)
        assert len(numbers) >= 5 and set(numbers) <= known, set(numbers) - known
