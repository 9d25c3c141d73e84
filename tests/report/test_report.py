"""The report's content: its tables are the results', its texts are text, and what it can't show it says."""

import csv
import json
import re
import shutil

import pytest
from lxml import html

from utils import config, tasks
from utils.compare import __main__ as compare_main
from utils.report import __main__ as report_main
from utils.schema import CONTROLS

GUARDED = "guarded purity, higher is better"
TASKS = ("safety_challenging", "safety_contrast", "safety_taxonomy")
CAPTIONS = {
    "safety_challenging": "Normalized similarity of unsafe prompt and safe twin, lower is better",
    "safety_contrast": "Boundary similarity (nearest of the safe edits), lower is better",
    "safety_taxonomy": "Categorical Purity at 10, higher is better",
}


@pytest.fixture(scope="module")
def page(sample_report):
    """The page of the sample's results, parsed, and the folder that it lies in."""
    return html.fromstring((sample_report / "report.html").read_bytes()), sample_report


def table(page, caption):
    """Rows of a table as {heading: text}, foot last."""
    found = next(t for t in page.iter("table") if t.find("caption").text_content() == caption)
    headings = [cell.text_content() for cell in found.xpath("./thead//th")]
    return [
        [(h, cell.text_content()) for h, cell in zip(headings, row.xpath("./*"), strict=True)]
        for row in found.xpath("./tbody/tr | ./tfoot/tr")
    ]


def document(folder, task, encoder):
    return json.loads((folder / task / f"{encoder}.json").read_text())


def by_group(doc, metric):
    return {m["group"].replace("_", " "): m for m in doc["metrics"] if m["metric"] == metric}


def shown(m):
    below, above = m["value"] - m["low"], m["high"] - m["value"]
    if abs(above - below) > max(0.1 * (above + below), 0.001):
        return f"{m['value']:z.3f} [{m['low']:z.3f}, {m['high']:z.3f}]"
    return f"{m['value']:z.3f} ±{(above + below) / 2:.3f}"


@pytest.mark.parametrize("task", TASKS)
def test_the_tables_show_the_result_files_and_the_comparison(page, task, capsys):
    tree, folder = page
    metric = tasks.TASKS[task].headline
    rows = [dict(row) for row in table(tree, CAPTIONS[task])]
    # The first difference and p are MiniLM's, the second Random's.
    tested = [dict(reversed(row)) for row in table(tree, f"{CAPTIONS[task]}; differences from TF-IDF")]
    ours, floor = (by_group(document(folder, task, e), metric) for e in ("all-minilm-l6-v2", "tfidf"))
    flags = ["--task", task, "--out", str(folder.parent), "--format", "csv"]
    assert compare_main.main(["tfidf", "all-minilm-l6-v2", "random", *flags]) == 0
    compared = {
        row["group"].replace("_", " "): row
        for row in csv.DictReader(capsys.readouterr().out.splitlines())
        if (row["encoder"], row["metric"]) == ("all-minilm-l6-v2", metric)
    }
    groups = [group for group in ours if not group.startswith("overlap")]
    heading = next(h for h in rows[0] if h in ("type", "category"))
    assert [row[heading] for row in rows] == groups and groups[-2:] == ["average", "overall"]
    assert [row[heading] for row in tested] == groups
    for row, difference_row in zip(rows, tested, strict=True):
        group, shown_difference = row[heading], difference_row["MiniLM-L6 minus TF-IDF"]
        assert (row["MiniLM-L6"], row["TF-IDF"]) == (shown(ours[group]), shown(floor[group]))
        assert row["n"] == str(ours[group]["n"])
        difference, low, high = (float(compared[group][f"difference{end}"]) for end in ("", "_low", "_high"))
        assert float(shown_difference.split(" ±")[0]) == pytest.approx(difference, abs=0.000501)
        assert float(shown_difference.split(" ±")[1]) == pytest.approx((high - low) / 2, abs=0.000501)
        assert difference == pytest.approx(ours[group]["value"] - floor[group]["value"], abs=1e-9)
        p, printed = float(compared[group]["p_holm"]), difference_row["p"]
        assert p < 0.001 if printed == "<0.001" else float(printed) == pytest.approx(p, abs=0.000501)


