"""Values that are too long to show, or that a terminal would act on, in flags, in a data file and in a result file."""

import importlib
import json
import re
import unicodedata

import pytest

from Safety_Challenging.evaluate import TASK as CHALLENGING
from Safety_Detection.evaluate import TASK as DETECTION
from Safety_Taxonomy.evaluate import TASK as TAXONOMY
from utils import config
from utils.evaluation.run import evaluate
from utils.figures import style
from utils.report import parts

LONGEST_LINE = 600
HOSTILE = "a\x1b[31m\x07b\nerror: c\u202ed\u200b"
# The end of a long value must not be at the end of the line, where the remedy is.
VALUES = ["x" * 1_000_000, "one two " * 125_000, HOSTILE]
ENDS = ("xxx", "two", "\\u200b")


def main_of(package):
    return lambda argv: importlib.import_module(f"{package}.__main__").main(argv)


def of_task(task):
    return lambda argv: evaluate(task, argv)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder, in which results are kept too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAFE_EMBED_CALLED_FROM_DIR", str(tmp_path))
    monkeypatch.setenv("OUT", str(tmp_path / "results"))
    return tmp_path


def faults_of(command, argv, capsys):
    """What is wrong with how a command ends; [] if nothing is."""
    capsys.readouterr()
    try:
        status = command(argv)
    except (Exception, SystemExit) as error:
        return [f"{type(error).__name__} gets out"]
    out, err = capsys.readouterr()
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    found = []
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in (out + err).replace("\n", "")):
        found.append("a character that a terminal acts on")
    if any(len(line) > LONGEST_LINE for line in err.splitlines()):
        found.append("a line that is too long")
    if re.search(r"(\w)\1{80}", out):
        found.append("a name that is too long")
    if status not in (0, 2, 3) or len(errors) != (status == 2):
        found.append(f"status {status} with {len(errors)} error lines")
    if any(line.endswith(ENDS) for line in errors):
        found.append("no remedy")
    return found


FLAGS = ["--model", "--data", "--top-k", "--threshold", "--baseline", "--device", "--dtype", "--bootstrap", "--seed"]


@pytest.mark.parametrize("value", VALUES, ids=["one word", "words", "control characters"])
def test_a_hostile_value_is_refused_in_one_line_and_shown_escaped(folder, capsys, value):
    for flag in [*([name] for name in FLAGS), []]:
        arguments = ["--data", "sample", "--model", "tfidf", *flag, value]
        assert faults_of(of_task(TAXONOMY), arguments, capsys) == [], flag
        assert evaluate(TAXONOMY, arguments) == 2


def test_a_value_that_is_too_long_is_named_with_its_flag(capsys):
    assert main_of("utils.report")(["--out", "x" * 5000]) == 2
    assert capsys.readouterr().err == f"error: --out {'x' * 79}…: has 5000 characters; give a value of 4096 at most\n"


def test_every_command_has_the_parser_that_refuses_them():
    sources = [path for pattern in ("utils/**/*.py", "Safety_*/**/*.py") for path in config.ROOT.glob(pattern)]
    assert [path.name for path in sources if "ArgumentParser(" in path.read_text()] == []


@pytest.mark.parametrize("task", [CHALLENGING, DETECTION], ids=lambda task: task.name)
def test_names_of_others_are_shown_escaped_and_cut(folder, laid_out, capsys, monkeypatch, task):
    """Names in a data file and in a result file reach tables, headings, notes, comparisons and findings."""
    # Of a figure only what the command says is looked at: it is drawn in one form and one style.
    monkeypatch.setattr(style, "FORMS", ("svg",))
    monkeypatch.setattr(parts, "product", lambda themes, _: [(theme, style.SCREEN) for theme in themes])
    edits = [f"prompt_#{i}" for i in range(1, 6)]
    names, rows = ["\x1b[31mred\x07\u202e in two\nlines", "y" * 100_000], []
    for i in range(48):
        texts = ["prompt", "question", "unsafe_prompt", "safe_prompt", "original_prompt", *edits]
        cells = {column: f"{column} {i} of kind {chr(97 + i % 26)} and thing {i * 7}" for column in texts}
        cells |= dict.fromkeys(["type", "types_of_harm", "category", "set"], names[i % 2])
        rows.append({"id": f"\x1b{i}", "label": i // 2 % 2, **cells})
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = ["--data", "mine.jsonl", "--model", "tfidf", "--bootstrap", "0"]
    flags += ["--detectors", "centroid_difference", "--top-k", "2"] if task is DETECTION else []
    first = folder / "results" / "mine" / task.name / "tfidf.json"
    found = {"evaluate": faults_of(of_task(task), flags, capsys)}
    document = json.loads(first.read_text())
    document["encoder"] |= {"name": "other", "label": f"\x1b]0;title\x07{'z' * 100_000}", "fingerprint": "0" * 32}
    first.with_name("other.json").write_text(json.dumps(document))
    first.with_name("other.items.csv").write_bytes(first.with_name("tfidf.items.csv").read_bytes())
    # The report draws all figures of detection, so they are not drawn again.
    commands = ("compare", "report") if task is DETECTION else ("compare", "report", "figures")
    found |= {name: faults_of(main_of(f"utils.{name}"), ["--data", "mine"], capsys) for name in commands}
    assert {name: faults for name, faults in found.items() if faults} == {}
