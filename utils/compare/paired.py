"""Compares encoders on the same items: intervals, paired tests, and a ranking in which encoders can tie.

Reads result files and the items beside them; computes no embedding.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from utils.metrics.uncertainty import effect_size, holm, resampled_p_value, sign_flip_p_values
from utils.results.find import named, told_apart
from utils.results.likeness import refuse_unlike, side_by_side
from utils.results.result_file import read_result, read_with_items
from utils.schema import InputError, Metric, PValue, Result
from utils.tasks import DETECTION, TASKS
from utils.transfer import differences
from utils.transfer import results as transfer
from utils.transfer.guards import on_same_prompts

# Flips of a test: at least LEAST_FLIPS, and enough for the least p-value to be at most 0.005 after Holm's correction.
LEAST_FLIPS, FLIPS_PER_TEST = 20_000, 200
ALPHA = 0.05
# The means of detection that rank encoders: the first of them that there is.
RANKED_BY = (transfer.ACROSS, transfer.WITHIN, transfer.OTHERS, transfer.ORDINARY)

Pair = tuple[str, str]
# The difference of two encoders, its effect size, if there is one, and its p-value.
Tested = tuple[float, float | None, PValue]


@dataclass(frozen=True)
class Scores:
    """An encoder's result, with its items, and the items' values of one metric; no values in detection."""

    result: Result
    values: Sequence[float] = ()


@dataclass(frozen=True)
class Cell:
    """The score of one encoder on one group, and its difference from the reference on the same items.

    difference, effect_size, p: None for the reference itself. For averages, p is corrected by Holm over all pairs of
    encoders, as are the ranks; for other groups, over all other differences from the reference. Groups of the same mean
    are one test: `overall` is the average if all types have the same number of items.
    """

    group: str
    encoder: str
    metric: Metric
    difference: float | None = None
    effect_size: float | None = None
    p: PValue | None = None


@dataclass(frozen=True)
class Comparison:
    """A task's encoders compared by one metric.

    ranked_by: the group of the averages. ranks: encoder to one more than the number of encoders that are better by the
    test of their averages.
    average_p: the p-values of that test, Holm-corrected, by pair of encoders in the order of `labels`.
    same: the groups that are the same mean as an earlier one, to that group.
    note: a further sentence under the table.
    """

    task: str
    metric: str
    dataset: str
    reference: str
    labels: dict[str, str]
    cells: list[Cell]
    ranks: dict[str, int]
    average_p: dict[tuple[str, str], PValue]
    ranked_by: str = "average"
    same: dict[str, str] = field(default_factory=dict)
    note: str = ""


def compare(scores: Sequence[Scores], metric: str, reference: str, seed: int = 42) -> Comparison:
    """The comparison of results of one task with a reference, by paired sign-flip tests on the same items.

    An encoder's rank is one more than the number of encoders that are better than it by the test of their averages,
    Holm-corrected over all pairs. The other p-values are corrected over all other differences from the reference.
    Raises InputError, naming the reason, if the results can't be compared.
    """
    refuse_unlike([one.result for one in scores])
    names = [s.result.encoder.name for s in scores]
    by_name = dict(zip(names, scores, strict=True))
    first = scores[0]
    groups = np.array(list(first.result.items.values())[1], dtype=object)
    values = {name: np.array(by_name[name].values) for name in names}
    weights = {m.group: _weights(groups, m.group) for m in first.result.metrics if m.metric == metric}
    weights = {group: its for group, its in weights.items() if its is not None}
    shown = list(weights)
    same = _equal({group: its.round(15).tobytes() for group, its in weights.items()}, "average")
    n = len(scores)
    tests = max((len(shown) - len(same) - 1) * (n - 1), n * (n - 1) // 2)
    flips = max(LEAST_FLIPS, FLIPS_PER_TEST * tests)

    def test(group: str, pairs: Sequence[Pair]) -> list[Tested]:
        its = weights[group]
        chosen = its > 0
        differences = np.array([(values[one] - values[other])[chosen] for one, other in pairs])
        p_values = sign_flip_p_values(differences, its[chosen], flips, seed)
        means = (differences @ its[chosen]).tolist()
        return list(zip(means, map(effect_size, differences), p_values, strict=True))

    return _compared(scores, metric, reference, shown, "average", same, test)


def _equal(numbers: dict[str, Hashable], ranked_by: str) -> dict[str, str]:
    """The groups whose numbers are those of `ranked_by` or of an earlier group, to that group."""
    first: dict[Hashable, str] = {numbers[ranked_by]: ranked_by}
    return {group: found for group, its in numbers.items() if (found := first.setdefault(its, group)) != group}


def compare_detectors(scores: Sequence[Scores], metric: str, reference: str, seed: int = 42) -> Comparison:
    """The comparison of the AUROC of one detector on several encoders, by a paired bootstrap of whole groups.

    scores: results with their items. Ranks are by the mean over pairs of different sets; if there is one set, by
    that set; with guards, by the mean of `others`, or over ordinary traffic. The rest is as in `compare`.
    """
    refuse_unlike([one.result for one in scores])
    kind = next(m.detector for m in scores[0].result.metrics if m.metric == metric)
    groups = [m.group for m in scores[0].result.metrics if m.metric == metric]
    ranked_by = next((place for place in RANKED_BY if place in groups), groups[0])
    n = len(scores)
    tests = max((len(groups) - 1) * (n - 1), n * (n - 1) // 2)
    resamples = differences.resamples_for(tests)
    areas = differences.areas([(one.result, kind) for one in scores], resamples, seed)
    by_name = {one.result.encoder.name: of for one, of in zip(scores, areas, strict=True)}
    if any(transfer.is_guard(one.result) for one in scores):  # the metrics are of fewer prompts, and have no intervals
        scores = [Scores(_with_intervals(one.result, metric, of)) for one, of in zip(scores, areas, strict=True)]

    def test(group: str, pairs: Sequence[Pair]) -> list[Tested]:
        found = []
        for one, other in pairs:
            (a, drawn), (b, others) = by_name[one][group], by_name[other][group]
            found.append((a - b, None, resampled_p_value(a - b, drawn - others)))
        return found

    numbers = {group: tuple(of[group][1].tobytes() for of in areas) for group in groups}
    return _compared(scores, metric, reference, groups, ranked_by, _equal(numbers, ranked_by), test)


def _with_intervals(result: Result, metric: str, of: dict[str, tuple[float, np.ndarray]]) -> Result:
    rows = []
    for m in result.metrics:
        low, high = differences.interval(result, m.group, *of[m.group]) if m.metric == metric else (None, None)
        rows.append(replace(m, low=low, high=high))
    return replace(result, metrics=tuple(rows))


def _compared(
    scores: Sequence[Scores],
    metric: str,
    reference: str,
    shown: Sequence[str],
    ranked_by: str,
    same: dict[str, str],
    test: Callable[[str, Sequence[Pair]], list[Tested]],
) -> Comparison:
    """The comparison by `test`, of a group and pairs of encoders. same: groups that are the same test as another."""
    first = scores[0]
    by_name = {one.result.encoder.name: one for one in scores}
    names = list(by_name)
    better = next(m.better for m in first.result.metrics if m.metric == metric)
    others = [(name, reference) for name in names if name != reference]
    tested = {(*pair, group): one for group in shown for pair, one in zip(others, test(group, others), strict=True)}
    secondary = [key for key in tested if key[2] != ranked_by and key[2] not in same]
    corrected = dict(zip(secondary, holm([tested[key][2] for key in secondary]), strict=True))
    all_pairs = list(combinations(names, 2))
    pairs = dict(zip(all_pairs, test(ranked_by, all_pairs), strict=True))
    average_p = dict(zip(pairs, holm([p for _, _, p in pairs.values()]), strict=True))
    for pair in others:
        corrected[(*pair, ranked_by)] = average_p[pair] if pair in average_p else average_p[pair[::-1]]
    cells = []
    for group in shown:
        for name in names:
            row = by_name[name].result.metric(metric, group)
            if name == reference:
                cells.append(Cell(group, name, row))
            else:
                difference, effect, _ = tested[name, reference, group]
                p = corrected[name, reference, same.get(group, group)]
                cells.append(Cell(group, name, row, difference, effect, p))
    worse_than = dict.fromkeys(names, 0)
    for pair, p in average_p.items():
        if p.value <= ALPHA:
            one_is_better = (pairs[pair][0] < 0) == (better == "lower")
            worse_than[pair[1] if one_is_better else pair[0]] += 1
    return Comparison(
        task=first.result.task,
        metric=metric,
        dataset=first.result.dataset_name,
        reference=reference,
        labels={name: by_name[name].result.encoder.label for name in names},
        cells=cells,
        ranks={name: 1 + number for name, number in worse_than.items()},
        average_p=average_p,
        ranked_by=ranked_by,
        same=same,
    )


def parts_of(files: Sequence[Path], reference: str | None) -> list[list[Path]]:
    """The files of one task that are compared together: those of encoders, then, if there are guards, all.

    A reference that is a guard is compared with all only; without a reference, encoders come first. Raises InputError
    if a file is not a result file.
    """
    of_detection = files[0].parent.name == DETECTION.name
    guards = [path for path in files if of_detection and transfer.is_guard(read_result(path))]
    encoders = [path for path in files if path not in guards]
    together = list(files) if reference is not None else [*encoders, *guards]
    parts = [[] if reference is not None and named(guards, reference) else encoders, together if guards else []]
    return [part for part in parts if len(part) > 1]


def compare_files(files: Sequence[Path], metric: str | None, reference: str | None, seed: int = 42) -> Comparison:
    """The comparison of the results in files of one task: see `read_files`, which raises InputError."""
    return compare_read(*read_files(files, metric, reference), seed)


def compare_read(scores: Sequence[Scores], metric: str, reference: str, note: str, seed: int = 42) -> Comparison:
    """The comparison of what `read_files` returns."""
    of_task = compare_detectors if scores[0].result.task == DETECTION.name else compare
    return replace(of_task(scores, metric, reference, seed), note=note)


def read_files(files: Sequence[Path], metric: str | None, reference: str | None) -> tuple[list[Scores], str, str, str]:
    """Results of one task made comparable, the metric, the name of the reference, and a note or ''.

    metric: the task's headline metric if None. reference: an encoder as in `find_results`, the first if None.
    Raises InputError if a file is missing or is not a result file, or if the results can't be compared.
    """
    of_detection = files[0].parent.name == DETECTION.name
    results = [transfer.read(path) if of_detection else read_with_items(path) for path in files]
    if any(map(transfer.is_guard, results)):
        results = told_apart(results, files)
        encoders = [result for result in results if not transfer.is_guard(result)] or results[:1]
        metric = metric or transfer.metric_of("auroc", transfer.headline_kind(encoders[0]))
        for result in encoders:
            scores_of(result, metric)
        results, note = on_same_prompts(results, metric.removeprefix("auroc/"))
    else:
        results, note = side_by_side(results, files)
    first = results[0]
    names = {path: result.encoder.name for path, result in zip(files, results, strict=True)}
    chosen = first.encoder.name
    if reference is not None:
        matching = [reference] if reference in names.values() else [names[path] for path in named(files, reference)]
        if len(matching) != 1:
            raise InputError(
                f"--reference {reference}: {'several results' if matching else 'no result'} of {first.task} (there "
                f"are: {', '.join(matching or names.values())}); name one"
            )
        chosen = matching[0]
    if metric is None and of_detection:
        metric = transfer.metric_of("auroc", transfer.headline_kind(first))
    metric = metric or TASKS[first.task].headline
    return [scores_of(result, metric) for result in results], metric, chosen, note


def _weights(groups: np.ndarray, group: str) -> np.ndarray | None:
    """The weight of each item in a group's mean, (n,); None for a group without items."""
    if group == "overall":
        return np.full(len(groups), 1 / len(groups))
    if group == "average":
        names, inverse, sizes = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
        return 1 / len(names) / sizes[inverse]
    chosen = groups == group
    return chosen / chosen.sum() if chosen.any() else None


def scores_of(result: Result, metric: str) -> Scores:
    """A result and its items' values of `metric`. Raises InputError if it has no such scores."""
    name = f"{result.encoder.name} on {result.task}"
    if result.task == DETECTION.name:
        kinds = [kind for kind in transfer.kinds_of(result) if kind not in transfer.CONTROLS]
        has = [transfer.metric_of("auroc", kind) for kind in kinds]
    else:
        has = [column for column in result.items if any(m.metric == column for m in result.metrics)]
    if metric not in has:
        raise InputError(f"--metric {metric}: {name} has no such scores (it has: {', '.join(has)})")
    if result.task == DETECTION.name:
        return Scores(result)
    try:
        return Scores(result, [float(value) for value in result.items[metric]])
    except ValueError:
        raise InputError(f"{name}: '{metric}' is not a number for every item; run the task again") from None
