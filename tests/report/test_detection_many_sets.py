"""The report and figures of detection on many sets, some of which have one class."""

from dataclasses import replace

import numpy as np
import pytest
from figure_checks import seen_whole
from lxml import html
from sklearn.metrics import roc_auc_score

from Safety_Detection.shown import reading
from Safety_Detection.shown.figures import one_class_heatmap, roc_curves, transfer_heatmap
from Safety_Detection.shown.finding import on_unseen
from Safety_Detection.shown.tables import detection_tables
from utils.figures.style import COLUMN, PAPER, SCREEN, TEXT, drawing
from utils.figures.tasks import figures_of
from utils.tasks import Drawing

KIND = "centroid_difference"
TWO = ["two0", "two1", "two2", "two3"]


@pytest.fixture(scope="module")
def results(many_sets):
    return [reading.read(many_sets / "safety_detection" / f"{name}.json") for name in ("half", "tfidf")]


@pytest.fixture(scope="module")
def tree(many_sets):
    return html.parse(many_sets / "report.html")


def rows_of(tree, caption):
    """Rows of the table whose caption begins so, as {heading: text}."""
    [found] = [t for t in tree.iter("table") if t.find("caption").text_content().startswith(caption)]
    headings = [cell.text_content() for cell in found.xpath("./thead//th")]
    rows = found.xpath("./tbody/tr")
    return [dict(zip(headings, [c.text_content() for c in row.xpath("./*")], strict=True)) for row in rows]


def shown(result, metric, group, kind=KIND):
    """A value as a table has it; the results have no intervals."""
    found = result.value(metric, group, detector=kind)
    return "-" if found is None else f"{found:.3f}"


def cells(panel, columns):
    """Row and column to the texts of a heatmap's cells, from above."""
    found = {}
    for text in sorted(panel.texts, key=lambda text: text.get_position()[1]):
        x, y = text.get_position()
        found.setdefault((round(y), columns[round(x)]), []).append(text.get_text())
    return found


def test_cells_of_the_transfer_heatmap_are_the_metrics_and_empty_without_one(results):
    with drawing():
        figure = transfer_heatmap(Drawing(results, "", SCREEN))
        panels = figure.axes[:2]
    for panel, result in zip(panels, results, strict=True):
        assert panel.get_title() == result.encoder.label
        found = cells(panel, TWO)
        for row, train in enumerate([*TWO, "others"]):
            for test in TWO:
                value = result.value("auroc", detector=KIND, train=train, test=test)
                # two0 and two1 are one family, so neither is tested by the other's detector.
                assert (value is None) == ({train, test} == {"two0", "two1"})
                assert found.get((row, test), []) == ([] if value is None else [f"{value:.2f}"])
        assert panel.images[0].get_array().mask.sum() == 2
    assert "AUROC of centroid difference, higher is better" in figure.get_suptitle()


def test_cells_of_the_one_class_heatmap_are_area_and_rate(results):
    with drawing():
        figure = one_class_heatmap(Drawing(results, "", SCREEN))
    for panel, result in zip(figure.axes[:2], results, strict=True):
        assert [label.get_text() for label in panel.get_yticklabels()] == ["harm", "attack"]
        assert [label.get_text() for label in panel.get_xticklabels()] == ["calm", "daily"]
        found = cells(panel, ["calm", "daily"])
        for row, unsafe in enumerate(("harm", "attack")):
            for safe in ("calm", "daily"):
                where = {"detector": KIND, "train": "others", "test": unsafe, "against": safe}
                area, rate = (result.value(metric, **where) for metric in ("auroc", "tpr_at_1_fpr"))
                assert (area is None) == ((unsafe, safe) == ("attack", "daily"))  # of one family
                wanted = [] if area is None else [f"{area:.2f}", f"{100 * rate:.0f} %"]
                assert found.get((row, safe), []) == wanted
        sizes = {text.get_text().endswith("%"): text.get_fontsize() for text in panel.texts}
        assert sizes[True] < sizes[False]
    assert "higher is better" in figure.get_suptitle().replace("\n", " ")


