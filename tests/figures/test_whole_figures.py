"""Every figure is a whole picture, on a screen and as wide as a paper's column or text; the worst case of each."""

import re
import warnings
import zlib
from dataclasses import replace

import pytest
from figure_checks import cut_off, overlapping, seen_whole
from figure_results import long_named

from Safety_Taxonomy.figures import MAPS_DRAWN
from utils.figures.plane import NAME, plane_of
from utils.figures.style import COLUMN, PAPER, SCREEN, TEXT, drawing, panels, rendered
from utils.figures.tasks import figures_of
from utils.tasks import TASKS

pytestmark = pytest.mark.usefixtures("laid_out")


def pdf_width(content):
    """Inches, from the page's MediaBox, which is in points."""
    [box] = re.findall(rb"/MediaBox \[([^\]]*)\]", content)
    left, _, right, _ = map(float, box.split())
    return (right - left) / 72


def pdf_type_sizes(content):
    """Every size that the page sets its type in."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    pages = []
    for stream in streams:
        try:
            pages.append(zlib.decompress(stream))
        except zlib.error:
            continue
    return {float(size) for page in pages for size in re.findall(rb"/F\d+ ([\d.]+) Tf", page)}


def all_shown(figure):
    """The letters of a figure of which nothing is cut off, in a row."""
    return "".join("".join(text.get_text() for text in seen_whole(figure)).split())


# What the tasks share is drawn of the taxonomy: of 33 groups its heatmap is turned, and its maps list them in two
# columns. Each other task has a figure of its own.
@pytest.mark.parametrize(
    ("task", "encoders", "groups", "only"),
    [
        ("safety_taxonomy", 5, 33, None), ("safety_taxonomy", 5, 20, "heatmap"),
        ("safety_challenging", 12, 1, "accuracy_curve"), ("safety_contrast", 12, 1, "overlap"),
    ],
)  # fmt: skip
def test_nothing_is_cut_off(sample_results, task, encoders, groups, only):
    results, maps = long_named(sample_results, task, encoders, groups)
    with warnings.catch_warnings(), drawing():
        warnings.simplefilter("error")
        for stem, figure in figures_of(results, maps, only=only).items():
            shown = all_shown(figure)
            assert figure.get_suptitle().replace("\n", "").count("data") > 30, "a title is whole"
            labels = [one.label for one in maps[:MAPS_DRAWN]] if stem.endswith("tsne") else []
            assert all(label in shown for label in labels or [one.encoder.label for one in results])
            if stem.endswith(("heatmap", "tsne")):
                assert all("".join(m.group.split()) in shown for m in results[0].metrics[:groups])
            bars = [axes.get_ylabel() or axes.get_xlabel() for axes in figure.axes if not axes.get_subplotspec()]
            metric = TASKS[task].metric
            better = results[0].metric(TASKS[task].headline, "average").better
            assert bars == ([f"{metric}, {better} (darker) is better"] if stem.endswith("heatmap") else [])


@pytest.mark.parametrize(
    ("task", "encoders", "groups", "letters", "only"),
    [
        ("safety_taxonomy", 11, 12, (55, 70), None), ("safety_taxonomy", 3, 1, (24, 24), "average"),
        ("safety_challenging", 3, 1, (24, 24), "accuracy_curve"), ("safety_contrast", 11, 1, (55, 70), "overlap"),
    ],
)  # fmt: skip
def test_every_figure_is_a_column_or_the_text_wide(sample_results, task, encoders, groups, letters, only):
    results, maps = long_named(sample_results, task, encoders, groups, letters)
    with warnings.catch_warnings(), drawing(style=PAPER):
        warnings.simplefilter("error")
        for stem, figure in figures_of(results, maps, PAPER, only=only).items():
            content = rendered(figure, "pdf", PAPER)
            width = figure.get_figwidth()
            assert width in ((COLUMN,) if letters[0] < 55 else (COLUMN, TEXT)), stem
            assert pdf_width(content) == pytest.approx(width, abs=1e-4)
            sizes = {text.get_fontsize() for text in seen_whole(figure)}
            assert sizes <= {7, 8} and pdf_type_sizes(content) <= {7, 8}, stem
            assert b"/FontFile2" in content and b"/Type3" not in content, "TrueType is embedded"
            assert figure.get_suptitle() == ""


@pytest.mark.parametrize("style", [SCREEN, PAPER], ids=lambda style: style.name)
def test_the_plane_is_whole(sample_results, style):
    made = [long_named(sample_results, task, 9, 1, (73, 5))[0] for task in ("safety_challenging", "safety_taxonomy")]
    results = [replace(r, encoder=replace(r.encoder, fingerprint=r.encoder.name)) for some in made for r in some]
    with warnings.catch_warnings(), drawing(style=style):
        warnings.simplefilter("error")
        figure = plane_of(results, style)[NAME]
    shown = all_shown(figure)
    assert all(result.encoder.label in shown for result in results) and "ideal" in shown and "chance" in shown
    assert style is SCREEN or figure.get_figwidth() == COLUMN


def test_many_groups_are_rows_where_a_page_has_no_room_for_columns(sample_results):
    results, _ = long_named(sample_results, "safety_taxonomy", 3, 20, (24, 24))
    with drawing(style=PAPER):
        axes = figures_of(results, style=PAPER, only="heatmap")["safety_taxonomy_heatmap"].axes[0]
    # 20 groups with their average.
    assert axes.images[0].get_array().shape == (21, 3)


def test_a_cut_label_is_found():
    """What the tests above look with sees what they look for."""
    with drawing():
        figure, [axes] = panels(1, 1)
        figure.set_size_inches(2, 2)
        axes.set_title("a title that is longer than two inches")
        axes.set_yticks([0.5, 0.51], ["one", "two"])
        assert cut_off(figure) == ["a title that is longer than two inches"]
        assert ("one", "two") in overlapping(figure)
