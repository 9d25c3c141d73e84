"""Results whose numbers all round to zero: nothing that prints them gives a zero a sign."""

import csv
import io
import json
import random
import re
import shutil

from doubles import tie
from lxml import html
from matplotlib.text import Text

from Safety_Challenging.evaluate import TASK as CHALLENGING
from Safety_Contrast.evaluate import TASK as CONTRAST
from Safety_Taxonomy.evaluate import TASK as TAXONOMY
from utils.compare import __main__ as compare_main
from utils.figures.style import drawing
from utils.figures.tasks import figures_of
from utils.report import __main__ as report_main
from utils.results.result_file import read_with_items
from utils.results.signature import signature
from utils.tables import rendered

# A minus or plus sign, as text or typeset, before a zero with nothing but zeros behind it.
SIGNED_ZERO = re.compile(r"(?<![\w.@$-])[-+\u2212]0(?:\.0+)?(?![\d.])")


def near_zero(folder):
    """Makes all that was measured in the result files of a folder a number from -0.0004 to 0.0004, most below zero."""
    draw = random.Random(0)

    def small():
        return draw.uniform(-0.0004, 0.0002)

    for path in folder.glob("*/*.json"):
        document = json.loads(path.read_text())
        for metric in document["metrics"]:
            value = small()
            its = {"low": value - 0.00005, "value": value, "high": value + 0.00005, "chance": small()}
            metric |= {key: its[key] for key in its if metric.get(key) is not None}
        if document["settings"]["baseline"]:
            document["settings"]["baseline"]["value"] = -0.0004
        path.write_text(json.dumps(document))
        items = path.with_name(f"{path.stem}.items.csv")
        rows = list(csv.DictReader(io.StringIO(items.read_text())))
        for row in rows:
            row.update({column: small() for column, cell in row.items() if re.fullmatch(r"-?\d+\.\d+", cell)})
        with items.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        tie(path)


def test_no_zero_has_a_sign(sample_results, without_figures, tmp_path, capsys):
    shutil.copytree(sample_results / "sample", tmp_path / "sample")
    near_zero(tmp_path / "sample")
    texts = {}
    for task in (CHALLENGING, CONTRAST, TAXONOMY):
        results = [read_with_items(path) for path in sorted((tmp_path / "sample" / task.name).glob("*.json"))]
        texts[task.name] = "\n".join([rendered(task.tables(results), "text"), *map(signature, results)])
        with drawing():
            figures = figures_of(results).values()
        drawn = [text.get_text() for figure in figures for text in figure.findobj(Text) if text.get_visible()]
        texts[f"figures of {task.name}"] = "\n".join(drawn)
    flags = ["--out", str(tmp_path)]
    assert compare_main.main(flags) == 0
    texts["compared"] = capsys.readouterr().out
    assert report_main.main(flags) == 0
    texts["findings"], texts["report.md"] = capsys.readouterr().out, (tmp_path / "sample" / "report.md").read_text()
    page = html.fromstring((tmp_path / "sample" / "report.html").read_text())
    for element in page.xpath("//script | //style | //svg"):
        element.drop_tree()
    texts["report.html"] = page.text_content()
    assert [name for name, text in texts.items() if not re.search(r"(?<!\d)0\.00", text)] == []
    assert {name: SIGNED_ZERO.findall(text) for name, text in texts.items() if SIGNED_ZERO.search(text)} == {}


def test_a_signed_zero_is_found_and_no_other_number():
    signed = ("-0.000", "a +0.00 b", "\u22120", "-0 %", "(-0.0)", "b:own=-0.000")
    assert all(map(SIGNED_ZERO.search, signed))
    assert not any(map(SIGNED_ZERO.search, ("-0.001", "2026-01-01", "0.000", "top-0", "-0.05", "1e-05")))
