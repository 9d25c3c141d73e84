"""What an evaluation prints of its results: heading, tables, and what the numbers depend on."""

from collections.abc import Sequence
from pathlib import Path

from utils.results.ranked import without_rank
from utils.results.reference import reference_table
from utils.results.signature import signature
from utils.schema import Dataset, Result, shown
from utils.tables import INTERVAL, rendered
from utils.tasks import Task


def printed(task: Task, dataset: Dataset, results: Sequence[Result], out: Path) -> str:
    """All that is printed of a task: heading, tables, and what the numbers depend on."""
    signatures = "\n".join(signature(result) for result in results)
    parts = [
        f"{_heading(task, dataset, results)}\n{rendered(task.tables(results), 'text')}{_without_interval(results[0])}",
        f"what the numbers depend on:\n{signatures}",
        reference_table(results, lambda compared: without_rank(compared, task.headline, [out])),
    ]
    if dataset.name == "sample":
        parts.append(f"SAMPLE: scores on the small set bundled here, not on {task.published} data.")
    return "\n\n".join(part for part in parts if part)


def _without_interval(result: Result) -> str:
    """Which means have no interval although intervals were asked for, and why; '' if there are none."""
    if not result.settings["bootstrap"]:
        return ""
    alone = [m for m in result.metrics if m.low is None and m.n == 1]
    names = dict.fromkeys(f"{m.name.replace('_', ' ')} of {shown(m.group)}" for m in alone)
    lines = [f"no interval: {name}, which is of one item, nor a mean over it" for name in names]
    return "\n\n" + "\n".join(lines) if lines else ""


def _heading(task: Task, dataset: Dataset, done: Sequence[Result]) -> str:
    name = {"paper": task.published, "sample": "bundled SAMPLE"}.get(dataset.name, shown(dataset.name))
    lines = [task.title, task.question, f"data: {name}, {len(dataset)} items"]
    if task.uses_baseline:
        for result in done:
            b = result.settings["baseline"]
            lines.append(f"average similarity of {shown(result.encoder.label)}: {b['value']:z.3f} ({b['source']})")
    if done[0].settings["bootstrap"]:
        lines += [INTERVAL, f"(bootstrap {task.resampled})"]
    return "\n".join([*lines, ""])