def test_the_summary_has_every_encoder_and_task(page):
    tree, folder = page
    rows = table(tree, "Averages over types or categories with 95 % intervals, by rank in categorical purity")
    # Known of the sample: purity 0.281, 0.152 and less, which no difference in rank or average contradicts.
    assert [row[0] for row in rows] == [("encoder", label) for label in ("MiniLM-L6", "TF-IDF", "Random")]
    for row, encoder in zip(rows, ("all-minilm-l6-v2", *CONTROLS), strict=True):
        scores = [by_group(document(folder, task, encoder), tasks.TASKS[task].headline)["average"] for task in TASKS]
        guarded = by_group(document(folder, "safety_contrast", encoder), "guarded_purity")["average"]
        cells = [(heading, text) for heading, text in row[1:] if heading not in ("rank", GUARDED)]
        assert [text for _, text in cells] == [shown(m) for m in scores]
        assert dict(row)[GUARDED] == shown(guarded) and len(row) == 1 + 2 * 3 + 1


def test_the_worst_items_are_the_worst(page):
    tree, folder = page

    def items(task):
        with (folder / task / "all-minilm-l6-v2.items.csv").open() as stream:
            return list(csv.DictReader(stream))

    def ids(caption):
        return [row[0][1] for row in table(tree, caption)]

    pairs = sorted(items("safety_challenging"), key=lambda row: float(row["normalized_similarity"]))
    assert ids("The 15 pairs that MiniLM-L6 tells apart least") == [row["id"] for row in pairs[::-1][:15]]
    edits = sorted(items("safety_contrast"), key=lambda row: float(row["boundary_similarity"]))
    assert ids("The 15 originals with the nearest safe edit for MiniLM-L6") == [row["id"] for row in edits[::-1][:15]]
    prompts = {row["id"]: float(row["categorical_purity"]) for row in items("safety_taxonomy")}
    misplaced = ids("The 15 prompts that MiniLM-L6 misplaces most")
    assert [prompts[i] for i in misplaced] == sorted(prompts.values())[:15]


