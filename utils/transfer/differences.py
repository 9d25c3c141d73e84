"""Compares detectors or encoders by a paired bootstrap of whole groups of prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.metrics import detection as dm
from utils.metrics.uncertainty import grouped_resamples, holm, resampled_p_value
from utils.schema import Result
from utils.transfer.results import (
    ACROSS,
    CONTROLS,
    OTHERS,
    WITHIN,
    group_of,
    headline_kind,
    kinds_of,
    plain_name,
    sets_of,
    trains_of,
)

# The least number of resamples for a p-value; more if many p-values are corrected.
LEAST_RESAMPLES = 1000


@dataclass(frozen=True)
class Difference:
    """The difference of two detectors' or encoders' AUROC on the same prompts, with its Holm-corrected p-value."""

    group: str
    one: str
    other: str
    value: float
    p: float


def areas(
    scored: Sequence[tuple[Result, str]], resamples: int, seed: int = 42
) -> list[dict[str, tuple[float, np.ndarray]]]:
    """For each of `scored`: group to AUROC, and its values in resamples of whole groups of prompts.

    scored: results on the same prompts, with their items, and the detector of each. All use the same resamples. Groups
    are all pairs of sets trained on and tested, then the means `within`, `across` and `others`.
    """
    first = scored[0][0]
    sets, trains = sets_of(first), trains_of(first)
    found: list[dict[str, tuple[float, np.ndarray]]] = [{} for _ in scored]
    for position, test in enumerate(sets):
        rows = np.array([name == test for name in first.items["set"]])
        labels, clusters = (np.array(first.items[name])[rows] for name in ("label", "group"))
        columns = [
            (of, group_of(train, test), np.array(result.items[f"{kind}/{train}"], dtype=float)[rows])
            for of, (result, kind) in zip(found, scored, strict=True)
            for train in trains
        ]
        drawn: list[list[np.ndarray]] = [[] for _ in columns]
        for weights in grouped_resamples(clusters, labels, resamples, (seed, position)):
            for replicates, (_, _, scores) in zip(drawn, columns, strict=True):
                replicates.append(dm.auroc(dm.curve(labels, scores, weights)))
        for replicates, (of, group, scores) in zip(drawn, columns, strict=True):
            of[group] = float(dm.auroc(dm.curve(labels, scores))), np.concatenate(replicates)
    places = {
        WITHIN: [(test, test) for test in sets],
        ACROSS: [(train, test) for test in sets for train in sets if train != test],
        OTHERS: [(OTHERS, test) for test in sets if OTHERS in trains],
    }
    for of in found:
        for place, pairs in places.items():
            if pairs:
                parts = [of[group_of(*pair)] for pair in pairs]
                of[place] = (
                    float(np.mean([value for value, _ in parts])),
                    np.mean([drawn for _, drawn in parts], axis=0),
                )
    return found


def resamples_for(differences: int) -> int:
    """The number of resamples with which the smallest p-value is about 0.02 after Holm's correction."""
    return max(LEAST_RESAMPLES, 50 * differences)


def encoder_differences(results: Sequence[Result], seed: int = 42) -> list[Difference]:
    """The differences of the first result from each other one by the headline detector, for every pair of sets.

    results: with their items. Paired bootstrap of whole groups of prompts, Holm-corrected over all differences.
    """
    first = results[0]
    kind = headline_kind(first)
    others = [r for r in results[1:] if kind in kinds_of(r) and r.items.get("id") == first.items.get("id")]
    return _differences([(r, kind, r.encoder.label) for r in (first, *others)], seed)


def detector_differences(result: Result, seed: int = 42) -> list[Difference]:
    """The differences of the headline detector from each other one of the same encoder, in the same way."""
    kind = headline_kind(result)
    others = [other for other in kinds_of(result) if other not in (kind, *CONTROLS)]
    return _differences([(result, one, plain_name(one)) for one in (kind, *others)], seed)


def _differences(scored: Sequence[tuple[Result, str, str]], seed: int) -> list[Difference]:
    """The differences of the first (result, detector, title) from each other one."""
    if len(scored) < 2:
        return []
    first = scored[0][0]
    groups = [group_of(train, test) for test in sets_of(first) for train in trains_of(first)]
    of, *others = areas([one[:2] for one in scored], resamples_for(len(groups) * (len(scored) - 1)), seed)
    found = []
    for group in groups:
        value, drawn = of[group]
        for other, (_, _, title) in zip(others, scored[1:], strict=True):
            difference = value - other[group][0]
            p = resampled_p_value(difference, drawn - other[group][1])
            found.append(Difference(group, scored[0][2], title, difference, p))
    corrected = holm([difference.p for difference in found])
    return [Difference(**{**vars(d), "p": p}) for d, p in zip(found, corrected, strict=True)]