def test_curves_of_many_sets_are_those_within_and_of_all_others(results):
    result = results[1]
    with drawing():
        figure = roc_curves(Drawing([result], "", SCREEN))
    assert len(figure.axes) == 4 and len({panel.get_subplotspec().rowspan.start for panel in figure.axes}) == 2
    for panel, test in zip(figure.axes, TWO, strict=True):
        assert [line.get_label() for line in panel.lines] == ["the tested set", "others", "chance"]
        mine = [i for i, name in enumerate(result.items["set"]) if name == test]
        for line, train in zip(panel.lines, (test, "others"), strict=False):
            scores, labels = result.items[f"{KIND}/{train}"], result.items["label"]
            expected = roc_auc_score([labels[i] for i in mine], [scores[i] for i in mine])
            assert np.trapezoid(line.get_ydata(), line.get_xdata()) == pytest.approx(expected)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["the tested set", "others", "chance"]


@pytest.mark.usefixtures("laid_out")
@pytest.mark.parametrize("style", [SCREEN, PAPER])
def test_the_figures_are_whole(results, style):
    with drawing(style=style):
        figures = {name: figures_of(results, style=style, only=name) for name in ("heatmap", "one_class")}
        figures["roc"] = figures_of(results[1:], style=style, only="roc")
        for stem, drawn in figures.items():
            [figure] = drawn.values()
            texts = seen_whole(figure)
            if style is PAPER:
                assert figure.get_figwidth() in (COLUMN, TEXT), stem
                assert {text.get_fontsize() for text in texts} <= {6, 7, 8}, stem
            bars = [axes.get_ylabel() or axes.get_xlabel() for axes in figure.axes if not axes.get_subplotspec()]
            assert bars == ([] if "roc" in stem else ["AUROC, higher (darker) is better"])


def test_the_section_is_led_by_what_happens_on_unseen_traffic(results, tree, many_sets):
    section = tree.xpath("//section[@id='safety_detection']")[0]
    points = [item.text_content() for item in section.xpath("./ul[1]/li")]
    wanted = [f"Centroid difference on {r.encoder.label}. {on_unseen(r, KIND)}" for r in results]
    assert points == wanted
    # 10 prompts of each label: 4 sets x 2 and 4 sets x 1.
    assert "120 items of 8 sets: 4 of two classes, 2 unsafe-only and 2 safe-only" in section.text_content()
    assert "Ordinary traffic: calm, daily." in section.text_content()
    assert all(point in (many_sets / "report.md").read_text().replace("**", "") for point in points)


def test_means_and_set_identity_are_of_every_encoder(results, tree):
    rows = rows_of(tree, "Mean AUROC and TPR at 1 % FPR")
    kinds = ["nearest unsafe", "centroid difference", "prompt length", "shuffled labels"]
    assert [(row["encoder"], row["detector"]) for row in rows] == [(e, k) for e in ("Half", "TF-IDF") for k in kinds]
    places = {name: name for name in ("within", "across", "others")}
    places |= {"ordinary (one set)": "ordinary traffic, one set", "ordinary (others)": "ordinary traffic"}
    for row, result in zip(rows, [r for r in results for _ in kinds], strict=True):
        kind = row["detector"].replace(" ", "_")
        assert {title: row[title].split()[0] for title in places} == {
            title: shown(result, "auroc", group, kind) for title, group in places.items()
        }
        assert row["TPR@1"] == shown(result, "tpr_at_1_fpr", "ordinary traffic", kind)
    for row, result in zip(rows_of(tree, "Set identity"), results, strict=True):
        wanted = [shown(result, "auroc", word, "set_identity") for word in ("safe", "unsafe")]
        assert list(row.values()) == [result.encoder.label, *wanted]


def test_pairs_without_a_metric_are_left_out_of_the_matrix(results, tree):
    rows = rows_of(tree, "AUROC of centroid difference, with")
    # 4 sets by 4 sets and others, without two0 -> two1 and two1 -> two0.
    assert len(rows) == 4 * 5 - 2
    for row in rows:
        group = f"{row['trained on']} -> {row['tested on']}"
        assert [row[r.encoder.label] for r in results] == [shown(r, "auroc", group) for r in results]


