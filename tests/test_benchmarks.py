"""Every script of benchmarks/, where what it needs is missing: one line that says what to do."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from benchmarks import guardrail, intervals
from utils.config import ROOT

SCRIPTS = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))
# What is missing, and the error: of the data where there is no network, of a package, of a GPU, or of a flag's sense.
MISSING = {
    "contrast_set": (["--concurrency", "0"], "--concurrency 0: give a whole number of at least 1"),
    "corpus": ([], "Ray, one of the three that are measured, is missing: pip install -r requirements-ray.txt"),
    "detection": ([], "Safety_Detection.evaluate ended with status 2: contrast_parsed.jsonl: "),
    "gpu_encode": ([], "--device cuda: this machine has 0 CUDA GPUs; --device cpu --tiny tries the script"),
    "guardrail": (["--texts", "many"], "--texts many: give a whole number of at least 1"),
    "intervals": (["--draws", "many"], "--draws many: give a whole number of at least 2"),
    "killed_runs": ([], "Safety_Contrast.evaluate ended with status 2: contrast_parsed.jsonl: "),
    "latency": (["--texts", "many"], "--texts many: give a whole number of at least 1"),
    "naive": (["pairs", "nowhere"], "average_similarity.json: no such file; benchmarks/tasks.py runs all steps"),
    "neighbors": ([], "faiss, which ours is measured against, is missing: pip install -r requirements-bench.txt"),
    "score": (["--rows", "many"], "--rows many: give a whole number of at least 1"),
    "serve": ([], "FastAPI, which the server needs, is missing: pip install -r requirements-serve.txt"),
    "tasks": ([], "xstest_aug.csv: "),
    "taxonomy_memory": (["--prompts", "many"], "--prompts many: give a whole number of at least 24"),
}
OFFLINE = "http://127.0.0.1:9"  # nobody listens there


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The program without data, and a Python without faiss, Ray and FastAPI, a network and a GPU."""
    root = tmp_path_factory.mktemp("bare")
    for folder in ("benchmarks", "utils", *(path.name for path in ROOT.glob("Safety_*"))):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "tests").mkdir()
    for name in ("chat_server.py", "checkpoints.py"):
        shutil.copy(ROOT / "tests" / name, root / "tests" / name)
    without = root / "without"
    without.mkdir()
    (without / "sitecustomize.py").write_text(
        'import sys\nsys.modules.update(dict.fromkeys(["faiss", "ray", "fastapi"]))\n'
    )
    environment = {**os.environ, "PYTHONPATH": str(without), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    environment |= {"HTTPS_PROXY": OFFLINE, "HTTP_PROXY": OFFLINE, "https_proxy": OFFLINE, "http_proxy": OFFLINE}
    environment |= {"SAFE_EMBED_CACHE_DIR": str(root / "cache"), "SAFE_EMBED_DATA_DIR": ""}
    return root, environment


def test_every_script_is_tried():
    assert list(MISSING) == SCRIPTS


@pytest.mark.parametrize("script", MISSING)
def test_what_is_missing_is_named(bare, script):
    arguments, message = MISSING[script]
    root, environment = bare
    # As a module from the root, or as a file from another folder.
    what, cwd = ["-m", f"benchmarks.{script}"], root
    if SCRIPTS.index(script) % 2:
        what, cwd = [f"{root}/benchmarks/{script}.py"], "/"
    run = subprocess.run([sys.executable, *what, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)
    assert run.returncode == 2 and run.stderr.startswith("error: ") and message in run.stderr, run.stderr
    assert run.stderr.count("\n") == 1, run.stderr
    assert not (root / "results").exists()


def test_each_score_of_a_made_up_world_has_its_row(capsys):
    intervals.report([intervals.one_draw((1, seed)) for seed in range(2)])
    rows = capsys.readouterr().out.splitlines()
    scores = {row[:33].strip() for row in rows if row.startswith(("pairs,", "edits,", "categorical", "silhouette"))}
    assert len(scores) == 14 and {"edits, guarded purity", "categorical purity@20", "silhouette"} <= scores


@pytest.mark.parametrize("number", [805, 100, 99])
def test_what_a_guard_catches_is_scikit_learns_rate_at_one_per_cent(number):
    drawn = np.random.default_rng(number)
    ordinary, unsafe = (
        [str(score) for score in np.round(drawn.normal(mean, 1, n), 2)] for mean, n in ((0, number), (2, 60))
    )
    guard = SimpleNamespace(score=lambda texts: [SimpleNamespace(score=float(text)) for text in texts])
    found, alarms = guardrail.flagged(
        guard, unsafe, ordinary, {"plain": str, "hidden": lambda text: f"-{abs(float(text))}"}
    )
    labels = np.repeat([0, 1], [number, 60])
    alarm, caught, _ = roc_curve(labels, np.array([*ordinary, *unsafe], dtype=float), drop_intermediate=False)
    assert found["plain"] == pytest.approx(caught[alarm <= 0.01].max()) and found["hidden"] == alarms["hidden"] == 0
    assert alarms["plain"] <= 0.01 * number / 60
