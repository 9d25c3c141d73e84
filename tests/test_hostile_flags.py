"""Every flag of every command with a value that is too long to show, or that a terminal would act on."""

import contextlib
import importlib
import json
import re
import shutil
import types
import unicodedata

import pytest

from Safety_Challenging.evaluate import TASK as CHALLENGING
from Safety_Contrast import build_data
from Safety_Contrast.evaluate import TASK as CONTRAST
from Safety_Detection import evade, fit, guards, score, serve
from Safety_Detection.evaluate import TASK as DETECTION
from Safety_Taxonomy.evaluate import TASK as TAXONOMY
from utils import cli, config
from utils.evaluation.run import evaluate, show_data
from utils.figures import style

LONGEST_LINE = 600
# The end of a long value must not be at the end of the line, where the remedy is.
VALUES = ["x" * 1_000_000, "one two " * 125_000, "a\x1b[31m\x07b\nerror: c\u202ed\u200b"]
ENDS = ("xxx", "two", "\\u200b")


def main_of(package):
    return lambda argv: importlib.import_module(f"{package}.__main__").main(argv)


def of_task(task):
    return lambda argv: evaluate(task, argv)


TASK_FLAGS = ["--data", "sample", "--model", "tfidf", "--bootstrap", "0"]
DETECTOR = ["--detector", "fitted"]
# By name, a command, and arguments with which it can do what it is for.
COMMANDS = {
    "challenging": (of_task(CHALLENGING), TASK_FLAGS),
    "contrast": (of_task(CONTRAST), TASK_FLAGS),
    "taxonomy": (of_task(TAXONOMY), TASK_FLAGS),
    "detection": (of_task(DETECTION), [*TASK_FLAGS, "--detectors", "centroid_difference"]),
    "build_data": (lambda argv: show_data(TAXONOMY, argv), ["--data", "sample"]),
    "get": (build_data.get, ["--source", "sample"]),
    "generate": (build_data.generate, ["--data", "sample", "--dry-run"]),
    "check": (build_data.check, ["sample"]),
    "parse": (build_data.parse, ["answers.jsonl"]),
    "fit": (fit.main, ["--data", "sample", "--model", "tfidf", "--detector", "centroid_difference", "--out", "other"]),
    "fit again": (fit.main, [*DETECTOR, "--add", "prompts.csv", "--label", "1"]),
    "score": (score.main, [*DETECTOR, "--input", "prompts.txt"]),
    "score vectors": (score.main, [*DETECTOR, "--vectors", "shards"]),
    "evade": (evade.main, [*DETECTOR, "--data", "sample"]),
    "guards": (guards.main, ["--scores", "scores.csv", "--name", "guard", "--data", "sample"]),
    "serve": (serve.main, [*DETECTOR, "--port", "0"]),
    "embed": (main_of("utils.embed"), ["--input", "prompts.csv", "--output", "shards"]),
    "average": (main_of("utils.encoders"), ["average", "tfidf"]),
    "store": (main_of("utils.store"), []),
    "compare": (main_of("utils.compare"), []),
    "report": (main_of("utils.report"), []),
    "figures": (main_of("utils.figures"), []),
    "reproduce": (main_of("utils.reproduce"), ["table"]),
}


# Commands that take a name or a file without a flag, and what comes before it.
POSITIONAL = {
    "taxonomy": [], "check": [], "parse": [], "average": ["average"], "compare": [], "figures": [],
    "reproduce": ["table"],
}  # fmt: skip


