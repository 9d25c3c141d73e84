"""Which encoders may have a rank."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils import config
from utils.results.reference import FOLDER
from utils.results.result_file import read_result
from utils.schema import InputError, Result, is_word_overlap
from utils.tables import number
from utils.tasks import TASKS, Role, Task, topics_task


@dataclass(frozen=True)
class _Topics:
    """How far an encoder knows topics, on one dataset with one k; fitted: whether it is TF-IDF's."""

    fingerprint: str
    value: float
    on: tuple
    fitted: bool


def why_no_rank() -> str:
    """What the rule is for; '' if no task tells who knows topics."""
    if (told_by := topics_task()) is None:
        return ""
    return (
        f"An encoder whose {told_by[1].words} is below TF-IDF's has no rank by a similarity: random vectors, which "
        "know nothing, have the best similarities of all."
    )


def without_rank(results: Sequence[Result], metric: str, outs: Sequence[Path]) -> dict[str, str]:
    """The encoders that a metric must not rank, by name, with the reason.

    These are encoders that were tuned on what they are tested on, and by a similarity those that are not known to know
    topics at least as well as word overlap does.
    results: of one task. outs: the folders in which results of the task that tells who knows topics are looked for,
    after which come the reference results; of an encoder on several datasets that of the same name counts, else the
    paper's.
    """
    seen = {
        result.encoder.name: "it was tuned on sets that it is tested on here"
        for result in results
        if any(row.seen for row in result.metrics if row.name == metric)
    }
    told_by = topics_task()
    if told_by is None or metric not in TASKS[results[0].task].won_by_nothing:
        return seen
    known = _averages(*told_by, [*outs, config.ROOT / FOLDER])
    return {result.encoder.name: why for result in results if (why := _reason(result, known, *told_by))}


def _averages(task: Task, role: Role, outs: Sequence[Path]) -> dict[str, list[_Topics]]:
    """What is known of who knows topics, by name of the dataset."""
    found: dict[str, list[_Topics]] = {}
    for path in (path for out in outs for path in sorted(out.glob(f"*/{task.name}/*.json"))):
        try:
            result = read_result(path)
        except InputError:
            continue
        average = result.metric(role.metric, "average")
        if average is not None:
            on = (tuple(file.sha256 for file in result.dataset_files), result.dataset_items, result.settings["top_k"])
            topics = _Topics(result.encoder.fingerprint, average.value, on, is_word_overlap(result.encoder))
            found.setdefault(path.parent.parent.name, []).append(topics)
    return found


def _reason(result: Result, known: dict[str, list[_Topics]], task: Task, role: Role) -> str:
    """Why a result has no rank; '' if it has one."""
    if is_word_overlap(result.encoder):
        return ""
    for name in [result.dataset_name, "paper", *sorted(known)]:
        there = known.get(name, [])
        for topics in there:
            floor = next((other for other in there if other.fitted and other.on == topics.on), None)
            if topics.fingerprint == result.encoder.fingerprint and floor is not None:
                if topics.value >= floor.value:
                    return ""
                return f"its {role.words}, {number(topics.value)}, is below TF-IDF's, {number(floor.value)}"
    return f"its {role.words} is not known; run scripts/{task.name}.sh with it"
