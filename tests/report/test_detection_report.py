"""The report's section on detection shows the numbers of the result files, and draws them."""

import json
import shutil
import warnings
from dataclasses import replace

import pytest
from figure_checks import seen_whole
from lxml import html

from Safety_Detection.evaluate import TASK
from Safety_Detection.sets import labelled_sets
from Safety_Detection.shown import reading
from Safety_Detection.shown.differences import detector_differences
from Safety_Detection.shown.figures import one_class_heatmap, roc_curves, transfer_heatmap
from Safety_Detection.shown.finding import finding
from utils.evaluation import run as evaluation_run
from utils.figures import __main__ as figures_main
from utils.figures import style
from utils.figures.style import SCREEN, drawing
from utils.report import __main__ as report_main
from utils.results.result_file import read_with_items, rows_of
from utils.tables import p_text, with_interval, with_reach
from utils.tasks import Drawing

DIFFERENCES = "Differences of AUROC between detectors on TF-IDF: centroid difference minus each other one"


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Results of TF-IDF on the sample by two detectors, and the report of them."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAFE_EMBED_CACHE_DIR", str(folder / "cache"))
        flags = ["--data", "sample", "--quiet", "--out", str(folder), "--bootstrap", "1000"]
        assert (
            evaluation_run.evaluate(TASK, ["tfidf", *flags, "--detectors", "nearest_unsafe,centroid_difference"]) == 0
        )
    assert report_main.main(["--out", str(folder), "--quiet"]) == 0
    return folder


def read(out):
    path = out / "sample" / "safety_detection" / "tfidf.json"
    result = read_with_items(path)
    return result, rows_of(result)


def table(tree, caption):
    """Rows of a table as {heading: text}."""
    found = next(t for t in tree.iter("table") if t.find("caption").text_content() == caption)
    headings = [cell.text_content() for cell in found.xpath("./thead//th")]
    rows = found.xpath("./tbody/tr")
    return [dict(zip(headings, [c.text_content() for c in row.xpath("./*")], strict=True)) for row in rows]


def test_tables_show_the_result_file(out):
    result, _ = read(out)
    tree = html.parse(out / "sample" / "report.html")
    rows = table(tree, "AUROC of centroid difference, with half the width of its 95 % interval")
    assert len(rows) == 4
    for row in rows:
        m = result.metric("auroc", detector="centroid_difference", train=row["trained on"], test=row["tested on"])
        assert row["TF-IDF"] == with_interval(m)
    rows = table(tree, "Mean AUROC of every detector, controls last")
    assert list(rows[0]) == ["encoder", "detector", "within", "across"], "of two sets there are no others to train on"
    rows = table(tree, "Other metrics of centroid difference")
    for row in rows:
        where = {"detector": "centroid_difference", "train": row["trained on"], "test": row["tested on"]}
        assert row["base rate"] == "0.500"
        for heading, metric in (("FPR at 95 % TPR", "fpr_at_95_tpr"), ("TPR there", "tpr_at_threshold")):
            assert row[heading].startswith(f"{result.value(metric, **where):.3f} ")
    rows = table(tree, DIFFERENCES)
    found = detector_differences(reading.read(out / "sample" / "safety_detection" / "tfidf.json"))
    assert len(rows) == 4 and list(rows[0]) == ["trained -> tested", "minus nearest unsafe", "p", "p (Holm)"]
    for row, of in zip(rows, found, strict=True):
        texts = [with_reach(of.difference), p_text(of.difference.p), p_text(of.p)]
        assert list(row.values()) == [of.group, *texts]


def test_the_finding_is_in_page_and_markdown_and_no_prompt_is(out):
    result, _ = read(out)
    page, twin = ((out / "sample" / f"report.{kind}").read_text() for kind in ("html", "md"))
    said = finding(result)
    text = html.fromstring(page).text_content()
    first, _, rest = said.partition(". ")
    assert f"{first}." in text and rest in text and said in twin and "Safety-Detection" in text
    assert result.dataset_files[0].sha256 in text and result.encoder.fingerprint in text
    dataset, _ = labelled_sets.load("sample")
    assert not [prompt for prompt in dataset.texts["prompt"] if prompt in page or prompt in twin]


