"""The scripts as a person uses them: sourced and run, from bash and zsh, in a path with spaces.

A stand-in for Python prints what it was called with, so that the shell's part is looked at alone.
"""

import os
import re
import runpy
import shutil
import subprocess
import sys
import warnings

import pytest

from utils import config
from utils.encoders.paper import paper_figures

SHELLS = [
    pytest.param(shell, marks=pytest.mark.skipif(not shutil.which(shell), reason=f"{shell} is not installed"))
    for shell in ("bash", "zsh")
]
SETTINGS, SCRIPTS = tuple(config.VARIABLES), config.ROOT / "scripts"
STAND_IN = """#!/bin/bash
[ "$1" = -c ] && exit 0
exec >&2 # what a step that builds data writes to standard output is not shown
echo "call: $*"
echo "in: $PWD from: ${SAFE_EMBED_CALLED_FROM_DIR-}"
for name in {names}; do
    [ -n "${!name-}" ] && echo "$name=${!name}"
done
[ "${FAIL-}" ] && [[ "$*" == *evaluate* || "$*" == *all_tasks* ]] && exit 2
exit 0
""".replace("{names}", " ".join(SETTINGS))


@pytest.fixture
def house(tmp_path):
    """A copy of the scripts in a path with spaces, with an environment that counts as set up."""
    root = tmp_path / "a path with spaces"
    shutil.copytree(config.ROOT / "scripts", root / "scripts")
    for name in ("setup.sh", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(config.ROOT / name, root / name)
    python = root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(STAND_IN)
    python.chmod(0o755)
    shutil.copy(root / "requirements.txt", root / ".venv" / "safe-embed-requirements.txt")
    return root


def shell(name, text, cwd="/", more=(), typed=None, **variables):
    """Runs `text` in a shell that reads no start-up file; stdout and stderr in one.

    more: further arguments of the shell. typed: in the place of `text`, what the shell reads.
    """
    flags = {"bash": ["--noprofile", "--norc"], "zsh": ["-f"]}[name]
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
    return subprocess.run(
        [name, *flags, *(["-c", text] if typed is None else []), *more],
        cwd=cwd,
        env=environment,
        input=typed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("task", ["challenging", "contrast", "taxonomy"])
def test_sourced_from_another_folder_it_builds_then_evaluates(house, name, task):
    run = shell(name, f"source '{house}/scripts/safety_{task}.sh' st5-xl --top-k 5; echo status $? in $PWD")
    package = f"Safety_{task.capitalize()}"
    calls = [line for line in run.stdout.splitlines() if line.startswith("call")]
    assert calls == [f"call: -m {package}.{step} st5-xl --top-k 5" for step in ("build_data", "evaluate")]
    assert f"in: {house} from: /" in run.stdout
    assert run.stdout.endswith("status 0 in /\n") and "takes no arguments" not in run.stdout


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize(
    "how", ["{settings} source script", "{settings}; source script", "export {settings}; . script"]
)
def test_settings_reach_the_evaluation_however_they_are_given(house, name, how):
    settings = " ".join(f"{variable}=v{i}" for i, variable in enumerate(SETTINGS))
    text = how.replace("script", f"'{house}/scripts/safety_taxonomy.sh'").format(settings=settings)
    run = shell(name, text)
    for i, variable in enumerate(SETTINGS):
        assert run.stdout.count(f"{variable}=v{i}\n") == 2, (variable, run.stdout)


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("options", ["", "set -u", "set -o noglob", "set -f -u", "set -o ksharrays 2>/dev/null"])
def test_the_shell_survives_a_failing_step_with_its_options_intact(house, name, options):
    script = f"'{house}/scripts/safety_taxonomy.sh'"
    run = shell(
        name, f'{options or ":"}; b=$(set -o); source {script}; s=$?; [ "$b" = "$(set -o)" ] && echo same $s', FAIL="1"
    )
    assert run.stdout.endswith("same 2\n"), run.stdout


@pytest.mark.parametrize("name", SHELLS)
def test_status_in_chains_and_under_errexit(house, name):
    script = f"'{house}/scripts/safety_taxonomy.sh'"
    assert shell(name, f"source {script} || echo failed $?", FAIL="1").stdout.endswith("failed 2\n")
    assert shell(name, f"source {script} && echo went on", FAIL="1").stdout.count("went on") == 0
    run = shell(name, f"set -e; source {script} || true; echo alive", FAIL="1")
    assert run.stdout.endswith("alive\n")


def ways_inside(house, script):
    """Texts that source a script where its arguments may be those of what sources it."""
    wrapper = house / "wrapper"
    wrapper.write_text(f"echo first line\nsource {script}\n")
    return {
        "a script's arguments": f"source '{wrapper}' exp1 --for-us",
        "those that a script gives": f"echo 'source {script} tfidf' > '{wrapper}2'; source '{wrapper}2'",
        "through a variable": f"echo 's={script}; source \"$s\"' > '{wrapper}3'; source '{wrapper}3' exp1",
        "a function's": f"f() {{ source {script}; }}; f exp1",
    }


@pytest.mark.parametrize("name", SHELLS)
def test_arguments_that_may_be_the_callers_are_not_taken_and_that_is_said(house, name):
    for way, text in ways_inside(house, f'"{house}/scripts/safety_taxonomy.sh"').items():
        run = shell(name, f"{text}; echo status $?")
        assert "call: -m Safety_Taxonomy.evaluate\n" in run.stdout and run.stdout.endswith("status 0\n"), way
        line = "safety_taxonomy.sh: takes no arguments here, as they may be those of what sources it; set MODEL=... "
        assert run.stdout.count(line) == 1, way


@pytest.mark.parametrize("name", SHELLS)
def test_arguments_of_the_shell_itself_are_not_taken(house, name):
    text = f'source "{house}/scripts/safety_taxonomy.sh"'
    for run in (shell(name, text, more=[name, "exp1"]), shell(name, "", more=["-s", "exp1"], typed=text)):
        assert "call: -m Safety_Taxonomy.evaluate\n" in run.stdout and "takes no arguments here" in run.stdout


@pytest.mark.parametrize("name", SHELLS)
def test_arguments_at_a_prompt_are_taken(house, name):
    text = f"source '{house}/scripts/safety_taxonomy.sh' tfidf --limit 24\n"
    run = shell(name, "", more=["-i"], typed=text)
    assert "call: -m Safety_Taxonomy.evaluate tfidf --limit 24\n" in run.stdout


@pytest.mark.parametrize("name", SHELLS)
def test_all_runs_every_task_and_the_report_as_one_program(house, name):
    run = shell(name, f"MODEL=tfidf source '{house}/scripts/all.sh' --limit 24; echo status $?")
    calls = [line for line in run.stdout.splitlines() if line.startswith("call:")]
    assert calls == ["call: -m scripts.all_tasks --limit 24"]
    assert run.stdout.count("MODEL=tfidf") == 1 and run.stdout.endswith("status 0\n")
    assert "from: /\n" in run.stdout and "from: /a" not in run.stdout


def ran(monkeypatch, module, *arguments):
    """The exit status of `python -m module`, in this process."""
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(SystemExit) as ended, warnings.catch_warnings(action="ignore"):
        runpy.run_module(module, run_name="__main__", alter_sys=False)
    return ended.value.code


def test_all_makes_a_report_of_a_run_that_went_well(tmp_path, monkeypatch, capsys):
    flags = ["tfidf", "--limit", "24", "--bootstrap", "0", "--quiet", "--no-figures", "--data", "sample"]
    flags += ["--out", str(tmp_path), "--baseline", "own"]
    assert ran(monkeypatch, "scripts.all_tasks", *flags) == 0
    *_, said, _ = (out := capsys.readouterr().out).splitlines()
    assert said == f"report on sample: {tmp_path}/sample/report.html (open it in a browser)"
    assert "Findings" not in out and (tmp_path / "sample" / "report.html").is_file()
    (tmp_path / "sample" / "report.html").unlink()
    assert ran(monkeypatch, "scripts.all_tasks", *flags, "--top-k", "0") == 2
    assert not (tmp_path / "sample" / "report.html").exists()


@pytest.mark.parametrize("name", SHELLS)
def test_reproduce_is_one_program_that_gets_the_arguments_and_sets_the_status(house, name):
    script = f"source '{house}/scripts/reproduce.sh'"
    run = shell(name, f"{script} st5-xl --out 'a b'; echo $? in $PWD")
    assert [line for line in run.stdout.splitlines() if line.startswith("call:")] == [
        "call: -m utils.reproduce run st5-xl --out a b"
    ]
    assert "from: /\n" in run.stdout and run.stdout.endswith("0 in /\n")
    (house / ".venv" / "bin" / "python").write_text("#!/bin/bash\nexit 3\n")
    assert shell(name, f"{script}; echo $?").stdout == "3\n"


@pytest.mark.parametrize("name", SHELLS)
def test_setup_a_second_time_changes_nothing(house, name):
    before = {path: path.stat().st_mtime_ns for path in house.rglob("*")}
    (house / ".venv" / "bin" / "python").chmod(0o755)
    run = shell(name, f"source '{house}/setup.sh'; echo status $? ${{VIRTUAL_ENV-none}}")
    assert run.stdout.splitlines() == [f"Safe-Embed: {house}/.venv is up to date", "status 0 none"]
    assert {path: path.stat().st_mtime_ns for path in house.rglob("*")} == before


def test_setup_without_a_new_enough_python_fails_with_one_line(house, tmp_path):
    shutil.rmtree(house / ".venv")
    old = tmp_path / "bin"
    old.mkdir()
    for tool in ("bash", "dirname", "cmp", "sed", "df", "awk"):
        (old / tool).symlink_to(shutil.which(tool))
    (old / "python3").write_text('#!/bin/bash\n[ "$1" = --version ] && echo Python 3.9.2 && exit\nexit 1\n')
    (old / "python3").chmod(0o755)
    run = subprocess.run(["bash", str(house / "setup.sh")], env={"PATH": str(old)}, capture_output=True, text=True)
    assert run.returncode == 2 and run.stdout == ""
    assert (
        run.stderr == "setup.sh: no Python 3.11 or newer on the PATH (found: Python 3.9.2); install one and run again\n"
    )


@pytest.mark.parametrize(
    ("pip", "message"),
    [
        (
            "echo 'ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device'",
            "disk is full",
        ),
        ("echo 'WARNING: Retrying after connection broken by NewConnectionError'", "no network: pip could not reach"),
        ("echo 'ERROR: something else'", "pip could not install requirements.txt: ERROR: something else"),
    ],
)
def test_setup_that_fails_says_why_in_one_line_and_is_tried_again(house, pip, message):
    (house / ".venv" / "bin" / "python").write_text(f'#!/bin/bash\n[ "$2" = pip ] && {{ {pip}; exit 1; }}\nexit 0\n')
    (house / ".venv" / "safe-embed-requirements.txt").unlink()
    run = subprocess.run(
        ["bash", str(house / "setup.sh")], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert message in run.stderr and run.stderr.count("\n") == 1
    assert not (house / ".venv" / "safe-embed-requirements.txt").exists()


def test_first_use_sets_up(house):
    (house / ".venv" / "safe-embed-requirements.txt").unlink()
    run = shell("bash", f"source '{house}/scripts/safety_taxonomy.sh'")
    assert "installing the packages of requirements.txt" in run.stdout
    assert (house / ".venv" / "safe-embed-requirements.txt").exists()
    assert "call: -m Safety_Taxonomy.evaluate" in run.stdout
    log = (house / ".venv" / "safe-embed-setup.log").read_text()
    assert "call: -m pip install" in log and "-r requirements.txt" in log


def test_the_active_environment_is_used(house, tmp_path):
    active = tmp_path / "active env"
    shutil.copytree(house / ".venv", active)
    (active / "bin" / "python").write_text(STAND_IN.replace("call:", "active call:"))
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        run = shell("bash", f"source '{house}/scripts/safety_taxonomy.sh'", **{variable: str(active)})
        assert "active call: -m Safety_Taxonomy.evaluate" in run.stdout


def test_help_of_the_tests_installs_nothing_and_they_are_not_sourced(house):
    shutil.rmtree(house / ".venv")
    run = shell("bash", f"bash '{house}/scripts/test.sh' --help; echo $?")
    what, usage, status = run.stdout.splitlines()
    assert what.startswith("Sets up and runs every check") and status == "0"
    assert usage == "Usage: bash scripts/test.sh [PYTEST ARGUMENTS]"
    assert not (house / ".venv").exists()
    run = shell("bash", f"source '{house}/scripts/test.sh'; echo $? and alive")
    assert run.stdout == "run it: bash scripts/test.sh\n2 and alive\n"


# No command of a user's, or in test_help_of_the_tests_installs_nothing_and_they_are_not_sourced.
OF_OTHERS = {"test.sh", "run.sh", "environment.sh"}
# Script to the command whose flags it takes.
TAKEN_BY = {
    "safety_challenging.sh": "Safety_Challenging.evaluate",
    "safety_contrast.sh": "Safety_Contrast.evaluate",
    "safety_detection.sh": "Safety_Detection.evaluate",
    "safety_taxonomy.sh": "Safety_Taxonomy.evaluate",
    "safety_tuning.sh": "Safety_Tuning.tune",
    "all.sh": "scripts.all_tasks",
    "compare.sh": "utils.compare",
    "get_contrast_set.sh": "Safety_Contrast.build_data get",
    "reproduce.sh": "utils.reproduce run",
}


@pytest.mark.parametrize("script", sorted({path.name for path in SCRIPTS.glob("*.sh")} - OF_OTHERS))
def test_help_without_an_environment_installs_nothing_and_names_the_variables(house, script, monkeypatch, capsys):
    shutil.rmtree(house / ".venv")
    before = sorted(house.rglob("*"))
    run = shell("bash", f"bash '{house}/scripts/{script}' --help; echo $?")
    assert run.stdout.endswith("once the packages are installed: source setup.sh\n0\n")
    assert "shellcheck" not in run.stdout and f"scripts/{script}" in run.stdout
    assert sorted(house.rglob("*")) == before
    module, *command = TAKEN_BY[script].split()
    package = f"{module}.__main__" if (config.ROOT / module.replace(".", "/")).is_dir() else module
    assert ran(monkeypatch, package, *command, "--help") == 0
    asked = capsys.readouterr().out
    variables = {name for name in config.VARIABLES if re.search(rf"variable {name}\b", asked)}
    assert variables <= set(re.findall(r"[A-Z_]{3,}", run.stdout.split("Variables:")[1]))
    if script == "reproduce.sh":
        listed = "".join(asked.split())  # the help breaks lines at hyphens
        assert all(name in run.stdout and name in listed for name in paper_figures()) and len(paper_figures()) == 11
