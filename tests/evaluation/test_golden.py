"""The metrics of the bundled sample are what they were: golden_sample.csv holds all of them, with their intervals.

They were written by the program itself at version 0.1.0, so they show that a change of the code moved no number, not
that a number is right; the tests of the metrics show that.
"""

import csv
from collections import defaultdict
from pathlib import Path

import pytest

from Safety_Detection.evaluate import TASK as DETECTION
from utils.evaluation.run import evaluate
from utils.results.result_file import read_result

GOLDEN = Path(__file__).with_name("golden_sample.csv")


def golden():
    """(metric, group) to value, low and high, by task and encoder."""
    found = defaultdict(dict)
    with GOLDEN.open(newline="") as stream:
        for task, encoder, metric, group, *numbers in list(csv.reader(stream))[1:]:
            found[task, encoder][metric, group] = [float(number) if number else None for number in numbers]
    return found


@pytest.mark.parametrize(("task", "encoder"), golden())
def test_no_number_of_the_sample_has_moved(task, encoder, sample_results, tmp_path, sample_store):
    out = sample_results
    if task == DETECTION.name:
        out = tmp_path
        arguments = ["--data", "sample", "--quiet", "--bootstrap", "1000", "--model", encoder]
        assert evaluate(DETECTION, [*arguments, "--out", str(out)]) == 0
    result = read_result(out / "sample" / task / f"{encoder}.json")
    numbers = {(m.name, m.group): [m.value, m.low, m.high] for m in result.metrics}
    expected = golden()[task, encoder]
    assert list(numbers) == list(expected)
    for name, values in expected.items():
        # Of labels drawn at random, scores lie so close that a processor's rounding may swap two of them.
        within = 1e-4 if name[0] == "auroc/shuffled_labels" else 1e-6
        assert numbers[name] == [None if value is None else pytest.approx(value, abs=within) for value in values], name
