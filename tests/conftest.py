"""Keeps a person's own settings, store and results out of the tests."""

import os
import shutil
from pathlib import Path

# Tests run several at a time. Threads of OpenMP that wait for a core spin, so that each would cost more than it saves.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from doubles import Scattered
from filelock import FileLock
from hypothesis import settings
from matplotlib.layout_engine import ConstrainedLayoutEngine

from utils import config
from utils.encoders import loading
from utils.evaluation import run
from utils.figures import style
from utils.schema import CONTROLS

os.environ["HF_HUB_OFFLINE"] = "1"
# Before any test module is read: a test keeps the profile that it was decorated under.
settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=30)
settings.load_profile("fixed")
PAPER_DATA = Path(os.environ.get("SAFE_EMBED_DATA_DIR") or config.ROOT.parent / "shared" / "data")
LAY_OUT, MAKE_ROOM, DRAW = ConstrainedLayoutEngine.execute, style._make_room, run.draw


@pytest.fixture(autouse=True)
def own_settings_only(monkeypatch, tmp_path_factory):
    for name in config.VARIABLES:
        if name != "HF_HUB_OFFLINE":
            monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("SAFE_EMBED_CALLED_FROM_DIR", raising=False)
    monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(config, "ENV_FILE", Path("/nonexistent/.env"))


@pytest.fixture(scope="session", autouse=True)
def plain_figures():
    """Figures without a layout, detectors' cards and runs without figures: drawing them takes most of the time.

    A test that looks at figures has the fixture laid_out, and one that looks at those of runs the fixture drawn_runs.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConstrainedLayoutEngine, "execute", lambda engine, figure: None)
        patch.setattr(style, "_make_room", lambda figure: None)
        for name in ("scores_figure", "reliability_figure"):
            patch.setattr(f"Safety_Detection.guardrail.card.{name}", lambda *_: "<svg></svg>")
        patch.setattr(run, "draw", lambda *_: None)
        yield


@pytest.fixture
def drawn_runs(monkeypatch):
    """Runs draw their figures."""
    monkeypatch.setattr(run, "draw", DRAW)


@pytest.fixture(scope="module")
def laid_out():
    """Figures in their real layout, from the first test of a module that has this fixture to its last one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConstrainedLayoutEngine, "execute", LAY_OUT)
        patch.setattr(style, "_make_room", MAKE_ROOM)
        yield


@pytest.fixture
def paper_data(monkeypatch):
    """The paper's own files, where this machine has them."""
    if not PAPER_DATA.is_dir():
        pytest.skip("the paper's data is not on this machine")
    monkeypatch.setenv("SAFE_EMBED_DATA_DIR", str(PAPER_DATA))
    return PAPER_DATA


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Makes a folder of this name by a function of it, the first time that a worker asks for it."""

    def made(name, make):
        above = tmp_path_factory.getbasetemp()
        folder = (above.parent if "PYTEST_XDIST_WORKER" in os.environ else above) / name
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                make(begun := folder.with_suffix(".begun"))
                begun.rename(folder)
        return folder

    return made


@pytest.fixture(scope="session")
def made_results(made_once):
    """What sample_results are copied from."""
    return made_once("made", _results)


def _results(folder):
    from Safety_Challenging.evaluate import TASK as CHALLENGING
    from Safety_Contrast.evaluate import TASK as CONTRAST
    from Safety_Taxonomy.evaluate import TASK as TAXONOMY
    from utils.evaluation.run import evaluate_all

    with pytest.MonkeyPatch.context() as patch:
        for name in config.VARIABLES:  # a session's fixture comes before a test's own
            if name != "HF_HUB_OFFLINE":
                patch.delenv(name, raising=False)
        patch.setattr(config, "ENV_FILE", Path("/nonexistent/.env"))
        patch.setenv("SAFE_EMBED_CACHE_DIR", str(folder / "cache"))
        flags = ["--data", "sample", "--quiet", "--out", str(folder), "--bootstrap", "1000"]
        flags += ["--model", "all-minilm-l6-v2"]
        assert evaluate_all([CHALLENGING, CONTRAST, TAXONOMY], "tests", flags) == 0


@pytest.fixture(scope="module")
def sample_results(made_results, tmp_path_factory):
    """Results of the three tasks on the sample, of MiniLM and the controls, and their store; a module's own copy."""
    folder = tmp_path_factory.mktemp("results")
    shutil.copytree(made_results, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture
def sample_store(sample_results, monkeypatch):
    """The embedding store of sample_results, for the length of a test."""
    monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(sample_results / "cache"))


@pytest.fixture
def no_model(monkeypatch):
    """A stand-in for every encoder that would load a model, where a test does not look at what the encoder knows."""
    load = loading.load
    monkeypatch.setattr(loading, "load", lambda spec: load(spec) if spec.name in CONTROLS else Scattered())
