"""A task and a metric that nothing but their own folder knows are in every table, comparison, report and figure."""

import importlib
import json

import pytest
from lxml import html

from utils import tasks
from utils.compare import __main__ as compare_main
from utils.evaluation.run import evaluate
from utils.figures import __main__ as figures_main
from utils.report import __main__ as report_main

SOURCE = '''
"""How long prompts are, as a task."""

from functools import partial

from utils.data.loading import data_sheet, load
from utils.metrics.summary import summarise
from utils.results.paired import item_differences
from utils.results.tables import group_tables
from utils.tasks import DataCard, Figure, Format, Scores, Task

FORMAT = Format(
    card=DataCard("Lengths", "lengths.csv", "", "", 0, "", "", ""),
    folder="Toy_Lengths",
    sample="sample.csv",
    group_column="kind",
    text_columns=("prompt",),
    known_groups={},
)


def score(dataset, vectors, baseline, settings, moved):
    nearest = vectors["prompt"] @ vectors["prompt"].T
    nearest = nearest.toarray() if hasattr(nearest, "toarray") else nearest
    scores = {"toy_closeness": nearest.mean(axis=1), "toy_margin": nearest.max(axis=1) - nearest.min(axis=1)}
    items, rows = {"id": list(dataset.ids), "kind": list(dataset.groups)}, []
    for name, values in scores.items():
        rows += summarise(name, values, dataset.groups, dataset.group_order, "higher", **settings.intervals(None))
        items[name] = values.tolist()
    return Scores(items, rows)


def tables(results, differences=None):
    of_metrics = (group_tables(results, metric, differences) for metric in ("toy_closeness", "toy_margin"))
    return [table for tables in of_metrics for table in tables]


def drawn(drawing):
    from utils.figures.tasks import averages

    return averages(drawing, "toy_margin")


def findings(best, name, comparison):
    from utils.report.findings import Finding

    return [Finding("Margins", f"The margin is {best.value('toy_margin', 'average'):.3f} for {name}.")]


TASK = Task(
    package="Toy_Lengths",
    question="How close are prompts?",
    headline="toy_closeness",
    settings={},
    rows="kind",
    format=FORMAT,
    load=partial(load, FORMAT),
    data_sheet=partial(data_sheet, FORMAT),
    score=score,
    tables=tables,
    differences=item_differences,
    beside_headline=("toy_margin",),
    figures=lambda: (Figure("margins", drawn, "margin of each encoder"),),
    findings=findings,
    definitions={"toy margin": "The largest cosine minus the smallest."},
)
'''
ROWS = [f"{i},{'ab'[i % 2]},{'word ' * (i % 3)}apple {i} pear {i % 5}" for i in range(12)]


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The task, and a file in its format."""
    package, data = tmp_path / "Toy_Lengths", tmp_path / "mine.csv"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "task.py").write_text(SOURCE)
    data.write_text("\n".join(["id,kind,prompt", *ROWS]))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(tasks, "PACKAGES", (*tasks.PACKAGES, package.name))
    yield importlib.import_module("Toy_Lengths.task").TASK, data


def test_a_task_and_its_metrics_are_found_everywhere(toy, tmp_path, capsys):
    task, data = toy
    out = tmp_path / "out"
    flags = ["--out", str(out)]
    assert evaluate(task, ["--model", "tfidf", "--data", str(data), "--no-cache", *flags]) == 0
    terminal = capsys.readouterr().out
    assert "Toy-Lengths\nHow close are prompts?" in terminal and "Toy margin, higher is better" in terminal
    stored = json.loads((out / "mine" / "toy_lengths" / "tfidf.json").read_text())
    average = {m["metric"]: m["value"] for m in stored["metrics"] if m["group"] == "average"}

    assert compare_main.main(["--data", "mine", *flags]) == 0
    compared = capsys.readouterr().out
    assert "Toy-Lengths: toy closeness, higher is better; data: mine" in compared
    assert "Toy-Lengths: toy margin, higher is better" in compared
    assert compare_main.main(["tfidf", "random", "--gate", "toy_closeness=1", "--data", "mine", *flags]) == 0

    assert report_main.main(["--data", "mine", *flags]) == 0
    capsys.readouterr()
    page = html.parse(out / "mine" / "report.html")
    [section] = page.xpath("//section[@id='toy_lengths']")
    captions = section.xpath(".//caption/span/text()")
    assert "Toy closeness, higher is better" in captions and "Toy margin, higher is better" in captions
    assert [c.text for c in section.xpath(".//figcaption")][-1] == "Margin of each encoder."
    text = page.getroot().text_content()
    assert f"The margin is {average['toy_margin']:.3f} for" in text
    assert "The largest cosine minus the smallest." in text

    assert figures_main.main(["--data", "mine", "--style", "paper", *flags]) == 0
    drawn = {path.name for path in (out / "mine" / "figures" / "paper").glob("*.pdf")}
    assert drawn == {f"toy_lengths_{name}.pdf" for name in ("heatmap", "average", "margins")}
    assert "Toy-Lengths. Margin of each encoder." in (out / "mine" / "figures" / "paper" / "captions.tex").read_text()
