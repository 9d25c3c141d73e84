"""Reads results of detection: detectors trained on one set and tested on another."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from utils.files import shown_path
from utils.results.find import told_apart
from utils.results.likeness import refuse_unlike
from utils.results.result_file import items_path, read_result, read_with_items
from utils.schema import InputError, Metric, Result
from utils.tasks import DETECTION

# Matrix, details and findings are of the first of these that was evaluated.
HEADLINE_KINDS = ("logistic_regression", "centroid_difference", "knn_vote", "nearest_unsafe")
CONTROLS = ("prompt_length", "shuffled_labels")
OTHERS = "others"
WITHIN, ACROSS = "within", "across"


def metric_of(name: str, kind: str) -> str:
    """The name of a detector's metric in a result file."""
    return f"{name}/{kind}"


def group_of(train: str, test: str) -> str:
    """The name of a pair of sets, trained on and tested, in a result file."""
    return f"{train} -> {test}"


def kinds_of(result: Result) -> list[str]:
    """The detectors of a result, controls last, in the order they were evaluated."""
    within = [m for m in result.metrics if m.group == WITHIN]
    return [m.detector for m in within if m.metric == metric_of(DETECTION.headline, m.detector)]


def headline_kind(result: Result) -> str:
    """The detector that summarises a result: logistic regression if it was evaluated."""
    there = kinds_of(result)
    return next(kind for kind in (*HEADLINE_KINDS, *there) if kind in there)


def sets_of(result: Result) -> list[str]:
    """The tested sets in order."""
    return list(dict.fromkeys(m.test for m in result.metrics if m.test is not None))


def trains_of(result: Result) -> list[str]:
    """The training sides in order, `others` last if there is one."""
    has_others = any(m.train == OTHERS for m in result.metrics)
    return [*sets_of(result), *([OTHERS] if has_others else [])]


def read(path: Path) -> Result:
    """A result file with its items: `id`, `set`, `label`, `group`, and the scores of every detector but the shuffled.

    Raises InputError if a file is missing or is not a result file.
    """
    result = read_result(path)
    scores = [f"{kind}/{train}" for kind in kinds_of(result) if kind != CONTROLS[1] for train in trains_of(result)]
    result = read_with_items(path, ["label", "group", *scores])
    found = result.items
    if any("" in found.get(name, [""]) for name in ("set", "label", "group", *scores)):
        raise InputError(f"{shown_path(items_path(path))}: not the complete items of a result; run the task again")
    items: dict[str, list] = {name: found[name] for name in ("id", "set")}
    items |= {name: list(map(int, found[name])) for name in ("label", "group")}
    items |= {name: list(map(float, found[name])) for name in scores}
    return replace(result, items=items)


def alike(files: Sequence[Path]) -> tuple[list[Result], list[str]]:
    """The results, with their items, that can be compared with the newest, and a sentence on each of the others."""
    found, paths, notes = [], [], []
    for path in files:
        try:
            found.append(read(path))
            paths.append(path)
        except InputError as error:
            notes.append(f"Left out: {error}.")
    found = told_apart(found, paths)
    newest = max(found, key=lambda result: result.created, default=None)
    kept = []
    for result in found:
        try:
            refuse_unlike([newest, result])
            kept.append(result)
        except InputError as error:
            notes.append(f"Left out: {error}.")
    return kept, notes


def matrix(result: Result, metric: str = "auroc") -> list[list[Metric | None]]:
    """A metric of the headline detector: a row for each set trained on, a column for each tested."""
    name = metric_of(metric, headline_kind(result))
    return [[result.metric(name, group_of(a, b)) for b in sets_of(result)] for a in trains_of(result)]


def plain_name(kind: str) -> str:
    return kind.replace("_", " ")
