"""Reads results of detection: detectors trained on one set and tested on another."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from Safety_Detection.detectors.kinds import CONTROLS
from Safety_Detection.sets.naming import (
    FLAGGED,
    GIVEN,
    IDENTITY,
    ORDINARY,
    OTHERS,
    WITHIN,
    crossing_column,
    flagged_column,
)
from utils.files import shown_path
from utils.results.find import told_apart
from utils.results.likeness import refuse_unlike
from utils.results.result_file import items_path, read_result, read_with_items
from utils.schema import InputError, Metric, Result

# Matrix, details and findings are of the first of these that was evaluated.
HEADLINE_KINDS = ("logistic_regression", "centroid_difference", "knn_vote", "nearest_unsafe")


def is_guard(result: Result) -> bool:
    """Whether a result is that of a guard whose scores were given, not of an encoder's detectors."""
    return result.encoder.backend == GIVEN


def kinds_of(result: Result) -> list[str]:
    """The detectors of a result, controls last, in the order they were evaluated."""
    found = dict.fromkeys(m.detector for m in result.metrics if m.detector and m.detector != IDENTITY)
    return sorted(found, key=lambda kind: kind in CONTROLS)


def headline_kind(result: Result) -> str:
    """The detector that summarises a result: logistic regression if it was evaluated."""
    there = kinds_of(result)
    return next(kind for kind in (*HEADLINE_KINDS, *there) if kind in there)


def sets_of(result: Result) -> list[str]:
    """The tested sets of two classes, in order."""
    areas = [m for m in result.metrics if m.against is None and m.metric == "auroc"]
    return list(dict.fromkeys(m.test for m in areas if m.test is not None))


def one_class_of(result: Result) -> dict[str, int]:
    """The tested sets of one class, in order, with that class: 1 for unsafe, 0 for safe."""
    two = sets_of(result)
    tested = [m for m in result.metrics if m.test not in two and m.metric in FLAGGED]
    return {m.test: FLAGGED.index(m.metric) for m in tested if m.test is not None}


def crossings_of(result: Result) -> list[tuple[str, str]]:
    """The pairs of an unsafe-only and a safe-only set that were tested against each other, in order."""
    pairs = [(m.test, m.against) for m in result.metrics if m.test is not None and m.against is not None]
    return list(dict.fromkeys(pairs))


def ordinary_of(result: Result) -> list[str]:
    """The safe-only sets that are ordinary traffic; empty if no unsafe-only set was tested against one."""
    mean = result.metric("auroc", ORDINARY, detector=headline_kind(result))
    return mean.against.split(" + ") if mean and mean.against else []


def trains_of(result: Result) -> list[str]:
    """The training sides in order, `others` last if there is one; of a guard `as given`."""
    if any(m.train == GIVEN for m in result.metrics):
        return [GIVEN]
    has_others = any(m.train == OTHERS and m.against is None for m in result.metrics)
    return [*sets_of(result), *([OTHERS] if has_others else [])]


def read(path: Path) -> Result:
    """A result file with its items: `id`, `set`, `label`, `group`, and the scores of every detector but the shuffled.

    What they flag is there too, unless an earlier version wrote the file. A score is NaN where a detector was not
    tested on a prompt's set. Raises InputError if a file is missing or is not a result file.
    """
    result = read_result(path)
    tested: dict[str, set[str]] = {}
    flagged = set()
    for m in result.metrics:
        if not (m.detector and m.train and m.test) or m.detector == CONTROLS[1]:
            continue
        flagged.add(flagged_column(m.detector, m.train))
        columns = [(f"{m.detector}/{m.train}", m.test)]
        if m.against is not None:
            pairs = (m.test, m.against), (m.against, m.test)
            columns = [(crossing_column(m.detector, other, m.train), its) for its, other in pairs]
        for column, test in columns:
            tested.setdefault(column, set()).add(test)
    result = read_with_items(path, ["label", "group", *tested])
    found = result.items
    sets = found.get("set", [""])
    gaps = "" in sets or any(isinstance(cell, float) for name in ("label", "group") for cell in found[name])
    if gaps or any(math.isnan(cell) and one in on for name, on in tested.items()
                   for cell, one in zip(found[name], sets, strict=True)):  # fmt: skip
        raise InputError(f"{shown_path(items_path(path))}: not the complete items of a result; run the task again")
    kept = "id", "set", "label", "group", *tested, *(name for name in sorted(flagged) if name in found)
    return replace(result, items={name: found[name] for name in kept})


def alike(files: Sequence[Path]) -> tuple[list[Result], list[str]]:
    """The results, with their items, that can be compared with the newest, and a sentence on each of the others.

    Results of guards are not among them, as they have no detectors of their own.
    """
    found, paths, notes = [], [], []
    for path in files:
        try:
            if not is_guard(read_result(path)):
                found.append(read(path))
                paths.append(path)
        except InputError as error:
            notes.append(f"Left out: {error}.")
    found = told_apart(found, paths)
    kept = []
    for result in found:
        try:
            refuse_unlike([max(found, key=lambda one: one.created), result])
            kept.append(result)
        except InputError as error:
            notes.append(f"Left out: {error}.")
    return kept, notes


def matrix(result: Result, metric: str = "auroc") -> list[list[Metric | None]]:
    """A metric of the headline detector: a row for each set trained on, a column for each tested."""
    kind, tests, trains = headline_kind(result), sets_of(result), trains_of(result)
    return [[result.metric(metric, detector=kind, train=train, test=test) for test in tests] for train in trains]


def summary(result: Result) -> Metric | None:
    """The mean area on ordinary traffic, else of all others, else within sets, of one detector; None if there is none.

    That detector is logistic regression, or the first one if it was not evaluated.
    """
    there = kinds_of(result)
    kind = HEADLINE_KINDS[0] if HEADLINE_KINDS[0] in there else there[0]
    means = (result.metric("auroc", place, detector=kind) for place in (ORDINARY, OTHERS, WITHIN))
    return next((mean for mean in means if mean is not None), None)


def plain_name(kind: str) -> str:
    return kind.replace("_", " ")
