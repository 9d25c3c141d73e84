"""Figures for a paper are as wide as its column or its text, and whole, in type that can be read."""

import re
import warnings
import zlib

import pytest
from figure_checks import seen_whole
from figure_results import STEMS, long_named, read
from PIL import Image

from utils.figures import __main__ as figures_main
from utils.figures import tasks as task_figures
from utils.figures.captions import caption, latex_figure
from utils.figures.style import COLUMN, FORMS, PAPER, TEXT, drawing, rendered

pytestmark = pytest.mark.usefixtures("laid_out")


def pdf_width(content):
    """Inches, from the page's MediaBox, which is in points."""
    [box] = re.findall(rb"/MediaBox \[([^\]]*)\]", content)
    left, _, right, _ = map(float, box.split())
    return (right - left) / 72


def svg_width(content):
    return float(re.search(rb'<svg [^>]*width="([\d.]+)pt"', content).group(1)) / 72


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


# What the tasks share is drawn of the taxonomy. Each other task has a figure of its own.
@pytest.mark.parametrize(
    ("task", "encoders", "groups", "letters"),
    [
        ("safety_taxonomy", 3, 12, (24, 24)), ("safety_taxonomy", 11, 12, (55, 70)),
        ("safety_challenging", 3, 1, (24, 24)), ("safety_contrast", 11, 1, (55, 70)),
    ],
)  # fmt: skip
def test_every_figure_is_a_column_or_the_text_wide(sample_results, task, encoders, groups, letters):
    results, maps = long_named(sample_results, task, encoders, groups, letters)
    with warnings.catch_warnings(), drawing(style=PAPER):
        warnings.simplefilter("error")
        for stem, figure in task_figures.figures_of(results, maps, PAPER).items():
            content = rendered(figure, "pdf", PAPER)
            width = figure.get_figwidth()
            assert width in (COLUMN, TEXT), stem
            if letters[0] < 55 and not stem.endswith(("heatmap", "tsne")):
                assert width == COLUMN, stem
            assert pdf_width(content) == pytest.approx(width, abs=1e-4)
            sizes = {text.get_fontsize() for text in seen_whole(figure)}
            assert sizes <= {7, 8} and pdf_type_sizes(content) <= {7, 8}, stem
            assert b"/FontFile2" in content and b"/Type3" not in content, "TrueType is embedded"
            assert figure.get_suptitle() == ""


def test_many_groups_are_rows_where_a_page_has_no_room_for_columns(sample_results):
    results, _ = long_named(sample_results, "safety_taxonomy", 3, 20, (24, 24))
    with drawing(style=PAPER):
        axes = task_figures.heatmap(results, "categorical_purity", "", style=PAPER).axes[0]
    # 20 groups with their average.
    assert axes.images[0].get_array().shape == (21, 3)


def test_a_papers_files_leave_the_screens_alone(sample_results, sample_store, capsys):
    folder = sample_results / "sample" / "figures"
    folder.mkdir(exist_ok=True)
    of_screen = folder / "safety_taxonomy_heatmap.png"
    of_screen.write_bytes(b"drawn before")
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert figures_main.main(["--out", str(sample_results), "--style", "paper"]) == 0
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    written = {path.name for path in (folder / "paper").iterdir()}
    assert written == {f"{stem}.{form}" for stem in STEMS for form in FORMS} | {"captions.tex"}
    assert "paper/captions.tex" in capsys.readouterr().out
    captions = (folder / "paper" / "captions.tex").read_text()
    for stem in STEMS:
        picture, vector, page = (folder / "paper" / f"{stem}.{form}" for form in ("png", "svg", "pdf"))
        width = pdf_width(page.read_bytes())
        environment = "figure" if width == pytest.approx(COLUMN) else "figure*"
        assert f"\\begin{{{environment}}}\n\\centering\n\\includegraphics{{{page.name}}}" in captions
        assert b"<text" in vector.read_bytes(), "text stays text"
        assert svg_width(vector.read_bytes()) == pytest.approx(width, abs=1e-4)
        with Image.open(picture) as image:
            assert image.width / width >= 300
    assert len(written) == 3 * captions.count("\\caption{") + 1 and set(FORMS) == {"png", "svg", "pdf"}


def test_a_caption_says_what_a_title_said(sample_results):
    _, results, _ = read(sample_results, "safety_contrast")
    items = results[0].dataset_items
    assert caption("safety_contrast_average", results) == (
        "Safety-Contrast. Boundary similarity: the average of each encoder with its 95 % interval, lowest first. Lower "
        f"is better. {items} items, data: sample, average similarity measured on the evaluated set itself. Intervals: "
        "bootstrap of 1,000 resamples within type or category."
    )
    _, results, _ = read(sample_results, "safety_taxonomy")
    assert caption("safety_taxonomy_heatmap", results).endswith(
        f"Higher is better. {results[0].dataset_items} items, data: sample, k = 10."
    )
    assert "k = 10" not in caption("safety_taxonomy_purity_against_k", results), "it shows every k"
    results, maps = long_named(sample_results, "safety_taxonomy", 7, 3)
    assert caption("safety_taxonomy_tsne", results, maps).endswith(f"data: {'data' * 30}, the first 6 of 7 encoders.")
    assert "the first" not in caption("safety_taxonomy_tsne", results, maps[:6])


def test_a_caption_is_latex():
    assert latex_figure("a_b", "95 % of a_b & $c {d} <e>", COLUMN) == (
        "\\begin{figure}\n\\centering\n\\includegraphics{a_b.pdf}\n"
        "\\caption{95~\\% of a\\_b \\& \\$c \\{d\\} $<$e$>$}\n\\label{fig:a_b}\n\\end{figure}\n"
    )
    assert latex_figure("a", "", TEXT).startswith("\\begin{figure*}")


def test_an_unknown_style_is_one_line(capsys):
    assert figures_main.main(["--style", "poster"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "poster" in said and "screen" in said and "paper" in said
