"""Gates: by how much a result may be worse than the reference."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from utils.compare.paired import Scores, compare, scores_of
from utils.schema import Difference, InputError
from utils.tables import number, signed
from utils.tasks import TASKS
from utils.transfer import differences
from utils.transfer import results as transfer

RECALL = "recall_at_fpr"
# The means of detection that a gate is on, those of them that there are; of a single set, the one within it.
PLACES = (transfer.ACROSS, transfer.OTHERS, transfer.ORDINARY)
FORM = f"give METRIC=TOLERANCE, such as auroc=0.02 or {RECALL}=0.01:0.05; METRIC is one of"


@dataclass(frozen=True)
class Gate:
    """The most by which a metric may be worse than the reference's.

    text: as the user gave it. rate: the false positive rate at which recall is taken; None for the other metrics.
    """

    text: str
    metric: str
    tolerance: float
    rate: float | None = None

    @property
    def task(self) -> str:
        """The name of the task that has the metric."""
        return _task_of()[self.metric]


def _task_of() -> dict[str, str]:
    """The task of each metric that a gate can be on."""
    return {**{task.headline: name for name, task in TASKS.items()}, RECALL: "safety_detection"}


def parsed_gate(text: str) -> Gate:
    """The gate `METRIC=TOLERANCE`, or `recall_at_fpr=RATE:TOLERANCE`. Raises InputError for anything else."""
    metric, _, limits = text.partition("=")
    try:
        *rates, tolerance = map(float, limits.split(":"))
    except ValueError:
        rates, tolerance = [], math.nan
    if (
        metric not in _task_of()
        or len(rates) != (metric == RECALL)
        or not 0 <= tolerance <= 1
        or not all(0 < rate < 1 for rate in rates)
    ):
        raise InputError(f"--gate {text}: {FORM} {', '.join(_task_of())}; rate and tolerance are from 0 to 1")
    return Gate(text, metric, tolerance, *rates)


def breaches(gate: Gate, scores: Sequence[Scores], metric: str, reference: str, seed: int = 42) -> list[str]:
    """A line for each result, and each mean, that is worse than the reference by more than the gate allows.

    scores, metric, reference: what `read_files` returns. With guards among the results, only the differences between a
    guard and an encoder are looked at, as encoders are compared by themselves.
    Raises InputError if the results lack the metric.
    """
    by_name = {one.result.encoder.name: one for one in scores}
    guards = {name for name, one in by_name.items() if transfer.is_guard(one.result)}
    chosen = [n for n in by_name if n != reference and (not guards or n in guards or reference in guards)]
    of = _of_detectors if gate.task == "safety_detection" else _of_items
    better = "higher" if gate.task == "safety_detection" else None
    lines = []
    for name, group, values, compared in of(gate, by_name[reference], [by_name[n] for n in chosen], metric, seed):
        direction = better or by_name[name].result.metric(gate.metric, group).better
        difference = values[0] - values[1]
        if (difference if direction == "lower" else -difference) > gate.tolerance + 1e-9:
            low, high = map(signed, (compared.low, compared.high))
            lines.append(
                f"gate {gate.text}: {name} has {number(values[0])} and {reference} {number(values[1])} on {gate.task}, "
                f"{group} (difference {signed(difference)}, 95 % interval {low} to {high})"
            )
    return lines


# (encoder, group, its value and the reference's, their difference)
Found = tuple[str, str, tuple[float, float], Difference]


def _of_detectors(gate: Gate, reference: Scores, others: Sequence[Scores], metric: str, seed: int) -> Iterator[Found]:
    kind = metric.removeprefix("auroc/")
    scored = [(one.result, kind) for one in (reference, *others)]
    first, *found = differences.areas(scored, differences.RESAMPLES, seed, crossed=(), rate=gate.rate)
    groups = [place for place in PLACES if place in first] or [place for place in (transfer.WITHIN,) if place in first]
    if not groups:
        raise InputError(f"--gate {gate.text}: the results have none of the means {', '.join(PLACES)}")
    for one, of in zip(others, found, strict=True):
        for group in groups:
            clusters = differences.clusters_of(reference.result, group)
            compared = differences.difference(of[group], first[group], clusters)
            yield one.result.encoder.name, group, (of[group][0], first[group][0]), compared


def _of_items(gate: Gate, reference: Scores, others: Sequence[Scores], metric: str, seed: int) -> Iterator[Found]:
    chosen = [scores_of(one.result, gate.metric) for one in (reference, *others)]
    compared = compare(chosen, gate.metric, reference.result.encoder.name)
    for cell in compared.cells:
        if cell.group == "average" and cell.difference is not None:
            values = cell.metric.value, reference.result.value(gate.metric, "average")
            yield cell.encoder, "average", values, cell.difference