def test_sets_of_one_class_have_their_flagged_shares_and_areas_of_every_encoder(results, tree):
    rows = rows_of(tree, "Share flagged of each set of one class")
    names = {"unsafe": "tpr_at_threshold", "safe": "fpr_at_threshold"}
    labels = {"harm": "unsafe", "attack": "unsafe", "calm": "safe", "daily": "safe"}
    assert {row["set"]: row["label"] for row in rows} == labels and {row["n"] for row in rows} == {"10"}
    for row in rows:
        for r in results:
            assert row[r.encoder.label] == shown(r, names[row["label"]], f"others -> {row['set']}")
    for what, metric in (("AUROC", "auroc"), ("TPR at 1 % FPR", "tpr_at_1_fpr")):
        rows = rows_of(tree, f"{what} of centroid difference, unsafe-only sets (rows)")
        heads = [(row["unsafe-only"], row["encoder"]) for row in rows]
        assert heads == [(one, r.encoder.label) for one in ("harm", "attack") for r in results]
        for row, result in zip(rows, results * 2, strict=True):
            for safe in ("calm", "daily"):
                assert row[safe] == shown(result, metric, f"others -> {row['unsafe-only']} | {safe}")
        assert [row["daily"] == "-" for row in rows] == [False, False, True, True]


def test_verdicts_on_twins_and_shares_by_type(results, tree):
    rows = rows_of(tree, "Unsafe prompts and their safe twins")
    sides = [("two0", "two0"), ("others", "two0")]
    assert [(row["trained on"], row["tested on"]) for row in rows] == [side for side in sides for _ in results]
    for row, result in zip(rows, results * 2, strict=True):
        group = f"{row['trained on']} -> two0"
        for title in ("separated", "both flagged", "both passed", "inverted"):
            assert row[title] == shown(result, title.replace(" ", "_"), group)
    rows = rows_of(tree, "Share flagged by type")
    named = [(row["set"], row["type"]) for row in rows]
    assert named == [(name, kind) for name in ("harm", "attack", "calm", "daily") for kind in ("first", "second")]
    for row in rows:
        metric = "tpr_at_threshold" if row["label"] == "unsafe" else "fpr_at_threshold"
        wanted = [shown(r, metric, f"others -> {row['set']}: {row['type']}") for r in results]
        assert [row[r.encoder.label] for r in results] == wanted and row["n"] == "5"


def test_encoders_of_the_same_scores_do_not_differ_in_any_mean(tree):
    rows = rows_of(tree, "Differences of AUROC between encoders by centroid difference")
    means = ["within", "across", "others", "ordinary traffic, one set", "ordinary traffic"]
    assert [list(row.values()) for row in rows] == [[mean, "0.000 ±0.000", "1.000", "1.000"] for mean in means]
    assert list(rows[0]) == ["trained -> tested", "minus TF-IDF", "p", "p (Holm)"]


def test_long_tables_and_differences_are_collapsed(tree, many_sets):
    tables = tree.xpath("//section[@id='safety_detection']//table")
    shown = [(len(t.xpath("./tbody/tr")), t.find("caption").text_content(), bool(t.xpath("ancestor::details")))
             for t in tables]  # fmt: skip
    assert [collapsed for *_, collapsed in shown] == [
        rows > 15 or caption.startswith("Differences") for rows, caption, _ in shown
    ]
    assert any(rows == 18 for rows, *_ in shown) and any(rows < 15 and collapsed for rows, _, collapsed in shown)
    twin = (many_sets / "report.md").read_text()
    assert twin.count("<details>") == sum(collapsed for *_, collapsed in shown) == twin.count("</details>")


def test_many_encoders_have_only_the_means_of_one_detector_above_the_figures(results):
    made = [replace(results[0], encoder=replace(results[0].encoder, label=f"E{i}")) for i in range(4)]
    first, *more = detection_tables(made)
    # Four encoders with two detectors and two controls are 16 rows.
    assert [[cell.text for cell in row[:2]] for row in first.rows] == [
        [f"E{i}", "centroid difference"] for i in range(4)
    ]
    assert first.caption == "Mean AUROC and TPR at 1 % FPR (TPR@1) of centroid difference"
    every = next(table for table in more if table.caption.startswith("Mean AUROC"))
    assert len(every.rows) == 16 and every.is_long
    matrix = next(table for table in more if table.caption.startswith("AUROC of centroid difference, with"))
    assert matrix.headings == ["trained on", "tested on", "encoder", "AUROC"]
    cells = [[cell.text for cell in row] for row in matrix.rows[:4]]
    assert cells == [["two0", "two0", f"E{i}", shown(made[0], "auroc", "two0 -> two0")] for i in range(4)]
