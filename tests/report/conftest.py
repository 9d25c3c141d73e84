"""The reports that several modules look at: of the sample, and of detection on many sets."""

import csv
import json
import random
import shutil

import pytest

from Safety_Detection.evaluate import TASK
from utils.evaluation import run as evaluation_run
from utils.report import __main__ as report_main
from utils.report import render, sections

# Name to (family, labels): four sets of two classes, of which two are one family; two unsafe-only and two safe-only
# sets, of which `attack` and `daily` are one family.
MADE = {
    "two0": ("pair", (0, 1)), "two1": ("pair", (0, 1)), "two2": ("", (0, 1)), "two3": ("", (0, 1)),
    "harm": ("", (1,)), "attack": ("zoo", (1,)), "calm": ("", (0,)), "daily": ("zoo", (0,)),
}  # fmt: skip


@pytest.fixture(scope="session")
def sample_report(made_results, made_once):
    """A folder with the results of the three tasks on the sample, and their report."""

    def report(out):
        shutil.copytree(made_results / "sample", out / "sample")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SAFE_EMBED_CACHE_DIR", str(made_results / "cache"))
            assert report_main.main(["--out", str(out), "--quiet"]) == 0

    return made_once("reported", report) / "sample"


@pytest.fixture
def without_figures(monkeypatch):
    """Reports without figures, as drawing them is what takes the time."""
    monkeypatch.setattr(sections, "figures_of", lambda *_, **__: {})
    monkeypatch.setattr(render, "points_of", lambda results: [])


@pytest.fixture(scope="session")
def many_sets(tmp_path_factory):
    """The folder with results of TF-IDF on made-up sets, the same with all values halved as another encoder's, and the
    report of both.
    """
    folder = tmp_path_factory.mktemp("many")
    draw = random.Random(0)
    with (folder / "made.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("prompt", "label", "set", "family", "group", "type"))
        for name, (family, labels) in MADE.items():
            for label in labels:
                for i in range(10):
                    right = draw.random() < 0.75
                    words = [f"{'bad' if right == label else 'good'}{draw.randrange(4)}"]
                    words += [f"{name}{draw.randrange(30)}" for _ in range(4)]
                    words += [f"x{draw.randrange(200)}", f"y{draw.randrange(200)}"]
                    twins = f"pair {i}" if name == "two0" else ""
                    kind = ("first", "second")[i % 2] if len(labels) == 1 else ""
                    rows.writerow((" ".join(words), label, name, family, twins, kind))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAFE_EMBED_CACHE_DIR", str(folder / "cache"))
        flags = ["--data", str(folder / "made.csv"), "--quiet", "--out", str(folder), "--bootstrap", "0"]
        detectors = "nearest_unsafe,centroid_difference"
        assert evaluation_run.evaluate(TASK, ["tfidf", *flags, "--detectors", detectors]) == 0
    results = folder / "made" / "safety_detection"
    half = json.loads((results / "tfidf.json").read_text())
    half["encoder"] |= {"name": "half", "label": "Half"}
    for metric in half["metrics"]:
        metric["value"] /= 2
    (results / "half.json").write_text(json.dumps(half))
    shutil.copy(results / "tfidf.items.csv", results / "half.items.csv")
    with pytest.MonkeyPatch.context() as patch:  # figures are drawn by the tests that look at them
        patch.setattr("Safety_Detection.shown.section.drawn", lambda *_: [])
        assert report_main.main(["--data", "made", "--out", str(folder), "--quiet"]) == 0
    return folder / "made"
