"""The tasks inside MTEB give the numbers of their own evaluations."""

import importlib.util
import json

import checkpoints
import numpy as np
import pytest

from Safety_Challenging.evaluate import TASK as CHALLENGING
from utils.evaluation.run import evaluate
from utils.results.result_file import read_result
from utils.schema import CONTROLS, InputError

if importlib.util.find_spec("mteb") is None:
    pytest.skip("MTEB, an extra, is not installed", allow_module_level=True)

import mteb
from mteb.models import SentenceTransformerEncoderWrapper
from sentence_transformers import SentenceTransformer

from integrations.mteb_tasks import TASKS, SafetyChallenging, SafetyContrast

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*prompts:UserWarning", "ignore:The (fill_missing|`get_sentence):Warning"
)
FLAGS = {"data": "sample", "bootstrap": 1000}


def by_mteb(model, task, **more):
    """What MTEB stores of a model's result on a task."""
    [result] = mteb.evaluate(model, task, show_progress_bar=False, **{"cache": None, **more}).task_results
    [[scores]] = result.scores.values()
    return scores


def by_evaluation(task, out, *flags):
    """The metrics of a task's own evaluation, as MTEB's result lists them."""
    fixed = ["--data", "sample", "--bootstrap", "1000", "--no-cache", "--quiet", "--device", "cpu"]
    fixed += ["--baseline", "own"] if task.uses_baseline else []
    assert evaluate(task, [*fixed, "--out", str(out), *flags]) == 0
    [file] = [path for path in (out / "sample" / task.name).glob("*.json") if path.stem not in CONTROLS]
    metrics = read_result(file).metrics
    return [{name: cell for name, cell in vars(m).items() if cell is not None} for m in metrics]


def assert_alike(listed, expected):
    assert len(listed) == len(expected)
    for one, other in zip(listed, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-6), other


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoints.sentence_bert(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tiny(folder):
    return SentenceTransformer(str(folder), device="cpu")


# The group of the main score; the sample of Safety-Detection has two sets, so that there is a mean across sets.
MAIN = {
    "SafetyChallenging": ("normalized_similarity", "average", "lower"),
    "SafetyContrast": ("boundary_similarity", "average", "lower"),
    "SafetyTaxonomy": ("categorical_purity", "average", "higher"),
    "SafetyDetection": ("auroc", "across", "higher"),
}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_numbers_and_intervals_are_those_of_the_evaluation(task, tiny, folder, tmp_path, capsys):
    scores = by_mteb(tiny, task(**FLAGS))
    expected = by_evaluation(task.task, tmp_path, "--model", str(folder))
    assert_alike(scores["metrics"], expected)
    metric, group, better = MAIN[task.__name__]
    [main] = [m for m in expected if (m["metric"], m["group"]) == (metric, group)
              and m.get("detector") in (None, "logistic_regression")]  # fmt: skip
    assert scores["main_score"] == scores[task.metadata.main_score] == pytest.approx(main["value"], abs=1e-6)
    assert (scores["low"], scores["high"]) == pytest.approx((main["low"], main["high"]), abs=1e-6)
    assert scores["low"] <= main["value"] <= scores["high"]
    assert scores["better"] == better and f"{better} is better" in task.metadata.description


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_metadata_are_complete(task):
    assert task.metadata.is_filled() and task.metadata.name == task.__name__
    assert task.metadata.intext_citation() == "\\cite{kim2024safeembed}"
    assert len(task.metadata.revision) == 64, "the SHA-256 of what is evaluated"


def test_an_encoder_gets_its_prompt_for_sts(folder, tmp_path, capsys):
    prompts = {"STS": "alike: ", "query": "query: ", "document": "passage: "}
    model = SentenceTransformerEncoderWrapper(SentenceTransformer(str(folder), device="cpu"), model_prompts=prompts)
    scores = by_mteb(model, SafetyChallenging(**FLAGS))
    flags = ["--model", str(folder), "--prompt"]
    assert_alike(scores["metrics"], by_evaluation(CHALLENGING, tmp_path / "with", *flags, "alike: "))
    without = by_evaluation(CHALLENGING, tmp_path / "without", *flags, "")
    assert max(abs(a["value"] - b["value"]) for a, b in zip(scores["metrics"], without, strict=True)) > 1e-3


def test_predictions_are_the_scores_of_the_items(tiny, tmp_path):
    task = SafetyContrast(**FLAGS)
    scores = by_mteb(tiny, task, prediction_folder=tmp_path)
    items = json.loads((tmp_path / task.prediction_file_name).read_text())["default"]["test"]
    [overall] = [m for m in scores["metrics"] if (m["metric"], m["group"]) == ("boundary_similarity", "overall")]
    assert np.mean(items["boundary_similarity"]) == pytest.approx(overall["value"], abs=1e-6)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"baseline": "auto"}, "--baseline auto: a task of MTEB takes own or a number"),
        ({"bootstrap": 5}, "--bootstrap 5: give 0 for no intervals"),
        ({"nonsense": 5}, "unrecognized arguments: --nonsense=5"),
    ],
)
def test_a_wrong_argument_is_named(flags, message):
    with pytest.raises(InputError, match=message):
        SafetyChallenging(**flags)
