"""The plane of purity and triplet accuracy: its points, intervals, chance and caption."""

from dataclasses import replace

import pytest
from figure_results import read

from utils.figures.captions import caption
from utils.figures.plane import NAME, plane_of, points_of
from utils.figures.style import drawing


@pytest.fixture
def results(sample_results):
    """Those of MiniLM and TF-IDF of both tasks."""
    return [result for task in ("safety_challenging", "safety_taxonomy") for result in read(sample_results, task)[1]]


def crosses(figure):
    """Where each encoder is, and its bars: left, right, lower, upper."""
    for container in figure.axes[0].containers:
        x, y = container.lines[0].get_xydata()[0]
        bars = [bar.get_segments()[0] for bar in container.lines[2]]
        yield (x, y), [*bars[0][:, 0], *bars[1][:, 1]] if bars else []


def test_points_are_at_the_averages_and_bars_end_where_intervals_do(results):
    with drawing():
        figure = plane_of(results)[NAME]
    challenging, taxonomy = results[:2], results[2:]
    expected = [
        (t.metric("categorical_purity", "average"), c.metric("triplet_accuracy", "average"))
        for t, c in zip(taxonomy, challenging, strict=True)
    ]
    for (at, bars), (x, y) in zip(crosses(figure), expected, strict=True):
        assert at == (x.value, y.value)
        assert bars == pytest.approx([x.low, x.high, y.low, y.high])
    axes = figure.axes[0]
    *_, ideal, purity, accuracy = axes.lines
    assert ideal.get_xydata().tolist() == [[1, 1]]
    assert (purity.get_xdata()[0], accuracy.get_ydata()[0]) == (expected[0][0].chance, 0.5)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["MiniLM-L6", "TF-IDF\nword overlap", "ideal", "chance"]


def test_a_point_needs_both_averages_of_the_same_vectors_on_the_same_data(results):
    challenging, taxonomy = results[:2], results[2:]
    assert [point.encoder.name for point in points_of(results)] == ["all-minilm-l6-v2", "tfidf"]
    others = [m for m in challenging[0].metrics if m.metric != "triplet_accuracy"]
    without = replace(challenging[0], metrics=tuple(others))
    of_other_vectors = replace(challenging[0], encoder=replace(challenging[0].encoder, fingerprint="another"))
    for first in (without, of_other_vectors):
        assert [point.encoder.name for point in points_of([first, challenging[1], *taxonomy])] == ["tfidf"]
    assert plane_of(taxonomy) == plane_of(challenging) == {}
    assert plane_of([replace(result, dataset_name="another") for result in challenging] + taxonomy) == {}
    renamed = replace(challenging[0], encoder=replace(challenging[0].encoder, name="all-minilm-l6-v2@1fd8b10"))
    assert len(points_of([renamed, challenging[1], *taxonomy])) == 2, "names are made unique task by task"


def test_its_caption_says_what_is_where(results):
    assert caption(NAME, results) == (
        "Average Categorical Purity and average triplet accuracy of each encoder, with 95 % intervals. Higher is "
        "better, the star is the ideal, dotted lines are chance. Controls: TF-IDF (word overlap). 144 prompts and 70 "
        "pairs, data: sample, k = 10. Intervals: bootstrap of 1,000 resamples within type or category."
    )
