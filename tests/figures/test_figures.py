"""The figures show the numbers of the result files."""

import csv
import re
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from figure_results import read

from Safety_Challenging import figures as challenging_figures
from Safety_Contrast import figures as contrast_figures
from Safety_Taxonomy import figures as taxonomy_figures
from Safety_Taxonomy.map import TaxonomyMap
from utils.figures import tasks as task_figures
from utils.figures.style import FORMS, HEAT, SCREEN, drawing, encoder_styles, on, rendered
from utils.tasks import Drawing


def shown(results, **more):
    return Drawing(results, "of a test", SCREEN, **more)


def value(document, metric, group, key="value"):
    return next(m[key] for m in document["metrics"] if (m["metric"], m["group"]) == (metric, group))


def test_a_heatmap_shows_every_groups_value(sample_results):
    _, results, documents = read(sample_results, "safety_taxonomy")
    axes = task_figures.heatmap(shown(results)).axes[0]
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
    axes = task_figures.averages(shown(results)).axes[0]
    values = [value(document, metric, "average") for document in documents]
    points = [container.lines[0].get_xdata()[0] for container in axes.containers]
    assert sorted(points) == pytest.approx(sorted(values)) and points[0] == best(values)
    ends = sorted(tuple(segment[:, 0]) for bars in axes.collections for segment in bars.get_segments())
    intervals = sorted((value(d, metric, "average", "low"), value(d, metric, "average", "high")) for d in documents)
    assert np.array(ends) == pytest.approx(np.array(intervals))


def test_an_encoder_has_one_look_in_every_figure(sample_results):
    """Also where it is the only one drawn, as TF-IDF here, which is the second of all."""
    _, taxonomy, _ = read(sample_results, "safety_taxonomy")
    _, contrast, _ = read(sample_results, "safety_contrast")
    labels = [result.encoder.label for result in taxonomy]
    last = taxonomy[1].encoder.label
    drawn = [
        taxonomy_figures.purity_against_k(shown(taxonomy, labels=labels)).axes[0].lines[1],
        contrast_figures.boundary_by_overlap(shown(contrast[1:], labels=labels)).axes[0].containers[0].lines[0],
        task_figures.averages(shown(contrast[1:], labels=labels)).axes[0].containers[0].lines[0],
    ]
    wanted = encoder_styles(labels)[last]
    for line in drawn:
        assert (line.get_color(), line.get_marker()) == (wanted["color"], wanted["marker"]) == ("#D55E00", "s")
    styles = encoder_styles([str(i) for i in range(35)]).values()
    assert len({(one["marker"], one["linestyle"]) for one in styles}) == 35, "told apart without colour"
    assert len({(one["marker"], one["color"], one["markerfacecolor"]) for one in styles}) == 14, "and by mark alone"


def test_purity_against_k_and_chance(sample_results):
    _, results, documents = read(sample_results, "safety_taxonomy")
    axes = taxonomy_figures.purity_against_k(shown(results)).axes[0]
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
    axes = challenging_figures.accuracy_curve(shown(results)).axes[0]
    for line, values, document in zip(axes.lines, items, documents, strict=True):
        thresholds = line.get_xdata()
        for at in (0, 37, 100, 200):
            assert line.get_ydata()[at] == sum(v < thresholds[at] for v in values) / len(values)
        assert line.get_ydata()[100] == pytest.approx(value(document, "pairwise_accuracy", "overall"))


def test_boundary_by_overlap_shows_the_bins(sample_results):
    _, results, documents = read(sample_results, "safety_contrast")
    axes = contrast_figures.boundary_by_overlap(shown(results)).axes[0]
    for container, document in zip(axes.containers, documents, strict=True):
        bins = [m for m in document["metrics"] if m["metric"] == "boundary_similarity" and "overlap" in m["group"]]
        assert container.lines[0].get_ydata() == pytest.approx([m["value"] for m in bins])
        ends = np.array([segment[:, 1] for segment in container.lines[2][0].get_segments()])
        assert ends == pytest.approx(np.array([(m["low"], m["high"]) for m in bins]))


