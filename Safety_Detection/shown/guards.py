"""Brings guards and detectors to the prompts that all of them have scored."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from Safety_Detection.sets.naming import (
    FLAGGED,
    GIVEN,
    GUARD,
    ORDINARY,
    OTHERS,
    crossing_column,
    fields_of,
    flagged_column,
)
from Safety_Detection.shown.reading import headline_kind, is_guard, ordinary_of, sets_of
from utils.metrics import detection as dm
from utils.metrics.detection import OF_CROSSING, OF_CURVE
from utils.results.likeness import refuse_unlike
from utils.schema import InputError, Metric, Result

# How far two values of a metric of the same prompts may be apart.
ROUNDING = 1e-9
# A set tested, or an unsafe-only set and the safe-only one beside it.
Tested = tuple[str, str | None]


def on_same_prompts(results: Sequence[Result], kind: str | None = None) -> tuple[list[Result], str]:
    """Guards and encoders as if each were the detector `kind` trained on `others`, and a sentence on their prompts.

    results: with their items. kind: the encoders' headline detector if None. Where there is only one other set, the
    detector of that set is taken, as an encoder then has none trained on all others. The metrics are computed anew on
    the prompts that all have scored, for the sets that all are tested on, and have intervals where no prompt is left
    out; shares at a threshold are those of the results, for sets of which no prompt is left out.
    Raises InputError if the results are not of the same data, or have no set in common.
    """
    model = next((result for result in results if not is_guard(result)), results[0])
    kind = kind or headline_kind(model)
    results = [replace(result, settings=model.settings) if is_guard(result) else result for result in results]
    refuse_unlike([replace(result, items={}, dataset_items=0) for result in results])
    common = set.intersection(*(set(result.items["id"]) for result in results))
    kept = [_only(result, common) for result in results]
    there = [_tested(result, kind) for result in results]
    ordinary = ordinary_of(model)
    pairs = [one for one in there[0] if all(one in mine for mine in there) and _two_classes(kept[0], one)]
    if not pairs:
        names = ", ".join(result.encoder.name for result in results)
        raise InputError(
            f"{names}: there is no set on which all have scores of both classes, by detectors trained on others; score "
            "more prompts, or evaluate on more sets"
        )
    found = [_as_others(*both, kind, pairs, ordinary) for both in zip(results, kept, strict=True)]
    most = max(result.dataset_items for result in results)
    title = "" if kind == GUARD else f"encoders by {kind.replace('_', ' ')} trained on all others; "
    return found, f"guards as given; {title}on the {len(common)} of {most} prompts that all have scored"


def _only(result: Result, ids: set[str]) -> Result:
    keep = [i for i, one in enumerate(result.items["id"]) if one in ids]
    items = {column: [values[i] for i in keep] for column, values in result.items.items()}
    return replace(result, items=items, dataset_items=len(keep))


def _kind(result: Result, kind: str) -> str:
    return GUARD if is_guard(result) else kind


def _areas(result: Result, kind: str) -> list[Metric]:
    return [m for m in result.metrics if (m.metric, m.detector) == ("auroc", _kind(result, kind))]


def _train(result: Result, kind: str, test: str) -> str | None:
    """What the detector was trained on that stands for all others on a set; None if there is none."""
    tested = (m for m in _areas(result, kind) if (m.test, m.against) == (test, None))
    trains = [m.train for m in tested if m.train != test]
    return OTHERS if OTHERS in trains else trains[0] if len(trains) == 1 else None


def _tested(result: Result, kind: str) -> list[Tested]:
    crossings = [(m.test, m.against) for m in _areas(result, kind) if m.test and m.against]
    return [*((test, None) for test in sets_of(result) if _train(result, kind, test)), *crossings]


def _rows(result: Result, *names: str | None) -> np.ndarray:
    return np.concatenate([np.flatnonzero(np.array(result.items["set"], dtype=object) == name) for name in names])


def _two_classes(result: Result, tested: Tested) -> bool:
    labels = np.array(result.items["label"])[_rows(result, *tested)]
    return 0 < labels.sum() < len(labels)


def _as_others(result: Result, only: Result, kind: str, pairs: Sequence[Tested], ordinary: Sequence[str]) -> Result:
    """The result as the detector `kind` of `others`. only: the same without the prompts that are left out."""
    its, labels, n = _kind(result, kind), np.array(only.items["label"]), only.dataset_items
    items: dict[str, Any] = {name: only.items[name] for name in ("id", "set", "label", "group")}
    metrics: list[Metric] = []
    for test, against in pairs:
        rows, scores = _rows(only, test, against), np.empty(0)
        for one, other in ((test, against), (against, test)) if against else ((test, None),):
            train = OTHERS if against and its != GUARD else _train(result, kind, test) or GIVEN
            source = crossing_column(its, other, train) if other else f"{its}/{train}"
            column = crossing_column(kind, other) if other else f"{kind}/{OTHERS}"
            mine = np.array(only.items[source])[_rows(only, one)]
            np.put(items.setdefault(column, np.full(n, np.nan)), _rows(only, one), mine)
            scores = np.concatenate([scores, mine])
        curve = dm.curve(labels[rows], scores)
        base = float(labels[rows].mean())
        where = fields_of(kind, OTHERS, test, against)
        for name in OF_CROSSING if against else OF_CURVE:
            better, value = OF_CURVE[name]
            chance = {"auroc": 0.5, "auprc": base}.get(name)
            side = _train(result, kind, test) if against is None else GIVEN if its == GUARD else OTHERS
            own = result.metric(name, detector=its, train=side, test=test, against=against)
            where["seen"] = own.seen if own else None
            made = Metric(name, value=float(value(curve)), n=len(rows), better=better, chance=chance, **where)
            metrics.append(_with_interval(made, own if len(rows) == len(_rows(result, test, against)) else None))
        if against is None:
            metrics += _at_threshold(result, its, kind, test, train, len(rows), base)
    flags = np.full(n, np.nan)
    for name in dict.fromkeys(only.items["set"]):
        column = flagged_column(its, (_train(result, kind, name) or OTHERS) if its != GUARD else GIVEN)
        if column in only.items:
            np.put(flags, _rows(only, name), np.array(only.items[column])[_rows(only, name)])
    items[flagged_column(kind, OTHERS)] = flags
    means = {OTHERS: [one for one in pairs if one[1] is None], ORDINARY: [one for one in pairs if one[1] in ordinary]}
    for place, tested in means.items():
        for name in (OF_CROSSING if place == ORDINARY else ("auroc",)) if tested else ():
            parts = [m for m in metrics if m.metric == name and (m.test, m.against) in tested]
            against = " + ".join(dict.fromkeys(one for _, one in tested if one)) or None
            size = len(_rows(only, *dict.fromkeys(one for pair in tested for one in pair)))
            mean = float(np.mean([m.value for m in parts]))
            seen = any(m.seen for m in parts) or None
            made = Metric(name, place, mean, size, "higher", detector=kind, against=against, seen=seen)
            group = GIVEN if (its, place) == (GUARD, OTHERS) else place
            whole = all(m.interval for m in parts)
            metrics.append(_with_interval(made, result.metric(name, group, detector=its) if whole else None))
    return replace(only, items=items, metrics=tuple(metrics))


def _with_interval(made: Metric, own: Metric | None) -> Metric:
    """A number computed anew, with the interval of the result's own number of the same prompts.

    own: None if there is none. A mean of other pairs of sets has a different value, and gives none.
    """
    same = own is not None and abs(own.value - made.value) < ROUNDING
    return replace(made, low=own.low, high=own.high) if own and same else made


def _at_threshold(result: Result, its: str, kind: str, test: str, train: str, n: int, base: float) -> list[Metric]:
    """The shares flagged of a set, and F1, if none of its prompts is left out."""
    there = (result.metric(name, detector=its, train=train, test=test) for name in FLAGGED)
    found = [m for m in there if m is not None]
    if len(found) < len(FLAGGED) or sum(m.n for m in found) != n:
        return []
    safe, unsafe = (m.value for m in found)
    f1 = 2 * unsafe * base / (unsafe * base + safe * (1 - base) + base)
    where = fields_of(kind, OTHERS, test)
    made = Metric("f1", value=f1, n=n, better="higher", seen=found[0].seen, **where)
    own = result.metric("f1", detector=its, train=train, test=test)
    return [*(replace(m, **where) for m in found), _with_interval(made, own)]
