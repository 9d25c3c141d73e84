"""Each of the paper's encoders in a process of its own. A stand-in for Python reports what it was called with.

It lists $RUNNABLE as the plan, and an evaluation ends as $ENDS says: ENCODER=STATUS, 2 with a line of its own and 137
by the signal that Linux sends where memory runs out.
"""

import os
import runpy
import signal
import subprocess
import sys

import pytest

from utils import config
from utils.reproduce import __main__ as reproduce_main
from utils.results import result_file

STAND_IN = """#!/bin/bash
echo "call: ${*:2}" >&2
case "$2" in
    utils.reproduce) [ "${PLAN-0}" = 0 ] || exit "$PLAN"; printf '%s\\n' $RUNNABLE ;;
    *build_data) echo "a data sheet"; exit "${BUILD-0}" ;;
    scripts.paper_tasks)
        echo "an evaluation's own table"
        if [ "${WAIT-}" ]; then
            trap 'echo interrupted >&2; kill $! 2>/dev/null; exit 130' INT
            sleep 60 2>/dev/null &
            echo waiting >&2
            wait
        fi
        for end in ${ENDS-}; do
            [ "$3" = "--model=${end%=*}" ] || continue
            [ "${end#*=}" = 137 ] && kill -KILL $$
            [ "${end#*=}" = 2 ] && echo "why ${end%=*} failed" >"$SAFE_EMBED_ERROR_FILE"
            exit "${end#*=}"
        done ;;
esac
exit 0
"""
SETTING = "--data=paper --baseline=auto --top-k=10 --no-figures"


@pytest.fixture
def python(tmp_path):
    path = tmp_path / "python"
    path.write_text(STAND_IN)
    path.chmod(0o755)
    return path


@pytest.fixture
def reproduce(python, tmp_path, monkeypatch, capfd):
    """Runs the command with a stand-in; (exit status, standard output, calls of the stand-in, other lines)."""
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def run(*arguments, **variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        try:
            status = reproduce_main.main(["run", *arguments, f"--out={tmp_path}/out"])
        except SystemExit as end:
            status = end.code
        captured = capfd.readouterr()
        lines = captured.err.splitlines()
        calls = [line.removeprefix("call: ") for line in lines if line.startswith("call: ")]
        return status, captured.out, calls, [line for line in lines if not line.startswith("call: ")]

    return run


def evaluated(calls):
    return [call.split()[1].removeprefix("--model=") for call in calls if call.startswith("scripts.paper_tasks")]


def test_what_can_run_is_evaluated_in_the_papers_setting_one_process_each(reproduce, tmp_path, monkeypatch):
    monkeypatch.setenv("DTYPE", "bfloat16")
    chosen = ["st5-base", "st5-xl", "st5-xxl"]
    status, out, calls, lines = reproduce(
        *chosen, "--device", "cpu", "--no-cache", "--format", "csv", RUNNABLE="st5-base st5-xl"
    )
    choices = "--device=cpu --dtype=bfloat16"
    flags = f"{choices} --out={tmp_path}/out {SETTING} --no-cache"
    assert calls == [
        f"utils.reproduce plan st5-base st5-xl st5-xxl {choices}",
        "Safety_Challenging.build_data --data=paper",
        "Safety_Taxonomy.build_data --data=paper",
        f"scripts.paper_tasks --model=st5-base {flags}",
        f"scripts.paper_tasks --model=st5-xl {flags}",
    ]
    assert lines[:4] == [
        "a data sheet",
        "a data sheet",
        "reproduce.sh: Safety_Challenging and Safety_Taxonomy with st5-base",
        "reproduce.sh: Safety_Challenging and Safety_Taxonomy with st5-xl",
    ]
    # The stand-in leaves no result files, so there is nothing to compare.
    assert status == 3 and out == "" and "st5-base: no result in" in lines[4]
    assert [path.name for path in tmp_path.iterdir()] == ["python"], "no temporary files are left"


def test_an_encoder_that_fails_does_not_end_the_others(reproduce):
    names = ["st5-base", "st5-large", "st5-xl", "st5-xxl"]
    ends = "st5-base=2 st5-large=137 st5-xl=1"
    status, _, calls, lines = reproduce(*names, RUNNABLE=" ".join(names), ENDS=ends)
    assert status == 3 and evaluated(calls) == names
    assert lines[-4:-1] == [
        "st5-base failed: why st5-base failed",
        "st5-large failed: killed (exit status 137), most likely because memory ran out",
        "st5-xl failed: ended with exit status 1",
    ]
    assert lines[-1].startswith("incomplete: 4 of 4 not run and compared (st5-base, st5-large, st5-xl, st5-xxl)")


def test_bad_usage_starts_nothing(reproduce):
    assert reproduce("nonsense", RUNNABLE="st5-base")[0::2] == (2, [])


def test_ctrl_c_ends_the_evaluation_and_the_whole(python):
    code = (
        "import signal, sys; from utils.reproduce.__main__ import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background\n"
        f"sys.executable = {str(python)!r}; sys.exit(main())"
    )
    environment = {**os.environ, "RUNNABLE": "st5-base st5-xl", "WAIT": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", code, "run", "st5-base", "st5-xl"],
        cwd=config.ROOT, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as run:  # fmt: skip
        while "waiting" not in (line := run.stderr.readline()):
            assert line, "it ended by itself"
        os.killpg(run.pid, signal.SIGINT)
        assert run.stderr.read() == "interrupted\n", "reported once, and nothing else is begun"
        assert run.wait() == 130


def test_one_process_evaluates_both_tasks(tmp_path, monkeypatch, capsys):
    flags = ["--model=tfidf", "--data=sample", f"--out={tmp_path}", "--limit=24", "--bootstrap=0", "--baseline=own"]
    monkeypatch.setattr(sys, "argv", ["paper_tasks", *flags])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("scripts.paper_tasks", run_name="__main__")
    assert end.value.code == 0
    for task in ("safety_challenging", "safety_taxonomy"):
        assert result_file.read_result(result_file.result_path(tmp_path, "sample", task, "tfidf")).task == task
    assert "sha256" not in capsys.readouterr().err, "the data have been described before"
