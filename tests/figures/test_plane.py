"""The plane of purity and triplet accuracy: its points and intervals, and labels that cover nothing."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from figure_checks import seen_whole
from figure_results import read
from matplotlib.transforms import Bbox

from utils.figures.captions import caption
from utils.figures.plane import NAME, Point, plane, plane_of, points_of
from utils.figures.style import COLUMN, PAPER, SCREEN, drawing
from utils.schema import Metric

pytestmark = pytest.mark.usefixtures("laid_out")

# Purity and triplet accuracy, near one another as encoders' are.
AVERAGES = [(0.08, 0.485), (0.5, 0.033), (0.71, 0.17), (0.675, 0.15), (0.63, 0.09), (0.584, 0.08), (0.738, 0.12),
            (0.749, 0.2), (0.753, 0.25)]  # fmt: skip
CONTROLS = ("random", "tfidf")


@pytest.fixture
def results(sample_results):
    """Those of MiniLM and TF-IDF of both tasks."""
    return [result for task in ("safety_challenging", "safety_taxonomy") for result in read(sample_results, task)[1]]


def made(results, n, letters=8, bootstrap=True):
    """The points of so many encoders, the first two the controls, with names of so many letters."""
    info = results[0].encoder
    points = []
    for i in range(n):
        x, y = AVERAGES[i] if i < len(AVERAGES) else (0.55 + i * 37 % 25 / 100, 0.05 + i * 53 % 31 / 100)
        ends = [{"low": v - 0.027, "high": v + 0.027} if bootstrap else {} for v in (x, y)]
        encoder = replace(info, name=f"e{i}", label=f"a/b-{i}".ljust(letters, "x"))
        if i < len(CONTROLS):
            encoder = replace(info, name=CONTROLS[i], label=("Random", "TF-IDF")[i])
        purity = Metric("categorical_purity", "average", x, 939, "higher", chance=0.082, **ends[0])
        accuracy = Metric("triplet_accuracy", "average", y, 250, "higher", chance=0.5, **ends[1])
        points.append(Point(encoder, purity, accuracy))
    return points


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
    texts = {text.get_text() for text in axes.texts}
    assert texts == {"MiniLM-L6", "TF-IDF\nword overlap", "ideal", "chance"} and figure.legends == []


@pytest.mark.parametrize(("style", "encoders", "letters"), [(SCREEN, 9, 8), (PAPER, 5, 8), (PAPER, 9, 73)])
def test_labels_cover_nothing_and_name_the_mark_that_is_nearest(results, style, encoders, letters):
    points = made(results, encoders, letters)
    with warnings.catch_warnings(), drawing(style=style):
        warnings.simplefilter("error")
        figure = plane(points, "a title " * 20, style=style)
        drawn = seen_whole(figure)
    shown = "".join("".join(text.get_text() for text in drawn).split())
    assert all(point.encoder.label.replace(" ", "") in shown for point in points)
    assert bool(figure.legends) == (letters > 8 and encoders > 2)
    if style is PAPER:
        assert figure.get_figwidth() == COLUMN
    axes = figure.axes[0]
    marks = axes.transData.transform([*(point.at for point in points), (1, 1)])
    names = [*("".join(point.encoder.label.split()) for point in points), "ideal"]
    bars = [axes.transData.transform(bar.get_segments()[0]) for one in axes.containers for bar in one.lines[2]]
    for text in set(axes.texts) & set(drawn):
        box = drawn[text]
        assert not any(box.overlaps(Bbox(bar)) for bar in bars)
        away = np.linalg.norm(marks - np.clip(marks, box.min, box.max), axis=1)
        assert away.min() > 2
        if text.get_text() != "chance":
            assert "".join(text.get_text().split()).startswith(names[away.argmin()])


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