def parsers_of(command):
    """The parsers that a command makes."""
    parsers, make = [], cli.Parser.__init__

    def noted(self, *arguments, **more):
        parsers.append(self)
        make(self, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(SystemExit):
        patch.setattr(cli.Parser, "__init__", noted)
        command(["--help"])
    return parsers


def options_of(command):
    """The flags of a command that take a value, as its parsers have them."""
    options = [action for parser in parsers_of(command) for action in parser._actions if action.option_strings]
    return list(dict.fromkeys(action.option_strings[-1] for action in options if action.nargs != 0))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    flags = ["--data", "sample", "--model", "tfidf", "--detector", "centroid_difference", "--quiet", "--no-cache"]
    assert fit.main([*flags, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch, fitted, no_model):
    """A working folder with a detector and a file of each kind, in which no server stays and no model is loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAFE_EMBED_CALLED_FROM_DIR", str(tmp_path))
    monkeypatch.setenv("OUT", str(tmp_path / "results"))
    monkeypatch.setattr(serve, "server_of", lambda *arguments: types.SimpleNamespace(run=lambda sockets: None))
    shutil.copytree(fitted, tmp_path / "fitted")
    (tmp_path / "prompts.txt").write_text("one\n")
    (tmp_path / "prompts.csv").write_text("id,prompt\n1,one\n")
    (tmp_path / "scores.csv").write_text("id,score\n1,0.5\n")
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


@pytest.mark.parametrize("name", COMMANDS)
def test_a_hostile_value_is_refused_in_one_line_or_shown_escaped(folder, capsys, name):
    command, base = COMMANDS[name]
    found = {}
    for flag in options_of(command):
        at = base.index(flag) if flag in base else len(base)
        for value in VALUES:
            found[flag, value[:10]] = faults_of(command, [*base[:at], flag, value, *base[at + 2 :]], capsys)
    for value in VALUES if name in POSITIONAL else ():
        found["", value[:10]] = faults_of(command, [*POSITIONAL[name], value], capsys)
    assert found and {case: faults for case, faults in found.items() if faults} == {}


def test_a_value_that_is_too_long_is_named_with_its_flag(folder, capsys):
    assert score.main([*DETECTOR, "--input", "x" * 5000]) == 2
    assert capsys.readouterr().err == f"error: --input {'x' * 79}…: has 5000 characters; give a value of 4096 at most\n"


def test_no_command_is_left_out():
    programs = {parser.prog for command, _ in COMMANDS.values() for parser in parsers_of(command)}
    sources = [path.read_text() for pattern in ("utils/**/*.py", "Safety_*/*.py") for path in config.ROOT.glob(pattern)]
    assert programs >= {program for text in sources for program in re.findall(r'prog="(python -m [\w. ]+)"', text)}


@pytest.mark.parametrize("task", [CHALLENGING, CONTRAST, TAXONOMY, DETECTION], ids=lambda task: task.name)
def test_names_of_others_are_shown_escaped_and_cut(folder, capsys, monkeypatch, task):
    """Names in a data file and in a result file reach tables, headings, notes, comparisons and findings."""
    monkeypatch.setattr(style, "FORMS", ("svg",))  # of a figure only what the command says is looked at
    edits = [f"prompt_#{i}" for i in range(1, 6)]
    names, rows = ["\x1b[31mred\x07\u202e", "y" * 100_000, "two\nlines"], []
    for i in range(48):
        texts = ["prompt", "question", "unsafe_prompt", "safe_prompt", "original_prompt", *edits]
        cells = {column: f"{column} {i} of kind {chr(97 + i % 26)} and thing {i * 7}" for column in texts}
        cells |= dict.fromkeys(["type", "types_of_harm", "category", "set"], names[i % 3])
        rows.append({"id": f"\x1b{i}", "label": i // 3 % 2, **cells})
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = ["--data", "mine.jsonl", "--model", "tfidf", "--bootstrap", "0", "--top-k", "2"]
    flags += ["--detectors", "centroid_difference,logistic_regression"] if task is DETECTION else []
    first = folder / "results" / "mine" / task.name / "tfidf.json"
    found = {"evaluate": faults_of(of_task(task), flags, capsys)}
    document = json.loads(first.read_text())
    document["encoder"] |= {"name": "other", "label": f"\x1b]0;title\x07{'z' * 100_000}", "fingerprint": "0" * 32}
    first.with_name("other.json").write_text(json.dumps(document))
    first.with_name("other.items.csv").write_bytes(first.with_name("tfidf.items.csv").read_bytes())
    found |= {
        name: faults_of(COMMANDS[name][0], ["--data", "mine", *more], capsys)
        for name, more in (("compare", []), ("report", []), ("figures", ["--no-titles"]))
    }
    assert {name: faults for name, faults in found.items() if faults} == {}
