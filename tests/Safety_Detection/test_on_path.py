"""A detector loaded from another project, whose packages have the names of ours."""

import json
import os
import subprocess
import sys

import pytest
from checkpoints import sentence_bert

from Safety_Detection import fit
from Safety_Detection.guardrail.saved import load_detector
from utils.config import ROOT

ON_PATH = ROOT / "integrations" / "on_path"
TEXTS = ["a bad thing", "something good", "bad or good"]
# A child process unpickles a verdict, so it has to find its class.
USE = """
import utils
from utils.files import mine
import Safety_Detection
from safe_embed import load_detector
import json, multiprocessing, pickle, sys
from dataclasses import asdict, replace

def sent(verdict):
    return pickle.dumps(replace(verdict, flagged=True))

if __name__ == "__main__":
    guard = load_detector(sys.argv[1])
    verdicts = guard.score(sys.argv[2:], nearest=2)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        back = pickle.loads(pool.apply(sent, (verdicts[0],)))
    assert back == replace(verdicts[0], flagged=True)
    import utils.files, utils.more
    theirs = [utils.__file__, Safety_Detection.__file__, mine(), utils.files.mine(), utils.more.MORE]
    print(json.dumps([[asdict(one) for one in verdicts], theirs]))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a package `utils` and a module `Safety_Detection` of its own."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "utils").mkdir()
    (folder / "utils" / "__init__.py").write_text("")
    (folder / "utils" / "files.py").write_text("def mine():\n    return 'mine'\n")
    (folder / "utils" / "more.py").write_text("from utils.files import mine\nMORE = mine() + ' too'\n")
    (folder / "Safety_Detection.py").write_text("")
    return folder


def run(project, source, *arguments):
    (project / "use.py").write_text(source)
    environment = {**os.environ, "PYTHONPATH": str(ON_PATH)}
    command = [sys.executable, str(project / "use.py"), *arguments]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_detector_is_loaded_beside_packages_of_the_same_names(tmp_path, project):
    rows = [f"{'bad' if i % 2 else 'good'} or thing {i} {s}{i},{i % 2},{s},{s}{i}" for s in "xy" for i in range(40)]
    (tmp_path / "labelled.csv").write_text("\n".join(["prompt,label,set,group", *rows]) + "\n")
    name, folder = str(sentence_bert(tmp_path / "checkpoint")), str(tmp_path / "detector")
    data = str(tmp_path / "labelled.csv")
    assert fit.main(["--data", data, "--model", name, "--out", folder, "--no-cache", "--quiet"]) == 0
    verdicts, theirs = json.loads(run(project, USE, folder, *TEXTS))
    expected = load_detector(folder).score(TEXTS, nearest=2)
    assert [one["score"] for one in verdicts] == pytest.approx([one.score for one in expected], abs=1e-6)
    assert [[near["id"] for near in one["nearest"]] for one in verdicts] == [
        [near.id for near in one.nearest] for one in expected
    ]
    assert [one["probability"] for one in verdicts] == pytest.approx([one.probability for one in expected], abs=1e-6)
    package, module = str(project / "utils" / "__init__.py"), str(project / "Safety_Detection.py")
    assert theirs == [package, module, "mine", "mine", "mine too"]


def test_no_module_takes_or_leaves_a_name_of_the_project(project):
    """All that a detector may import, also later, inside functions; command lines and what needs an extra aside."""
    paths = [path for name in ("utils", "Safety_Detection") for path in sorted((ROOT / name).rglob("*.py"))]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    wanted = [name for name in modules if "__" not in name and name not in ("Safety_Detection.server.application",)]
    source = f"import importlib, json, sys\nimport safe_embed\nfor name in {wanted!r}:\n"
    source += "    importlib.import_module('safe_embed.' + name)\n"
    source += "print(json.dumps([list(sys.modules), safe_embed.utils.files.__file__]))\n"
    loaded, file = json.loads(run(project, source))
    assert {f"safe_embed.{name}" for name in wanted} <= set(loaded)
    assert not [name for name in loaded if name.partition(".")[0] in ("utils", "Safety_Detection")]
    assert file == str(ROOT / "utils" / "files.py")


def test_the_folder_puts_nothing_else_on_the_path():
    assert [path.name for path in ON_PATH.iterdir() if path.name != "__pycache__"] == ["safe_embed.py"]
