"""The figure that a run draws."""

import pytest

from Safety_Challenging.task import TASK as CHALLENGING
from Safety_Contrast.task import TASK as CONTRAST
from Safety_Detection.task import TASK as DETECTION
from Safety_Taxonomy.task import TASK as TAXONOMY
from utils.evaluation.run import evaluate

FIGURES = {
    CHALLENGING.name: ["safety_challenging_heatmap.png"],
    CONTRAST.name: ["safety_contrast_overlap.png"],
    TAXONOMY.name: ["safety_taxonomy_tsne_all-minilm-l6-v2.png"],
}


def run(task, out, *flags):
    return evaluate(task, ["--data", "sample", "--bootstrap", "0", "--out", str(out), *flags])


@pytest.mark.parametrize("task", [CHALLENGING, CONTRAST, TAXONOMY], ids=lambda task: task.name)
def test_a_run_draws_its_figure_once_and_names_it_last(task, drawn_runs, no_model, tmp_path, capsys):
    assert run(task, tmp_path) == 0
    folder = tmp_path / "sample" / "figures"
    assert sorted(path.name for path in folder.iterdir()) == FIGURES[task.name]
    [path] = folder.iterdir()
    assert capsys.readouterr().out.splitlines()[-1] == f"figure: {path}"
    before = path.stat().st_mtime_ns
    assert run(task, tmp_path) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"figure: {path}" and path.stat().st_mtime_ns == before
    assert run(task, tmp_path, "--limit", "48" if task is not CHALLENGING else "40", "--quiet") == 0
    assert "figure: " not in capsys.readouterr().out and path.stat().st_mtime_ns > before


def test_without_figures_none_is_drawn(drawn_runs, tmp_path, capsys):
    assert run(TAXONOMY, tmp_path, "--model", "tfidf", "--no-figures") == 0
    assert not (tmp_path / "sample" / "figures").exists() and "figure: " not in capsys.readouterr().out


def test_detection_draws_none_as_there_is_no_official_one():
    assert DETECTION.run_figure == ""