def test_the_page_stands_alone_and_has_both_figures_for_both_grounds(out):
    tree = html.parse(out / "sample" / "report.html")
    images = tree.xpath("//section[@id='safety_detection']//img")
    assert len(images) == 4 and all(image.get("src").startswith("data:image/svg+xml;base64,") for image in images)
    assert all(image.get("alt") for image in images)
    ids = tree.xpath("//@id")
    assert len(ids) == len(set(ids))


def test_figures_are_written_of_results_that_are_alike(out, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(style, "FORMS", ("svg",))
    shutil.copytree(out / "sample", tmp_path / "sample")
    folder = tmp_path / "sample" / "safety_detection"
    old = json.loads((folder / "tfidf.json").read_text())
    for name, seed in (("other", 7), ("some/twin-v1.5", 42)):
        old["settings"]["seed"], old["created"], old["encoder"]["name"] = seed, "2020-01-01T00:00:00+00:00", name
        stem = name.replace("/", "--")
        (folder / f"{stem}.json").write_text(json.dumps(old))
        shutil.copy(folder / "tfidf.items.csv", folder / f"{stem}.items.csv")
    assert figures_main.main(["--out", str(tmp_path)]) == 0
    assert "Left out: tfidf and other on safety_detection: different seed (42 and 7)" in capsys.readouterr().err
    names = {path.name for path in (tmp_path / "sample" / "figures").iterdir()}
    stems = ("heatmap", "roc_tfidf", "roc_some--twin-v1.5")
    assert names == {f"safety_detection_{stem}.svg" for stem in stems}
    (folder / "tfidf.items.csv").write_text((folder / "tfidf.items.csv").read_text().replace(",edits,", ",,"))
    _, [said, _] = reading.alike(sorted(folder.glob("*.json")))
    assert said.startswith("Left out: ") and said.endswith(
        "tfidf.items.csv: not of the run that wrote tfidf.json, or changed since; run the task again."
    )


@pytest.mark.usefixtures("laid_out")
@pytest.mark.parametrize(("encoders", "sets"), [(1, 2), (2, 5)])
def test_nothing_of_a_figure_is_cut_off(out, encoders, sets):
    result = reading.read(out / "sample" / "safety_detection" / "tfidf.json")
    names = [f"set-{i}".ljust(55, "s") for i in range(sets)]
    sides = [*names, "others"]
    first, known = result.metrics[0], replace(result.metrics[0], metric="auroc", value=0.7)
    where = {"detector": "centroid_difference", "against": None}
    metrics = [
        replace(known, group=f"{a} -> {b}", train=a, test=b, **where)
        for a in sides
        for b in names
    ]  # fmt: skip
    for metric in ("auroc", "tpr_at_1_fpr"):
        for a in names:
            for b in names[:-1]:
                crossed = {"train": "others", "test": a, "against": b, "detector": "centroid_difference"}
                metrics.append(replace(first, metric=metric, group=f"others -> {a} | {b}", value=1.0, **crossed))
    scores, rows = result.items["centroid_difference/edits"], len(result.items["set"])
    items = {f"centroid_difference/{name}": scores for name in sides} | {"set": [names[i % sets] for i in range(rows)]}
    items |= {"label": [i // sets % 2 for i in range(rows)]}
    made = []
    for i in range(encoders):
        encoder = replace(result.encoder, name=f"e{i}", label=f"organisation/encoder-{i}".ljust(55, "x"))
        changed = {"encoder": encoder, "dataset_name": "data" * 30, "items": items, "metrics": tuple(metrics)}
        made.append(replace(result, **changed))
    with warnings.catch_warnings(), drawing():
        warnings.simplefilter("error")
        for figure in (
            transfer_heatmap(Drawing(made, "", SCREEN)),
            one_class_heatmap(Drawing(made, "", SCREEN)),
            roc_curves(Drawing([made[0]], "", SCREEN)),
        ):
            seen_whole(figure)
