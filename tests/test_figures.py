"""The figures show the numbers of the result files, and are whole pictures."""

import csv
import json
import re

import numpy as np
import pytest

from utils import figures
from utils.projection import TaxonomyMap
from utils.results import read_result

ENCODERS = ("all-minilm-l6-v2", "tfidf")


def read(folder, task):
    paths = [folder / "sample" / task / f"{name}.json" for name in ENCODERS]
    return paths, [read_result(path) for path in paths], [json.loads(path.read_text()) for path in paths]


def value(document, metric, group, key="value"):
    return next(m[key] for m in document["metrics"] if (m["metric"], m["group"]) == (metric, group))


def test_a_heatmap_shows_every_groups_value(sample_results):
    _, results, documents = read(sample_results, "safety_taxonomy")
    axes = figures.heatmap(results, "categorical_purity", "a title").axes[0]
    groups = [label.get_text() for label in axes.get_xticklabels()]
    assert len(set(groups)) == 13 and groups[-1] == "average"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["MiniLM-L6", "TF-IDF"]
    expected = [[value(document, "categorical_purity", group) for group in groups] for document in documents]
    assert np.asarray(axes.images[0].get_array()) == pytest.approx(np.array(expected))
    assert [text.get_text() for text in axes.texts] == [f"{v:.2f}" for row in expected for v in row]


@pytest.mark.parametrize(
    ("task", "metric", "best"),
    [("safety_taxonomy", "categorical_purity", max), ("safety_contrast", "boundary_similarity", min)],
)
def test_averages_stand_best_first_with_their_intervals(sample_results, task, metric, best):
    _, results, documents = read(sample_results, task)
    axes = figures.averages(results, metric, "a title").axes[0]
    values = [value(document, metric, "average") for document in documents]
    points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert sorted(points) == pytest.approx(sorted(values)) and points[0] == best(values)
    ends = sorted(tuple(segment[:, 0]) for bars in axes.collections for segment in bars.get_segments())
    intervals = sorted((value(d, metric, "average", "low"), value(d, metric, "average", "high")) for d in documents)
    assert np.array(ends) == pytest.approx(np.array(intervals))


def test_purity_against_k_and_chance(sample_results):
    _, results, documents = read(sample_results, "safety_taxonomy")
    axes = figures.purity_against_k(results, "a title").axes[0]
    for line, document in zip(axes.lines, documents, strict=False):
        expected = [value(document, f"categorical_purity@{k}", "average") for k in line.get_xdata()]
        assert line.get_ydata() == pytest.approx(expected)
    chance = value(documents[0], "categorical_purity@1", "average", "chance")
    assert axes.lines[-1].get_ydata() == pytest.approx([chance] * len(axes.lines[-1].get_xdata()))


def test_the_accuracy_curve_is_the_share_below_each_threshold(sample_results):
    paths, results, documents = read(sample_results, "safety_challenging")
    items = []
    for path in paths:
        with path.with_name(f"{path.stem}.items.csv").open() as stream:
            items.append([float(row["normalized_similarity"]) for row in csv.DictReader(stream)])
    axes = figures.accuracy_curve(results, items, "a title").axes[0]
    for line, values, document in zip(axes.lines, items, documents, strict=True):
        thresholds = line.get_xdata()
        for at in (0, 37, 100, 200):
            assert line.get_ydata()[at] == sum(v < thresholds[at] for v in values) / len(values)
        assert line.get_ydata()[100] == pytest.approx(value(document, "pairwise_accuracy", "overall"))


def test_boundary_by_overlap_shows_the_bins(sample_results):
    _, results, documents = read(sample_results, "safety_contrast")
    axes = figures.boundary_by_overlap(results, "a title").axes[0]
    for container, document in zip(axes.containers, documents, strict=True):
        bins = [m for m in document["metrics"] if m["metric"] == "boundary_similarity" and "overlap" in m["group"]]
        assert container.lines[0].get_ydata() == pytest.approx([m["value"] for m in bins])


def test_a_map_shows_each_prompt_where_tsne_put_it(sample_results):
    categories = ["a", "b", "a", "c", "b"]
    points = np.arange(10.0).reshape(5, 2)
    one = TaxonomyMap("x", "X", tuple("12345"), tuple(categories), points, ((),) * 5, 0.9)
    figure = figures.tsne_maps([one, one, one], ["a", "b", "c"], "a title")
    assert [panel.get_title() for panel in figure.axes] == ["X (trustworthiness 0.90)"] * 3 + [""]
    for scatter, name in zip(figure.axes[1].collections, "abc", strict=True):
        expected = [point for point, category in zip(points, categories, strict=True) if category == name]
        assert np.asarray(scatter.get_offsets()) == pytest.approx(np.array(expected))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]


def test_a_dark_figure_is_the_same_on_a_dark_ground(sample_results):
    _, results, _ = read(sample_results, "safety_taxonomy")
    drawn = {}
    for dark in (False, True):
        with figures.drawing(dark):
            figure = figures.averages(results, "categorical_purity", "a title")
            drawn[dark] = figures.rendered(figure, "svg").decode()
    assert "#1b1d22" in drawn[True] and "#1b1d22" not in drawn[False]
    texts = [re.findall(r">([^<]*)</text>", svg) for svg in drawn.values()]
    assert texts[0] == texts[1] and f"{results[0].value('categorical_purity', 'average'):.3f}" in texts[0]


def test_all_are_written_as_png_and_svg(sample_results, capsys):
    assert figures.main(["--out", str(sample_results)]) == 0
    assert "without a map: all-minilm-l6-v2" in capsys.readouterr().err, "its vectors are in another store"
    assert figures.main(["all-minilm-l6-v2", "--data", "sample", "--out", str(sample_results)]) == 0
    assert "without safety_detection: all-minilm-l6-v2: no result in" in capsys.readouterr().err
    assert figures.main(["--out", str(sample_results)]) == 0
    folder = sample_results / "sample" / "figures"
    names = {path.stem for path in folder.iterdir()}
    assert len(names) == 10 and {path.suffix for path in folder.iterdir()} == {".png", ".svg"}
    for path in folder.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000
    first = (folder / "safety_taxonomy_heatmap.svg").read_bytes()
    assert figures.main(["--out", str(sample_results)]) == 0
    assert (folder / "safety_taxonomy_heatmap.svg").read_bytes() == first, "the same figure, the same bytes"


def test_no_results_is_one_line(tmp_path, capsys):
    assert figures.main(["--out", str(tmp_path)]) == 2
    assert "no results to draw; run a task first" in capsys.readouterr().err