def test_no_prompt_is_shown_until_it_is_asked_for_and_the_right_one_is_then(page):
    tree, _ = page
    prompts = json.loads(tree.get_element_by_id("prompts").text)
    visible = " ".join(text for text in tree.xpath("//body//text()[not(ancestor::script)]") if text.strip())
    assert len(prompts) > 144 and not [text for text in prompts.values() if text in visible]
    cells = tree.xpath("//*[@data-prompt]")
    assert cells and all(cell.get("data-prompt") in prompts and cell.text_content() == "hidden" for cell in cells)
    sample = {}
    for task, name in (("safety_challenging", "Safety_Challenging"), ("safety_taxonomy", "Safety_Taxonomy")):
        with (config.ROOT / name / "sample.csv").open(encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                sample |= {f"{task} {row['id']} {column}": text for column, text in row.items()}
    with (config.ROOT / "Safety_Contrast" / "sample.jsonl").open(encoding="utf-8") as stream:
        for row in map(json.loads, stream):
            sample |= {f"safety_contrast {row['id']} {column}": text for column, text in row.items()}
    assert all(sample[key] == text for key, text in prompts.items())


def test_it_stands_alone_and_names_its_origin(page):
    tree, folder = page
    assert not tree.xpath("//link[not(starts-with(@href, 'data:'))] | //script[@src] | //iframe | //object")
    assert all(src.startswith("data:image/svg+xml;base64,") for src in tree.xpath("//img/@src"))
    assert all(alt for alt in tree.xpath("//img/@alt")) and len(tree.xpath("//img")) == 2 * 10
    text = tree.text_content()
    for task in TASKS:
        doc = document(folder, task, "all-minilm-l6-v2")
        assert doc["dataset"]["files"][0]["sha256"] in text and doc["encoder"]["fingerprint"] in text
        assert doc["environment"]["packages"]["numpy"] in text and doc["encoder"]["revision"] in text
    assert "SAMPLE" in text
    ids = tree.xpath("//@id")
    assert len(ids) == len(set(ids))


def test_the_markdown_twin_has_the_same_numbers(page):
    tree, folder = page
    twin = (folder / "report.md").read_text()
    for item in tree.xpath("//ul[@class='findings']/li"):
        strong, more = item.find("strong"), item.find("details")
        text = strong.tail.strip() if more is None else f"{strong.tail.strip()} {more[0].tail.strip()}"
        assert f"- **{strong.text}** {text}".replace("<", "&lt;") in twin
        assert strong.tail.strip().endswith(".") and ". " not in strong.tail.strip(), "one sentence is seen at once"
    for task in TASKS:
        for m in by_group(document(folder, task, "all-minilm-l6-v2"), tasks.TASKS[task].headline).values():
            assert shown(m) in twin
    for heading in ("chance", "ceiling", "MiniLM-L6 minus TF-IDF"):
        assert f" {heading} " in twin
    assert "**SAMPLE" in twin and "<" not in re.sub("</?(details|summary)>", "", twin)


def test_damaged_results_are_left_out_and_named(sample_results, without_figures, tmp_path, capsys):
    for task in TASKS[:2]:
        shutil.copytree(sample_results / "sample" / task, tmp_path / "sample" / task)
    pairs, edits = (tmp_path / "sample" / task for task in TASKS[:2])
    (pairs / "tfidf.json").write_text("{")
    (pairs / "random.items.csv").unlink()
    (edits / "tfidf.json").write_text(json.dumps(document(edits.parent, edits.name, "tfidf") | {"settings": {}}))
    rows = (edits / "random.items.csv").read_text().splitlines()
    (edits / "random.items.csv").write_text("\n".join([*rows[:-1], rows[-1].split(",")[0]]))
    assert report_main.main(["--out", str(tmp_path)]) == 0
    said = capsys.readouterr()
    left_out = [line for line in said.err.splitlines() if line.startswith("Left out: ")]
    assert len(left_out) == 4
    for name, reason in (
        ("safety_challenging/tfidf.json", "not a result file"),
        ("safety_challenging/random.items.csv", "can't be read"),
        ("safety_contrast/tfidf.json", "not a result file"),
        ("safety_contrast/random.items.csv", "not the complete items of a result"),
    ):
        assert any(f"{name}: {reason}" in line for line in left_out)
    assert "Safe twins" in said.out and "Small safe edits" in said.out


def test_variants_of_an_encoder_are_folded_and_never_ranked(sample_results, without_figures, tmp_path, capsys):
    """MiniLM's own scores as its bfloat16 self's: one row in the averages, and a difference of 0 among the variants."""
    shutil.copytree(sample_results / "sample" / TASKS[0], tmp_path / "sample" / TASKS[0])
    files = tmp_path / "sample" / TASKS[0]
    for part in ("items.csv", "influence.safetensors"):
        shutil.copy(files / f"all-minilm-l6-v2.{part}", files / f"all-minilm-l6-v2@0a1b2c3d.{part}")
    variant = document(tmp_path / "sample", TASKS[0], "all-minilm-l6-v2")
    variant["encoder"] |= {"dtype": "bfloat16", "fingerprint": "0a1b2c3d"}
    variant["created"] = "2099-01-01T00:00:00+00:00"  # the newest is not the one that stands for both
    (files / "all-minilm-l6-v2@0a1b2c3d.json").write_text(json.dumps(variant))
    assert report_main.main(["--out", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "the best of" not in said.out and said.err.count("MiniLM-L6 (bfloat16)") == 1
    tree = html.fromstring((tmp_path / "sample" / "report.html").read_bytes())
    rows = table(tree, "Averages over types or categories with 95 % intervals, by rank in normalized similarity")
    assert sorted(row[0][1] for row in rows) == ["MiniLM-L6", "Random", "TF-IDF"]
    caption = "Variants by dtype or instruction of encoders above: normalized similarity, lower is better"
    average = shown(by_group(variant, "normalized_similarity")["average"])
    [row] = table(tree, caption)
    assert [text for _, text in row] == ["MiniLM-L6", "MiniLM-L6 (bfloat16)", average, "0.000 ±0.000", "1.000"]
    assert tree.xpath("//details[@class='long'][contains(summary, 'Variants by dtype')][not(@open)]")


def test_what_can_not_be_reported_is_one_line(sample_results, tmp_path, capsys):
    for arguments, message in (
        (["--out", str(tmp_path)], "no results to report; run a task first"),
        (["--out", str(tmp_path), "--data", "paper"], "no results to report; run a task first"),
        (["--out", str(sample_results), "--reference", "st5-xl"], "--reference st5-xl: no such result of"),
        (["--top-k=5"], "unrecognized arguments: --top-k=5 (see --help)"),
        (["--no-cache"], "unrecognized arguments: --no-cache (see --help)"),
    ):
        assert report_main.main(arguments) == 2
        line = capsys.readouterr().err
        assert message in line and line.startswith("error: ") and line.count("\n") == 1
    assert not list(tmp_path.rglob("report.*"))


def test_the_map_has_the_points_and_neighbours_of_the_results(page):
    tree, folder = page
    drawn = json.loads(tree.get_element_by_id("map-data").text)
    assert [one["label"] for one in drawn["encoders"]] == ["MiniLM-L6", "TF-IDF", "Random"]
    for one, encoder in zip(drawn["encoders"], ("all-minilm-l6-v2", *CONTROLS), strict=True):
        with (folder / "safety_taxonomy" / f"{encoder}.items.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        assert drawn["ids"] == [row["id"] for row in rows] and len(one["points"]) == len(rows)
        assert [drawn["categories"][c]["name"] for c in drawn["category"]] == [row["category"] for row in rows]
        assert [drawn["ids"][near[0]] for near in one["nearest"]] == [row["nearest_id"] for row in rows]
