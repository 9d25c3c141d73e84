"""A person's mistake gets one line that names it, status 2, and nothing written."""

import os
import re
import subprocess
import sys

import pytest

from Safety_Challenging.evaluate import TASK as CHALLENGING
from Safety_Taxonomy.evaluate import TASK as TAXONOMY
from utils import config
from utils.evaluation.run import evaluate, show_data


def fails(capsys, tmp_path, task, *flags):
    """The one line that an evaluation ends with; checks that it is one, with status 2 and no result written."""
    out = tmp_path / "results"
    if "--out" not in flags:
        flags = (*flags, "--out", str(out))
    assert evaluate(task, ["--model", "tfidf", "--data", "sample", "--quiet", *flags]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert not out.exists() or not [path for path in out.rglob("*") if path.is_file()]
    return captured.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "all-minilm"], r"--model all-minilm: no such encoder; nearest: all-minilm-l6-v2"),
        (["--model", "tfidf", "all-minilm-l6-v2"], "give one of them"),
        (["--top-k", "144"], r"--top-k 144: 144 prompts have 143 neighbours each; give 1 to 143"),
        (["--threshold", "1.2"], "--threshold 1.2: give a number from 0 to 1"),
        (["--limit", "1"], "--limit 1: give a whole number of at least 2"),
        (["--limit", "13"], r"just one row in types_of_harm .*; raise --limit above 13"),
        (["--baseline", "high"], "--baseline high: give auto, paper, beavertails, own or a number"),
        (["--dtype", "int8"], "--dtype int8: give one of auto, float32"),
        (
            ["--model", "./my-model"],
            r"--model \./my-model: no such folder; give a model's, or a name of python -m utils",
        ),
        (
            ["tfidf", "all-minilm-l6-v2"],
            "unrecognized arguments: all-minilm-l6-v2; put commas between several encoders",
        ),
        (["--no-such-flag"], r"unrecognized arguments: --no-such-flag \(see --help\)"),
        (["--top-k"], r"--top-k: expected one argument"),
    ],
)
def test_bad_flags(capsys, tmp_path, flags, message):
    task = CHALLENGING if flags[0] in ("--threshold", "--baseline") else TAXONOMY
    assert re.search(message, fails(capsys, tmp_path, task, *flags))


@pytest.mark.parametrize(
    ("task", "flag"), [(TAXONOMY, "--threshold"), (TAXONOMY, "--baseline"), (CHALLENGING, "--top-k")]
)
def test_what_no_number_depends_on_is_refused_as_a_flag_and_ignored_as_a_variable(
    task, flag, capsys, tmp_path, monkeypatch
):
    assert f"unrecognized arguments: {flag}=1 (see --help)" in fails(capsys, tmp_path, task, f"{flag}=1")
    monkeypatch.setenv(flag.strip("-").replace("-", "_").upper(), "nothing of the kind")
    flags = ["tfidf", "--data", "sample", "--bootstrap", "0", "--out", str(tmp_path / "out"), "--quiet"]
    assert evaluate(task, flags) == 0
    with pytest.raises(SystemExit):
        evaluate(task, ["--help"])
    assert flag not in capsys.readouterr().out


def test_bad_variables_are_named_and_flags_win(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("TOP_K", "many")
    assert "TOP_K many: give a whole number" in fails(capsys, tmp_path, TAXONOMY)
    assert evaluate(TAXONOMY, ["tfidf", "--data", "sample", "--top-k", "3", "--out", str(tmp_path / "o")]) == 0
    assert "Categorical Purity at 3" in capsys.readouterr().out


def test_an_output_folder_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    line = fails(capsys, tmp_path, CHALLENGING, "--out", str(tmp_path / "file" / "results"))
    assert "can't be written (Not a directory); give another folder" in line


def test_a_broken_env_line_is_named_without_its_text(capsys, tmp_path, monkeypatch):
    env = tmp_path / ".env"
    env.write_text("TOP_K=5\nHF_TOKEN 'secret-value\n")
    monkeypatch.setattr(config, "ENV_FILE", env)
    line = fails(capsys, tmp_path, TAXONOMY)
    assert ".env: line 2 is not NAME=value" in line and "secret" not in line


def test_env_file_sets_and_the_shell_wins(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "ENV_FILE", tmp_path / ".env")
    config.ENV_FILE.write_text("# comment\nTOP_K=5\nTHRESHOLD=0.25\nDATA=\n")
    monkeypatch.setenv("THRESHOLD", "0.75")
    monkeypatch.setenv("MODEL", "")
    monkeypatch.setenv("TOP_K", "")  # counts as not set, and is put back as it was when the test ends
    config.load_environment()
    settings = [config.setting(name) for name in ("TOP_K", "THRESHOLD", "DATA", "MODEL")]
    assert settings == ["5", "0.75", "auto", "all-minilm-l6-v2"]


def test_the_hubs_token_is_taken_under_every_name_it_has(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))  # where `hf auth login` leaves one
    monkeypatch.setattr(config, "ENV_FILE", tmp_path / ".env")
    for name in config.TOKENS:
        config.ENV_FILE.write_text(f"OPENAI_API_KEY = sk-x\n{name} = hf_a\n")  # spaces, as in the official repository's
        config.load_environment()
        assert os.environ["HF_TOKEN"] == "hf_a" and os.environ["OPENAI_API_KEY"] == "sk-x"
        for key in (*config.TOKENS, "OPENAI_API_KEY"):
            os.environ.pop(key, None)


def test_env_example_lists_every_variable_with_its_default():
    from dotenv import dotenv_values

    values = dotenv_values(config.ROOT / ".env.example")
    assert values == {name: default for name, (default, *_) in config.VARIABLES.items()}
    ignored = (config.ROOT / ".gitignore").read_text().split()
    assert ".env" in ignored and ".env.example" not in ignored


def test_every_variable_that_is_read_is_documented():
    found = set()
    for path in [*config.ROOT.glob("utils/*.py"), *config.ROOT.glob("Safety_*/*.py")]:
        source = path.read_text()
        assert "os.environ" not in source or path.name == "config.py", f"{path.name} reads the environment"
        found |= set(re.findall(r'setting\("([A-Z_]+)"\)', source))
    assert found <= config.VARIABLES.keys()


FULL = "error: standard output or a file: can't be written (No space left on device); free some space\n"


@pytest.mark.parametrize(
    ("streams", "status", "error"),
    [
        ("| true", 141, ""),  # as a shell has it of a program that SIGPIPE ended
        (">/dev/full", 2, FULL),
        (">&-", 0, ""),
        (">/dev/full 2>&-", 2, ""),
        ("<&- >&- 2>&-", 0, ""),
    ],
)
def test_standard_streams_that_are_closed_or_full_end_in_no_traceback(streams, status, error):
    # bash ends with the status of the command, whatever reads its output. The table is longer than Python's buffer, so
    # that part of it fails while it is printed, not at exit.
    command = f'"{sys.executable}" -m utils.encoders {streams}; exit ${{PIPESTATUS[0]}}'
    run = subprocess.run(["bash", "-c", command], cwd=config.ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (status, error)


def test_build_data_says_what_was_found_where_and_under_which_licence(paper_data, capsys):
    def show(data, status=0):
        assert show_data(TAXONOMY, ["--data", data]) == status
        return capsys.readouterr()

    sample, paper = show("sample").out, show("paper").out
    assert "SAMPLE" in sample and "written for this project" in sample
    assert str(paper_data) in paper and "licence" in paper
    assert "arXiv 2308.13387" in paper
    bad = show("none.csv", 2)
    assert (bad.out, bad.err.count("\n")) == ("", 1)
