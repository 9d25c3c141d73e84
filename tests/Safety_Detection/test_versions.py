"""The versions of a detector: each stays as it was written, none is lost, and one counts whatever happens."""

import json
import os
import shutil
import signal
import sys

import pytest
from filelock import lock_descriptor

from Safety_Detection import fit
from Safety_Detection.guardrail import saved, versions
from Safety_Detection.guardrail.saved import load_detector
from Safety_Detection.guardrail.versions import home


@pytest.fixture
def folder(tmp_path):
    rows = [f"{'bad' if i % 2 else 'good'} thing {i} {s}{i},{i % 2},{s}" for s in "xy" for i in range(20)]
    (tmp_path / "labelled.csv").write_text("\n".join(["prompt,label,set", *rows]) + "\n")
    assert fitted(tmp_path) == 0
    return tmp_path / "detector"


def fitted(tmp_path, *flags):
    arguments = ["--data", tmp_path / "labelled.csv", "--model", "random", "--no-cache", "--out", tmp_path / "detector"]
    return fit.main([*map(str, arguments), "--quiet", *flags])


def incident(folder, name):
    """The flags that add one incident to a detector."""
    path = folder.parent / f"{name}.csv"
    path.write_text(f"prompt,label\nan incident {name},1\n")
    return ["--detector", str(folder), "--add", str(path), "--no-cache"]


def add(folder, name):
    assert fit.main([*incident(folder, name), "--quiet"]) == 0


def back(folder, capsys, status=0):
    capsys.readouterr()
    assert fit.main(["--detector", str(folder), "--back"]) == status
    return capsys.readouterr().err


def started(arguments, killed_at=0, close=()):
    """A process that fits, a copy of this one, which has imported everything, and its standard error.

    killed_at: it is killed instead of writing its nth file through to the disk. close: files that it does not keep
    open, as a lock on them is held by every process that does.
    """
    reader, writer = os.pipe()
    process = os.fork()
    if process:
        os.close(writer)
        return process, os.fdopen(reader)
    status, whole, left = 1, os.fsync, iter(range(killed_at - 1, -1, -1))

    def fsync(descriptor):
        if next(left, 1) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        whole(descriptor)

    try:
        for stream in close:
            os.close(stream.fileno())
        signal.alarm(60)
        os.dup2(writer, 2)
        sys.stderr, os.fsync = os.fdopen(2, "w", buffering=1), fsync
        status = fit.main(arguments)
    finally:
        os._exit(status)


