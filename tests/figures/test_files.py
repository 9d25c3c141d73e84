"""The files of figures: what the command and a run write, and what a paper says under them."""

import re
import shutil

import pytest
from figure_results import STEMS, long_named, read
from PIL import Image

from Safety_Challenging.task import TASK as CHALLENGING
from Safety_Contrast.task import TASK as CONTRAST
from Safety_Taxonomy.task import TASK as TAXONOMY
from utils.evaluation.run import evaluate
from utils.figures import __main__ as figures_main
from utils.figures import style
from utils.figures.captions import caption, latex_figure
from utils.figures.style import COLUMN, FORMS, TEXT


def test_all_are_written_in_every_form(sample_results, sample_store, capsys):
    folder = sample_results / "sample" / "figures"
    assert figures_main.main(["--out", str(sample_results)]) == 0
    assert "without safety_detection" not in capsys.readouterr().err, "nobody has asked for it"
    assert {path.name for path in folder.iterdir()} == {f"{stem}.{form}" for stem in STEMS for form in FORMS}
    for path in folder.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000
    for path in folder.glob("*.svg"):
        assert b"<text" in path.read_bytes(), "text stays text"
    assert b"Safety-Taxonomy: categorical purity" in (folder / "safety_taxonomy_heatmap.svg").read_bytes()


def test_what_an_encoder_lacks_is_drawn_of_the_others(sample_results, tmp_path, capsys, monkeypatch):
    shutil.copytree(sample_results / "sample", tmp_path / "sample", ignore=shutil.ignore_patterns("figures"))
    (tmp_path / "sample" / "safety_contrast" / "tfidf.json").unlink()
    monkeypatch.setattr(style, "FORMS", ("svg",))
    flags = ["--data", "sample", "--out", str(tmp_path), "--no-titles"]
    assert figures_main.main(["all-minilm-l6-v2", "tfidf", *flags]) == 0
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if "of the other encoders" in line]
    assert len(lines) == 1 and lines[0].startswith(
        "Safety-Contrast is drawn of the other encoders: tfidf: no result in"
    )
    assert "without a map: all-minilm-l6-v2" in said, "its vectors are in another store"
    assert "without safety_detection: all-minilm-l6-v2: no result in" in said
    averages = (tmp_path / "sample" / "figures").glob("*_average.svg")
    drawn = {path.stem.removesuffix("_average"): path.read_text() for path in averages}
    assert len(drawn) == 3 and [task for task, svg in drawn.items() if "TF-IDF" not in svg] == ["safety_contrast"]
    assert all("MiniLM-L6" in svg and "Safety-" not in svg for svg in drawn.values()), "no titles"


def test_bad_input_is_one_line(sample_results, tmp_path, capsys):
    for arguments, message in (
        (["--out", str(tmp_path)], "no results to draw; run a task first"),
        (["all-minilm-l6-v2", "tfifd", "--out", str(sample_results)], "error: tfifd: no result in "),
        (["--style", "poster"], "--style poster: give one of screen, paper"),
    ):
        assert figures_main.main(arguments) == 2
        line = capsys.readouterr().err
        assert message in line and line.count("\n") == 1, line


def test_a_papers_files_leave_the_screens_alone(sample_results, tmp_path, capsys):
    folder = tmp_path / "sample" / "figures"
    shutil.copytree(sample_results / "sample" / CONTRAST.name, tmp_path / "sample" / CONTRAST.name)
    folder.mkdir()
    (folder / "safety_contrast_heatmap.png").write_bytes(b"drawn before")
    assert figures_main.main(["--out", str(tmp_path), "--style", "paper"]) == 0
    assert "paper/captions.tex" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir() if path.is_file()] == ["safety_contrast_heatmap.png"]
    assert (folder / "safety_contrast_heatmap.png").read_bytes() == b"drawn before"
    stems = {stem for stem in STEMS if stem.startswith(CONTRAST.name)}
    written = {path.name for path in (folder / "paper").iterdir()}
    assert written == {f"{stem}.{form}" for stem in stems for form in FORMS} | {"captions.tex"}
    captions = (folder / "paper" / "captions.tex").read_text()
    assert captions.count("\\caption{") == len(stems)
    for stem in stems:
        picture, vector = (folder / "paper" / f"{stem}.{form}" for form in ("png", "svg"))
        width = float(re.search(rb'<svg [^>]*width="([\d.]+)pt"', vector.read_bytes())[1]) / 72
        assert min(abs(width - COLUMN), abs(width - TEXT)) < 1e-4
        environment = "figure" if width == pytest.approx(COLUMN) else "figure*"
        assert f"\\begin{{{environment}}}\n\\centering\n\\includegraphics{{{stem}.pdf}}" in captions
        assert b"<text" in vector.read_bytes(), "text stays text"
        with Image.open(picture) as image:
            assert image.width / width >= 300


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
    assert latex_figure("a_b", "95 % of a_b", COLUMN) == (
        "\\begin{figure}\n\\centering\n\\includegraphics{a_b.pdf}\n"
        "\\caption{95~\\% of a\\_b}\n\\label{fig:a_b}\n\\end{figure}\n"
    )
    assert latex_figure("a", "", TEXT).startswith("\\begin{figure*}")


def run(task, out, *flags):
    return evaluate(task, ["--data", "sample", "--bootstrap", "0", "--out", str(out), *flags])


@pytest.mark.parametrize(
    ("task", "name"),
    [
        (CHALLENGING, "safety_challenging_heatmap.png"),
        (CONTRAST, "safety_contrast_overlap.png"),
        (TAXONOMY, "safety_taxonomy_tsne_all-minilm-l6-v2.png"),
    ],
)
def test_a_run_draws_its_figure_once_and_names_it_last(task, name, drawn_runs, no_model, tmp_path, capsys):
    path = tmp_path / "sample" / "figures" / name
    assert run(task, tmp_path, "--no-figures") == 0
    assert not path.parent.exists() and "figure: " not in capsys.readouterr().out
    assert run(task, tmp_path) == 0
    assert list(path.parent.iterdir()) == [path]
    assert capsys.readouterr().out.splitlines()[-1] == f"figure: {path}"
    before = path.stat().st_mtime_ns
    assert run(task, tmp_path) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"figure: {path}" and path.stat().st_mtime_ns == before
    assert run(task, tmp_path, "--limit", "48" if task is not CHALLENGING else "40", "--quiet") == 0
    assert "figure: " not in capsys.readouterr().out and path.stat().st_mtime_ns > before