@pytest.mark.parametrize("alone", ["overlap < 0.2", "overlap >= 0.5"])
def test_a_bin_without_an_interval_has_no_bar(sample_results, alone):
    _, [result, *_], _ = read(sample_results, "safety_contrast")
    rows = [replace(m, low=None, high=None) if m.group == alone else m for m in result.metrics]
    axes = contrast_figures.boundary_by_overlap(shown([replace(result, metrics=tuple(rows))])).axes[0]
    ends = [segment[:, 1] for segment in axes.containers[0].lines[2][0].get_segments() if len(segment)]
    others = [m for m in rows if m.metric == "boundary_similarity" and "overlap" in m.group and m.group != alone]
    assert np.array(ends) == pytest.approx(np.array([m.interval for m in others])) and len(ends) == 2


def test_a_map_shows_each_prompt_where_tsne_put_it(sample_results):
    categories = ["a", "b", "a", "c", "b"]
    points = np.arange(10.0).reshape(5, 2)
    one = TaxonomyMap("x", "X", tuple("12345"), tuple(categories), points, ((),) * 5, 0.9)
    _, [first, _], _ = read(sample_results, "safety_taxonomy")
    groups = tuple(replace(first.metrics[0], group=name) for name in "abc")
    figure = taxonomy_figures.tsne_maps(shown([replace(first, metrics=groups)], maps=[one, one, one]))
    assert [panel.get_title() for panel in figure.axes] == ["X\ntrustworthiness 0.90"] * 3
    for scatter, name in zip(figure.axes[1].collections, "abc", strict=True):
        expected = [point for point, category in zip(points, categories, strict=True) if category == name]
        assert np.asarray(scatter.get_offsets()) == pytest.approx(np.array(expected))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]


def test_darker_is_better_to_every_eye_and_numbers_can_be_read():
    """In grey as to deuteranopes and protanopes, whose colours are those of Machado, Oliveira and Fernandes 2009."""
    deutan = [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    protan = [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]
    for better, from_worst in (("higher", 1), ("lower", -1)):
        colors = matplotlib.colormaps[HEAT[better]](np.linspace(0, 1, 101))[::from_worst, :3]
        linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
        for seen in (np.eye(3), deutan, protan):
            luminance = np.clip(linear @ np.transpose(seen), 0, 1) @ (0.2126, 0.7152, 0.0722)
            assert (np.diff(luminance) < 0).all()
        assert np.ptp(colors[25:76], axis=1).min() > 0.3, "no grey between"
        luminance = linear @ (0.2126, 0.7152, 0.0722)
        black = np.array([on(color) == "black" for color in colors])
        contrast = np.where(black, luminance + 0.05, 1.05) / np.where(black, 0.05, luminance + 0.05)
        assert contrast.min() > 4.5  # WCAG 2.2, level AA


def test_a_dark_figure_is_the_same_on_a_dark_ground(sample_results):
    _, results, _ = read(sample_results, "safety_taxonomy")
    drawn = {}
    for dark in (False, True):
        with drawing(dark):
            figure = task_figures.averages(shown(results))
            drawn[dark] = rendered(figure, "svg").decode()
    assert "#1b1d22" in drawn[True] and "#1b1d22" not in drawn[False]
    texts = [re.findall(r">([^<]*)</text>", svg) for svg in drawn.values()]
    assert texts[0] == texts[1] and f"{results[0].value('categorical_purity', 'average'):.3f}" in texts[0]


def test_the_same_figure_has_the_same_bytes(sample_results):
    _, results, _ = read(sample_results, "safety_contrast")
    drawn = []
    for _ in range(2):
        with drawing():
            figure = contrast_figures.boundary_by_overlap(shown(results))
            drawn.append([rendered(figure, form) for form in FORMS])
    assert drawn[0] == drawn[1]