def ended(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def card(folder, number=None):
    return json.loads((home(folder, number) / "detector.json").read_text())


def added(folder):
    return [item for item in saved.load(folder).bank.dataset.ids if item[:2] not in ("x:", "y:")]


def tree(folder):
    files = [path for path in folder.rglob("[!.]*") if path.is_file() and path.name != versions.NUMBERS]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_going_back_follows_what_a_version_followed_and_loses_none(folder, capsys):
    for name in "abc":
        add(folder, name)
    kept = tree(folder / "versions")
    assert added(folder) == ["a:1", "b:1", "c:1"] and {name.split("/")[0] for name in kept} == set("1234")
    said = back(folder, capsys)
    assert f"{folder} is version 3 again: logistic regression on random, fitted on 42 prompts (" in said
    assert "); version 4 stays in versions/4" in said and added(folder) == ["a:1", "b:1"]
    back(folder, capsys)
    assert added(folder) == ["a:1"] and tree(folder / "versions") == kept
    # What is added now follows 2, and no number is given again, be the version with it deleted or not.
    add(folder, "d")
    assert added(folder) == ["a:1", "d:1"] and (card(folder)["version"], card(folder)["parent"]) == (5, 2)
    assert "version 2 again" in back(folder, capsys)
    shutil.rmtree(home(folder, 5))
    # A fit into the folder is a version as well, and an update of it goes back to it, not to an update of another.
    assert fitted(folder.parent, "--detector", "nearest_unsafe") == 0
    add(folder, "e")
    assert home(folder).name == "7" and added(folder) == ["e:1"]
    assert "is version 6 again: nearest unsafe on random, fitted on 40 prompts" in back(folder, capsys)
    assert "is version 2 again: logistic regression on random, fitted on 41 prompts" in back(folder, capsys)
    assert "is version 1 again" in back(folder, capsys)
    said = back(folder, capsys, status=2)
    assert said == f"error: --back: version 1 of {folder} followed none; there is nothing to go back to\n"
    assert home(folder).name == "1" and tree(folder / "versions").items() >= kept.items()


def test_updates_at_once_wait_for_each_other_and_none_is_lost(folder):
    with (folder / "versions" / versions.NUMBERS).open("a+b") as stream:
        assert lock_descriptor(stream.fileno(), blocking=False)
        updates = [started(incident(folder, name), close=[stream]) for name in "ab"]
        for _, said in updates:
            assert "waiting for another run, which writes in" in said.readline()
    assert [ended(process) for process, _ in updates] == [0, 0]
    assert sorted(added(folder)) == ["a:1", "b:1"] and (home(folder).name, card(folder)["parent"]) == ("3", 2)


# An update writes through the number, the six files of the version, and which one counts.
@pytest.mark.parametrize("nth", [4, 8])
def test_a_kill_leaves_the_version_before(folder, capsys, nth):
    before = tree(home(folder)), card(folder)
    assert ended(started(incident(folder, "a"), killed_at=nth)[0]) == -signal.SIGKILL
    assert home(folder).name == "1" and (tree(home(folder)), card(folder)) == before
    assert load_detector(folder).threshold == card(folder)["threshold"]
    left = [path.name for path in (folder / "versions").glob("*2*")]
    assert left == ([".2.part"] if nth == 4 else ["2"])
    add(folder, "b")
    assert added(folder) == ["b:1"] and home(folder).name == "3" and "version 1 again" in back(folder, capsys)
    assert not list((folder / "versions").glob(".*.part"))


def test_a_file_that_says_nothing_is_one_line(folder, capsys):
    message = f" {folder}: current holds no number; write that of one of its versions into it\n"
    for content in ("", "two", "-1", "²", "1 2", "9" * 5000):
        (folder / "current").write_text(content)
        assert fit.main(incident(folder, "a")) == 2
        assert capsys.readouterr().err == f"error: --detector{message}"
    assert fitted(folder.parent) == 2 and capsys.readouterr().err == f"error: --out{message}"
    (folder / "current").write_text("1\r\n")  # as an editor may leave it
    assert added(folder) == []


def test_a_version_that_is_damaged_is_left_with_one_command(folder, capsys):
    add(folder, "a")
    arrays = home(folder) / "detector.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-1])
    assert fit.main(incident(folder, "b")) == 2
    assert capsys.readouterr().err == (
        f"error: --detector {folder}: versions/2/detector.safetensors was altered since it was written; fit the "
        "detector again, or write the number of another version into current\n"
    )
    first = home(folder, 1) / "bank.json"
    content = first.read_bytes()
    first.write_bytes(content + b" ")
    assert "versions/1/bank.json was altered" in back(folder, capsys, status=2) and home(folder).name == "2"
    first.write_bytes(content)
    assert "is version 1 again" in back(folder, capsys) and added(folder) == []


def test_a_version_is_never_changed(folder, capsys):
    assert versions.current(home(folder)) == 0, "but it can be read by itself"
    kept = tree(folder)
    assert fit.main([*incident(folder, "a"), "--detector", str(home(folder))]) == 2
    assert fitted(folder.parent, "--out", str(home(folder))) == 2
    assert capsys.readouterr().err == "".join(
        f"error: {flag} {home(folder)}: is a version, which is never changed; give {folder}\n"
        for flag in ("--detector", "--out")
    )
    assert tree(folder) == kept
