"""Compares detectors or encoders by a paired bootstrap of whole groups of prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from Safety_Detection.detectors.kinds import CONTROLS
from Safety_Detection.protocol.resampling import Drawn, Resampling, groups_of, mean_of
from Safety_Detection.sets.naming import (
    ACROSS,
    ORDINARY,
    ORDINARY_ONE,
    OTHERS,
    WITHIN,
    crossing_column,
    flagged_column,
    group_of,
    place_of,
)
from Safety_Detection.shown.reading import (
    crossings_of,
    headline_kind,
    kinds_of,
    ordinary_of,
    plain_name,
    sets_of,
    trains_of,
)
from utils.metrics import detection as dm
from utils.metrics.uncertainty import cluster_resamples, grouped_resamples, holm
from utils.schema import Difference, InputError, Metric, Result

# The resamples of which a standard error is known to 2 %.
RESAMPLES = 1000


@dataclass(frozen=True)
class Compared:
    """The difference of two detectors' or encoders' AUROC on the same prompts.

    p: that of the difference, corrected by Holm.
    """

    group: str
    one: str
    other: str
    difference: Difference
    p: float | None


def areas(
    scored: Sequence[tuple[Result, str]],
    resamples: int,
    seed: int = 42,
    crossed: Sequence[str] | None = None,
    rate: float | None = None,
) -> list[dict[str, Drawn]]:
    """For each of `scored`: group to AUROC, with its values in resamples of whole groups of prompts.

    scored: results on the same prompts, with their items, and the detector of each. All use the same resamples. Groups
    are all pairs of sets trained on and tested, those of unsafe-only and safe-only sets, then the means over them.
    crossed: the safe-only sets that are included, all if None; those of the mean over ordinary traffic always are.
    rate: if given, the true positive rate at this false positive rate takes the place of the AUROC.
    """
    first, ordinary = scored[0][0], ordinary_of(scored[0][0])
    names = np.array(first.items["set"], dtype=object)
    rows = {name: np.flatnonzero(names == name) for name in dict.fromkeys(names)}
    labels, clusters = np.array(first.items["label"]), np.array(first.items["group"])
    counts = {
        name: cluster_resamples(clusters[its], labels[its], resamples, (seed, position))
        for position, (name, its) in enumerate(rows.items())
    }
    found: list[dict[str, Drawn]] = [{} for _ in scored]

    def put(group: str, names: Sequence[str], columns: Sequence[str]) -> None:
        """The areas on the prompts of the named sets, whose scores are in these columns, `{}` for the detector."""
        its = np.concatenate([rows[name] for name in names])
        # Clusters are numbered over all sets, those of one set after those of the one before.
        members, drawn = np.unique(clusters[its], return_inverse=True)[1], np.hstack([counts[name] for name in names])
        for of, (result, kind) in zip(found, scored, strict=True):
            parts = zip(names, columns, strict=True)
            values = np.concatenate([np.array(result.items[column.format(kind)])[rows[name]] for name, column in parts])
            ranking = dm.Ranking(labels[its], values)
            if rate is None:
                value, resampled = dm.auroc(ranking.curve()), dm.resampled_auroc(labels[its], values, members, drawn)
            else:
                both = ranking.curve(), ranking.curve(drawn[:, members])
                value, resampled = (dm.true_positive_rate_at(curve, rate) for curve in both)
            of[group] = Drawn(float(value), resampled.astype(np.float64), groups_of(labels[its], clusters[its]))

    # The groups of each mean, and the sets of each.
    places: dict[str, dict[str, list[str]]] = {place: {} for place in (WITHIN, ACROSS, OTHERS, ORDINARY_ONE, ORDINARY)}
    tested = {(m.train, m.test) for m in first.metrics if m.test is not None}
    for test in sets_of(first):
        for train in trains_of(first):
            group = group_of(train, test)
            if first.metric("auroc", detector=scored[0][1], train=train, test=test):
                put(group, [test], [f"{{}}/{train}"])
                places[place_of(train, test)][group] = [test]
    for unsafe, safe in crossings_of(first):
        if crossed is None or safe in (*crossed, *ordinary):
            group = group_of(OTHERS, unsafe, safe)
            pair = sorted((unsafe, safe), key=list(rows).index)
            put(group, pair, [crossing_column("{}", other) for other in reversed(pair)])
            if safe not in ordinary:
                continue
            places[ORDINARY][group] = pair
            for train in sets_of(first):
                if {(train, unsafe), (train, safe)} <= tested:
                    both = group_of(train, unsafe, safe)
                    put(both, pair, [f"{{}}/{train}"] * 2)
                    places[ORDINARY_ONE][both] = pair
    for place, groups in places.items():
        sets = {name for names in groups.values() for name in names}
        size = sum(groups_of(labels[rows[name]], clusters[rows[name]]) for name in sets)
        for of in found if groups else ():
            of[place] = mean_of([of[group] for group in groups], size)
    return found


# The numbers of what detectors flag at their own thresholds, and the direction of each.
OF_FLAGS = {"flagged_unsafe": "higher", "flagged_safe": "lower", "f1": "higher"}


def shares(scored: Sequence[tuple[Result, str]], metric: str, resamples: int, seed: int = 42) -> list[dict[str, Drawn]]:
    """For each of `scored`: place to the mean of one of OF_FLAGS over its sets, with its values in resamples.

    scored, seed: as of `areas`. A place is `within`, `across`, `others` or, of safe prompts, ordinary traffic.
    Raises InputError if a result does not say what its detector flags.
    """
    first, ordinary = scored[0][0], ordinary_of(scored[0][0])
    names, labels, clusters = (np.array(first.items[column]) for column in ("set", "label", "group"))
    found: list[dict[str, list[Drawn]]] = [{} for _ in scored]
    for position, test in enumerate(dict.fromkeys(names.tolist())):
        its = np.flatnonzero(names == test)
        unsafe = labels[its] == 1
        chosen = {"flagged_unsafe": unsafe, "flagged_safe": ~unsafe, "f1": np.ones(len(its), dtype=bool)}[metric]
        if not chosen.any() or (metric == "f1" and unsafe.all() | (~unsafe).all()):
            continue
        weights = grouped_resamples(clusters[its], labels[its], resamples, (seed, position))
        resampled = Resampling(labels[its], clusters[its], weights).only(chosen)
        for (result, kind), of in zip(scored, found, strict=True):
            for train in trains_of(result):
                flags = np.array(result.items.get(flagged_column(kind, train), np.full(len(names), np.nan)))[its]
                if np.isnan(flags).any():
                    continue  # not tested on this set
                one = (resampled.f1 if metric == "f1" else resampled.share)(flags[chosen].astype(bool))
                of.setdefault(place_of(train, test), []).append(one)
                if test in ordinary and train == OTHERS:
                    of.setdefault(ORDINARY, []).append(one)
    for (result, _), of in zip(scored, found, strict=True):
        if not of:
            raise InputError(
                f"{result.encoder.name} does not say what it flags; evaluate it again, or give a guard's scores with a "
                "column 'flagged' or a --threshold"
            )
    return [{place: mean_of(ones, sum(one.groups for one in ones)) for place, ones in of.items()} for of in found]


def group_differences(results: Sequence[Result], of: Metric) -> list[Difference]:
    """The difference of each further result from the first in the AUROC that `of` is, paired by groups of prompts.

    results: on the same prompts, with their items.
    """
    scored = [(result, of.detector or headline_kind(results[0])) for result in results]
    first, *others = areas(scored, RESAMPLES, results[0].settings["seed"], crossed=())
    return [other[of.group].less(first[of.group]) for other in others]


# With more sets than these, only the means over them are tested.
MOST_SETS = 3


def tested_groups(result: Result) -> list[str]:
    """The groups whose differences are told: each pair of sets, or the means over them if there are many sets."""
    if len(sets_of(result)) <= MOST_SETS:
        groups = [group_of(train, test) for test in sets_of(result) for train in trains_of(result)]
        groups += [ORDINARY_ONE, ORDINARY]
    else:
        groups = [WITHIN, ACROSS, OTHERS, ORDINARY_ONE, ORDINARY]
    return [group for group in groups if result.metric("auroc", group, detector=headline_kind(result))]


def encoder_differences(results: Sequence[Result], seed: int = 42) -> list[Compared]:
    """The differences of the first result from each other one by the headline detector, for each of `tested_groups`.

    results: with their items. Interval and p are Student's, of the standard error over resamples of whole groups of
    prompts; a second p is corrected by Holm over all these differences.
    """
    first = results[0]
    kind = headline_kind(first)
    others = [r for r in results[1:] if kind in kinds_of(r) and r.items.get("id") == first.items.get("id")]
    return _differences([(r, kind, r.encoder.label) for r in (first, *others)], seed)


def detector_differences(result: Result, seed: int = 42) -> list[Compared]:
    """The differences of the headline detector from each other one of the same encoder, in the same way."""
    kind = headline_kind(result)
    others = [other for other in kinds_of(result) if other not in (kind, *CONTROLS)]
    return _differences([(result, one, plain_name(one)) for one in (kind, *others)], seed)


def _differences(scored: Sequence[tuple[Result, str, str]], seed: int) -> list[Compared]:
    """The differences of the first (result, detector, title) from each other one."""
    if len(scored) < 2:
        return []
    groups = tested_groups(scored[0][0])
    of, *others = areas([one[:2] for one in scored], RESAMPLES, seed, crossed=())
    found = []
    for group in groups:
        for other, (_, _, title) in zip(others, scored[1:], strict=True):
            found.append((group, scored[0][2], title, of[group].less(other[group])))
    corrected = holm([one[3].p for one in found])
    return [Compared(*one, p) for one, p in zip(found, corrected, strict=True)]
