"""Gates: by how much a result may be worse than the reference."""

import math
from collections.abc import Sequence

from utils.compare.paired import Gate, comparing
from utils.results.paired import Scores
from utils.schema import InputError
from utils.tables import number, signed
from utils.tasks import TASKS

EXAMPLES = "auroc=0.02, flagged_unsafe=0.05 or recall_at_fpr=0.01:0.05"


def parsed_gate(text: str) -> Gate:
    """The gate `METRIC=TOLERANCE`, or `recall_at_fpr=RATE:TOLERANCE`. Raises InputError for anything else."""
    metric, _, limits = text.partition("=")
    try:
        *rates, tolerance = map(float, limits.split(":"))
    except ValueError:
        rates, tolerance = [], math.nan
    gates = {task.name: comparing(task).gates(task) for task in TASKS.values()}
    has_rate = {name: at_rate for metrics in gates.values() for name, at_rate in metrics.items()}
    if (
        metric not in has_rate
        or len(rates) != has_rate[metric]
        or not 0 <= tolerance <= 1
        or not all(0 < rate < 1 for rate in rates)
    ):
        metrics = sorted(has_rate, key=has_rate.__getitem__)
        raise InputError(
            f"--gate {text}: give METRIC=TOLERANCE, such as {EXAMPLES}; METRIC is one of {', '.join(metrics)}; rate "
            "and tolerance are from 0 to 1"
        )
    return Gate(text, next(name for name in gates if metric in gates[name]), metric, tolerance, *rates)


def breaches(gate: Gate, scores: Sequence[Scores], metric: str, reference: str, seed: int = 42) -> list[str]:
    """A line for each result, and each mean, that is worse than the reference by more than the gate allows.

    scores, metric, reference: what `read_files` returns. Raises InputError if the results lack the metric.
    """
    [first] = [one for one in scores if one.result.encoder.name == reference]
    others = [one for one in scores if one is not first]
    lines = []
    for mean in comparing(TASKS[gate.task]).gated(gate, first, others, metric, seed):
        difference = mean.value - mean.reference
        if (difference if mean.better == "lower" else -difference) > gate.tolerance + 1e-9:
            low, high = map(signed, (mean.difference.low, mean.difference.high))
            lines.append(
                f"gate {gate.text} is not met: {mean.encoder} has {number(mean.value)} and {reference} "
                f"{number(mean.reference)} on {gate.task}, {mean.group} (difference {signed(difference)}, 95 % "
                f"interval {low} to {high})"
            )
    return lines
