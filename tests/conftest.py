"""Keeps a person's own settings, store and results out of the tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from utils import config

os.environ["HF_HUB_OFFLINE"] = "1"
# Before any test module is read: a test keeps the profile that it was decorated under.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")
PAPER_DATA = config.ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def own_settings_only(monkeypatch, tmp_path_factory):
    for name in config.VARIABLES:
        if name != "HF_HUB_OFFLINE":
            monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("SAFE_EMBED_CALLED_FROM_DIR", raising=False)
    monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(config, "ENV_FILE", Path("/nonexistent/.env"))


@pytest.fixture
def paper_data(monkeypatch):
    """The paper's own files, where this machine has them."""
    if not PAPER_DATA.is_dir():
        pytest.skip("the paper's data is not on this machine")
    monkeypatch.setenv("SAFE_EMBED_DATA_DIR", str(PAPER_DATA))
    return PAPER_DATA


@pytest.fixture(scope="module")
def sample_results(tmp_path_factory):
    """Results of the three tasks on the sample, of MiniLM and the controls; their store is the module's."""
    from Safety_Challenging.evaluate import TASK as CHALLENGING
    from Safety_Contrast.evaluate import TASK as CONTRAST
    from Safety_Taxonomy.evaluate import TASK as TAXONOMY
    from utils.evaluation import run as evaluation_run

    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        for name in config.VARIABLES:  # a module's fixture comes before a test's own
            if name != "HF_HUB_OFFLINE":
                patch.delenv(name, raising=False)
        patch.setattr(config, "ENV_FILE", Path("/nonexistent/.env"))
        patch.setenv("SAFE_EMBED_CACHE_DIR", str(folder / "cache"))
        for task in (CHALLENGING, CONTRAST, TAXONOMY):
            arguments = ["--data", "sample", "--quiet", "--out", str(folder), "--bootstrap", "1000"]
            assert evaluation_run.evaluate(task, [*arguments, "--model", "all-minilm-l6-v2"]) == 0
    return folder


@pytest.fixture
def sample_store(sample_results, monkeypatch):
    """The embedding store of sample_results, for the length of a test."""
    monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(sample_results / "cache"))
