"""The findings say what the numbers say: every number in a sentence, and every comparison made with it."""

import csv
import json

import pytest

from utils import compare, findings
from utils.results import read_result
from utils.schema import EmbeddingStats, EncoderInfo, Metric, Result

OVERLAPS = findings.OVERLAPS


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


def against(reference, other, difference, p, ranks=None):
    """A comparison of `other` with `reference`."""
    metric = compare.HEADLINES[other.task]
    cells = [
        compare.Cell("average", reference.encoder.name, reference.metric(metric, "average")),
        compare.Cell("average", other.encoder.name, other.metric(metric, "average"), difference, 0.5, p),
    ]
    labels = {r.encoder.name: r.encoder.label for r in (reference, other)}
    return compare.Comparison(other.task, metric, "paper", reference.encoder.name, labels, cells,
                              ranks or {reference.encoder.name: 2, other.encoder.name: 1})  # fmt: skip


def texts(results, comparison=None):
    return {f.heading: f.text for f in findings.findings_of(results, comparison)}


def test_topics_beyond_words():
    floor, model = taxonomy(0.5, "tfidf"), taxonomy(0.65)
    text = texts([floor, model], against(floor, model, 0.15, 0.0004))["Topics"]
    assert text == (
        "Of a prompt's 10 nearest neighbours, a share of 0.650 (95 % interval 0.600 to 0.700) is of its own category "
        "for Model, 0.150 more than word overlap alone (TF-IDF 0.500, p < 0.001). Neighbours drawn at random give "
        "0.100. Strongest in a b (0.900), weakest in c (0.300)."
    )
    fewer = texts([floor, model], against(floor, model, -0.15, 0.012))["Topics"]
    assert "0.150 less than word overlap alone (TF-IDF 0.500, p = 0.012)" in fewer
    same = texts([floor, model], against(floor, model, 0.15, 0.06))["Topics"]
    assert "which can't be told apart from what word overlap alone gets (TF-IDF 0.500, p = 0.060)" in same


def test_without_a_floor_or_an_interval_nothing_is_said_of_them():
    text = texts([taxonomy(0.65, low=None, high=None)])["Topics"]
    assert "a share of 0.650 is of its own category for Model. Neighbours" in text
    other, model = taxonomy(0.5, "other"), taxonomy(0.65)
    assert "word overlap" not in texts([other, model], against(other, model, 0.15, 0.01))["Topics"]


def test_the_best_leads_whichever_way_is_better_and_the_floor_only_alone():
    few, many = taxonomy(0.4, "few"), taxonomy(0.6, "many")
    assert findings.leader([few, many, taxonomy(0.9, "tfidf")], None) is many
    assert findings.leader([taxonomy(0.9, "tfidf")], None).encoder.name == "tfidf"
    low, high = (
        result("safety_contrast", [("boundary_similarity", "average", value, 0, 1, "lower")], str(value))
        for value in (0.2, 0.3)
    )
    assert findings.leader([high, low], None) is low


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [
        (
            0.1234,
            0.08,
            0.16,
            "12.3 % of comparisons for Model; an encoder blind to safety and topic gets 50 %. So it goes",
        ),
        (0.7, 0.6, 0.8, "gets 50 %. So safety weighs more than the words."),
        (0.5, 0.4, 0.6, "gets 50 %. The two can't be told apart."),
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
            "The less is edited, the nearer: 0.500 with a word overlap below 0.2, 0.600 from 0.2 to 0.5, ",
        ),
        ((0.6, 0.5, 0.7), "By the size of the edit: 0.600 with a word overlap below 0.2, 0.500"),
        ((0.6, None, 0.7), "The less is edited, the nearer: 0.600 with a word overlap below 0.2, 0.700 from 0.5 up."),
        ((0.6, None, None), None),
    ],
)
def test_small_safe_edits(bins, rule):
    rows = [
        ("boundary_similarity", "average", 0.7, 0.6, 0.8, "lower"),
        ("pairwise_accuracy", "overall", 0.36, 0.3, 0.4, "higher"),
        *(("boundary_similarity", g, v, 0, 1, "lower") for g, v in zip(OVERLAPS, bins, strict=True) if v is not None),
    ]
    said = texts([result("safety_contrast", rows, threshold=0.25)])["Small safe edits"]
    # 36 % of the edits are below the threshold, so the others, 64 %, are not.
    assert "what is at 0.25 or nearer for unsafe would flag 64 % of the safe edits." in said
    assert (rule is None and said.endswith("safe edits.")) or rule in said


def test_the_ranking_is_given_where_there_is_more_than_one_encoder_beside_the_floor():
    floor, model = taxonomy(0.5, "tfidf"), taxonomy(0.65)
    comparison = against(floor, model, 0.15, 0.01)
    assert "Ranking" not in texts([floor, model], comparison)
    labels = {"tfidf": "TF-IDF", "model": "Model", "other": "Other"}
    comparison = compare.Comparison(*list(vars(comparison).values())[:4], labels, comparison.cells,
                                    {"tfidf": 3, "model": 1, "other": 1})  # fmt: skip
    assert texts([floor, model], comparison)["Ranking"].startswith("1. Model = Other; 3. TF-IDF. Those joined by =")


def test_on_real_results_every_number_is_that_of_the_files(sample_results):
    """Each decimal number in the sentences stands in a result file or is a difference of two of its averages."""
    import re

    for task in compare.HEADLINES:
        paths = [sample_results / "sample" / task / f"{name}.json" for name in ("all-minilm-l6-v2", "tfidf")]
        scores = [compare.read_scores(path, None)[0] for path in paths]
        comparison = compare.compare(scores, compare.HEADLINES[task], "tfidf")
        said = " ".join(texts([read_result(path) for path in paths], comparison).values())
        known = {f"{abs(comparison.cells[-1].difference or 0):.3f}"}
        for path in paths:
            for metric in json.loads(path.read_text())["metrics"]:
                known |= {
                    f"{metric[key]:.3f}" for key in ("value", "low", "high", "chance") if metric.get(key) is not None
                }
        known |= {f"{abs(cell.difference):.3f}" for cell in comparison.cells if cell.difference is not None}
        known |= {f"{cell.p:.3f}" for cell in comparison.cells if cell.p is not None} | {"0.001"}
        numbers = re.findall(r"\d\.\d{3}", said)
        assert len(numbers) >= 5 and set(numbers) <= known, set(numbers) - known


def test_what_would_be_flagged_is_the_share_of_edits_at_the_threshold_or_nearer(sample_results):
    path = sample_results / "sample" / "safety_contrast" / "all-minilm-l6-v2.json"
    with path.with_name("all-minilm-l6-v2.items.csv").open() as stream:
        below = [float(row["pairwise_accuracy"]) for row in csv.DictReader(stream)]
    said = texts([read_result(path)])["Small safe edits"]
    assert f"would flag {(1 - sum(below) / len(below)) * 100:.0f} % of the safe edits" in said
