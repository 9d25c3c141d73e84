"""Compares encoders on the same items: intervals, paired tests, and a ranking in which encoders can tie.

Reads result files and the items beside them; computes no embedding.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from utils.metrics.uncertainty import ALPHA, effect_size, holm
from utils.results.find import named, once, told_apart
from utils.results.likeness import refuse_unlike, side_by_side
from utils.results.paired import Scores, differences_by_group, groups_of, item_scores
from utils.results.result_file import read_result, read_with_items
from utils.schema import SUMMARIES, Difference, InputError, Metric, Result
from utils.tasks import TASKS
from utils.transfer import differences
from utils.transfer import results as transfer
from utils.transfer.guards import on_same_prompts

# The means of detection that rank encoders: the first of them that there is.
RANKED_BY = (transfer.ACROSS, transfer.WITHIN, transfer.OTHERS, transfer.ORDINARY)

Pair = tuple[str, str]
# The difference of two encoders by group, with its effect size, if there is one.
Tested = dict[str, tuple[Difference, float | None]]


@dataclass(frozen=True)
class Cell:
    """The score of one encoder on one group, and its difference from the reference on the same items.

    difference, effect_size, p: None for the reference itself. For averages, p is corrected by Holm over all pairs of
    ranked encoders, as are the ranks; for other groups, over all other differences from the reference. Groups of the
    same mean are one test: `overall` is the average if all types have the same number of items.
    """

    group: str
    encoder: str
    metric: Metric
    difference: Difference | None = None
    effect_size: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A task's encoders compared by one metric.

    ranked_by: the group of the averages. ranks: encoder to one more than the number of encoders that are better by the
    test of their averages. unranked: the encoders that have no rank, with the reason.
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
    average_p: dict[tuple[str, str], float]
    ranked_by: str = "average"
    same: dict[str, str] = field(default_factory=dict)
    unranked: dict[str, str] = field(default_factory=dict)
    note: str = ""


def compare(
    scores: Sequence[Scores], metric: str, reference: str, unranked: Mapping[str, str] | None = None
) -> Comparison:
    """The comparison of results of one task with a reference, paired by items and stratified by group.

    unranked: encoders that get no rank, with the reason.
    An encoder's rank is one more than the number of encoders that are better than it by the test of their averages,
    Holm-corrected over all pairs of ranked ones. The other p-values are corrected over all other differences from the
    reference. Raises InputError, naming the reason, if the results can't be compared.
    """
    refuse_unlike([one.result for one in scores])
    by_name = {one.result.encoder.name: one for one in scores}
    first = scores[0].result
    order = groups_of(first, metric)
    groups = np.array(list(first.items.values())[1], dtype=object)
    members = {group: groups == group for group in order}

    def test(pair: Pair) -> Tested:
        one, other = (by_name[name] for name in pair)
        gaps = np.subtract(one.values, other.values)
        return {group: (found, effect_size(gaps[members[group]] if group in members else gaps))
                for group, found in differences_by_group(one, other, metric).items()}  # fmt: skip

    sizes = {group.sum() for group in members.values()}
    same = {"overall": "average"} if len(sizes) == 1 else {}
    return _compared(scores, metric, reference, (*order, *SUMMARIES), "average", same, test, unranked)


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
    areas = differences.areas([(one.result, kind) for one in scores], differences.RESAMPLES, seed)
    by_name = {one.result.encoder.name: of for one, of in zip(scores, areas, strict=True)}
    if any(transfer.is_guard(one.result) for one in scores):  # the metrics are of fewer prompts, and have no intervals
        scores = [Scores(_with_intervals(one.result, metric, of)) for one, of in zip(scores, areas, strict=True)]
    clusters = {group: differences.clusters_of(scores[0].result, group) for group in groups}

    def test(pair: Pair) -> Tested:
        of, other = by_name[pair[0]], by_name[pair[1]]
        return {group: (differences.difference(of[group], other[group], clusters[group]), None) for group in groups}

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
    test: Callable[[Pair], Tested],
    unranked: Mapping[str, str] | None = None,
) -> Comparison:
    """The comparison by `test`, of a pair of encoders. same: groups that are the same test as another."""
    first = scores[0]
    by_name = {one.result.encoder.name: one for one in scores}
    unranked = {name: why for name, why in (unranked or {}).items() if name in by_name}
    better = next(m.better for m in first.result.metrics if m.metric == metric)
    others = {name: test((name, reference)) for name in by_name if name != reference}
    secondary = [(name, group) for group in shown for name in others if group not in (ranked_by, *same)]
    corrected = dict(zip(secondary, holm([others[name][group][0].p for name, group in secondary]), strict=True))
    ranked = [name for name in by_name if name not in unranked]
    pairs = {pair: test(pair)[ranked_by][0] for pair in combinations(ranked, 2)}
    average_p = dict(zip(pairs, holm([one.p for one in pairs.values()]), strict=True))
    for name, of in others.items():
        pair = next((pair for pair in ((name, reference), (reference, name)) if pair in average_p), None)
        # One without a rank is a family of its own: its difference is shown, and nothing is concluded from it.
        corrected[name, ranked_by] = average_p[pair] if pair else of[ranked_by][0].p
    cells = []
    for group in shown:
        for name, one in by_name.items():
            row = one.result.metric(metric, group)
            if name == reference:
                cells.append(Cell(group, name, row))
            else:
                cells.append(Cell(group, name, row, *others[name][group], corrected[name, same.get(group, group)]))
    worse_than = dict.fromkeys(ranked, 0)
    for pair, p in average_p.items():
        if p is not None and p < ALPHA:
            one_is_better = (pairs[pair].value < 0) == (better == "lower")
            worse_than[pair[1] if one_is_better else pair[0]] += 1
    return Comparison(
        task=first.result.task,
        metric=metric,
        dataset=first.result.dataset_name,
        reference=reference,
        labels={name: one.result.encoder.label for name, one in by_name.items()},
        cells=cells,
        ranks={name: 1 + number for name, number in worse_than.items()},
        average_p=average_p,
        ranked_by=ranked_by,
        same=same,
        unranked=unranked,
    )


def parts_of(files: Sequence[Path], reference: str | None) -> list[list[Path]]:
    """The files of one task that are compared together: those of encoders, then, if there are guards, all.

    A reference that is a guard is compared with all only; without a reference, encoders come first. Raises InputError
    if a file is not a result file.
    """
    of_detection = files[0].parent.name == "safety_detection"
    guards = [path for path in files if of_detection and transfer.is_guard(read_result(path))]
    encoders = [path for path in files if path not in guards]
    together = list(files) if reference is not None else [*encoders, *guards]
    parts = [[] if reference is not None and named(guards, reference) else encoders, together if guards else []]
    return [part for part in parts if len(part) > 1]


def compare_read(
    scores: Sequence[Scores],
    metric: str,
    reference: str,
    note: str,
    seed: int = 42,
    unranked: Mapping[str, str] | None = None,
) -> Comparison:
    """The comparison of what `read_files` returns. unranked: encoders that get no rank, with the reason."""
    if scores[0].result.task == "safety_detection":
        return replace(compare_detectors(scores, metric, reference, seed), note=note)
    return replace(compare(scores, metric, reference, unranked), note=note)


def read_files(files: Sequence[Path], metric: str | None, reference: str | None) -> tuple[list[Scores], str, str, str]:
    """Results of one task made comparable, the metric, the name of the reference, and a note or ''.

    metric: the task's headline metric if None. reference: an encoder as in `find_results`, the first if None.
    Raises InputError if a file is missing or is not a result file, or if the results can't be compared.
    """
    of_detection = files[0].parent.name == "safety_detection"
    results = [transfer.read(path) if of_detection else read_with_items(path) for path in files]
    if any(map(transfer.is_guard, results)):
        results = told_apart(results, files)
        encoders = [result for result in results if not transfer.is_guard(result)] or results[:1]
        metric = metric or transfer.metric_of("auroc", transfer.headline_kind(encoders[0]))
        for result in encoders:
            scores_of(result, metric)
        results, note = on_same_prompts(results, metric.removeprefix("auroc/"))
    else:
        results, files = once(results, files)
        results, note = side_by_side(results, files)
        results, files = once(results, files)
        if len(results) < 2:
            raise InputError(
                f"{results[0].encoder.name} on {results[0].task}: all results are copies of this one; evaluate a "
                "different encoder"
            )
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


def scores_of(result: Result, metric: str) -> Scores:
    """A result, and its items' values of `metric` with their influences. Raises InputError if it has no such scores."""
    name = f"{result.encoder.name} on {result.task}"
    if result.task == "safety_detection":
        kinds = [kind for kind in transfer.kinds_of(result) if kind not in transfer.CONTROLS]
        has = [transfer.metric_of("auroc", kind) for kind in kinds]
    else:
        has = [column for column in result.items if any(m.metric == column for m in result.metrics)]
    if metric not in has:
        raise InputError(f"--metric {metric}: {name} has no such scores (it has: {', '.join(has)})")
    return Scores(result) if result.task == "safety_detection" else item_scores(result, metric)
