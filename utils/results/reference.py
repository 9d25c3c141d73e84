"""The results that come with the program, shown beside a user's own on the same data."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from utils import config
from utils.results.likeness import of_one_kind, refuse_unlike
from utils.results.result_file import read_result, read_with_items
from utils.results.signature import signature
from utils.schema import InputError, Result
from utils.tables import of_columns, text_table, with_interval
from utils.tasks import TASKS

FOLDER = "reference_results"


def references(done: Sequence[Result]) -> list[Result]:
    """The reference results of other encoders that can be compared with all of `done`, results of one task."""
    first = done[0]
    found, names = [], {result.encoder.name for result in done}
    for path in sorted((config.ROOT / FOLDER / first.dataset_name / first.task).glob("*.json")):
        if read_result(path).encoder.name in names:
            continue
        result = read_with_items(path)
        try:
            refuse_unlike([*done, result])
        except InputError:
            continue
        found.append(result)
    return found


def reference_table(done: Sequence[Result], unranked: Callable[[Sequence[Result]], dict[str, str]]) -> str:
    """The headline metric of `done` and of the reference results, best first; '' if there are none of the latter.

    unranked: of results, those that have no rank by it, which come last, with the reason.
    """
    others = references(done)
    if not others:
        return ""
    about, names = TASKS[done[0].task], {result.encoder.name for result in others}
    # Without the other metrics, whose intervals would be computed again where b is of a different kind.
    shown = [replace(r, metrics=tuple(r.by_group(about.headline))) for r in (*done, *others)]
    results, note = of_one_kind(shown)
    last = unranked(results)
    results.sort(key=lambda result: (result.encoder.name in last, result.mean(about.headline).loss))
    columns = [
        ("encoder", [result.encoder.label for result in results]),
        ("average", [with_interval(result.mean(about.headline)) for result in results]),
        ("from", [FOLDER if result.encoder.name in names else "this run" for result in results]),
    ]
    title = f"{about.metric} beside reference results, {about.better} is better"
    labels = {result.encoder.name: result.encoder.label for result in results}
    notes = [note, *(f"{labels[name]} is last, because {why}" for name, why in last.items())]
    table = of_columns(columns, caption=title, notes=list(filter(None, notes)))
    theirs = [result for result in results if result.encoder.name in names]
    return "\n".join([text_table(table), "", *map(signature, theirs)])
