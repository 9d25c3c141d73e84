"""Compares encoders on the same items: intervals, paired tests, and a ranking in which encoders can tie.

Reads result files and the items beside them; computes no embedding.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from utils.metrics.uncertainty import ALPHA, effect_size, holm
from utils.results.find import named, once
from utils.results.likeness import refuse_unlike, side_by_side
from utils.results.paired import Scores, differences_by_group, groups_of, item_scores
from utils.results.result_file import read_with_items
from utils.schema import SUMMARIES, Difference, InputError, Metric, Result
from utils.tasks import TASKS, Task

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
    average_p: dict[Pair, float | None]
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
    groups = np.array(first.groups, dtype=object)
    members = {group: groups == group for group in order}

    def test(pair: Pair) -> Tested:
        one, other = (by_name[name] for name in pair)
        gaps = np.subtract(one.values, other.values)
        return {group: (found, effect_size(gaps[members[group]] if group in members else gaps))
                for group, found in differences_by_group(one, other, metric).items()}  # fmt: skip

    sizes = {group.sum() for group in members.values()}
    same = {"overall": "average"} if len(sizes) == 1 else {}
    return compared(scores, metric, reference, (*order, *SUMMARIES), "average", same, test, unranked)


def compared(
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
    better = next(m.better for m in first.result.metrics if m.name == metric)
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
    rows = {
        name: {m.group: m for m in reversed(one.result.metrics) if m.name == metric} for name, one in by_name.items()
    }
    cells = []
    for group in shown:
        for name in by_name:
            row = rows[name][group]
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


@dataclass(frozen=True)
class Gate:
    """The most by which a metric may be worse than the reference's.

    text: as the user gave it. task: the name of the task that has the metric. rate: the false positive rate at which
    recall is taken; None for the other metrics.
    """

    text: str
    task: str
    metric: str
    tolerance: float
    rate: float | None = None


@dataclass(frozen=True)
class Gated:
    """A mean of an encoder that a gate is on, the reference's, and their difference."""

    encoder: str
    group: str
    value: float
    reference: float
    difference: Difference
    better: str


class PairedByItems:
    """How the encoders of a task are compared: paired by items. A task may have a class of its own in its place.

    test: what its p-values are of, in words. has_effect_size: whether it has Cohen's d.
    """

    test = "paired t-test within type or category"
    has_effect_size = True

    def alike(self, files: Sequence[Path]) -> tuple[list[Result], list[str]]:
        """The results in the files, with their items, made comparable, and a sentence on each change or omission.

        Raises InputError if they can't be compared.
        """
        headline = TASKS[files[0].parent.name].headline
        results, note = side_by_side([read_with_items(path, [headline]) for path in files], files)
        return results, [note] if note else []

    def parts(self, files: Sequence[Path], reference: str | None) -> list[list[Path]]:
        """The files that are compared together. reference: what the others are compared with, the first if None."""
        return [list(files)]

    def read_one(self, path: Path) -> Result:
        """The result in a file, with its items."""
        return read_with_items(path)

    def headline(self, results: Sequence[Result]) -> str:
        """The metric by which they are compared unless another one is asked for."""
        return TASKS[results[0].task].headline

    def main(self, result: Result) -> Metric:
        """The number that ranks an encoder."""
        return result.mean(self.headline([result]))

    def read(self, files: Sequence[Path], metric: str | None) -> tuple[list[Result], Sequence[Path], str]:
        """The results in the files made comparable, each with its file, and a note or ''. metric: the one asked for."""
        results, paths = once([self.read_one(path) for path in files], files)
        results, note = side_by_side(results, paths)
        results, paths = once(results, paths)
        if len(results) < 2:
            raise InputError(
                f"{results[0].encoder.name} on {results[0].task}: all results are copies of this one; evaluate a "
                "different encoder"
            )
        return results, paths, note

    def metrics(self, result: Result) -> list[str]:
        """The metrics by which a result can be compared."""
        return [column for column in result.items if any(m.metric == column for m in result.metrics)]

    def scores(self, result: Result, metric: str) -> Scores:
        """What `compare` takes of a result that has the metric."""
        return item_scores(result, metric)

    def compare(
        self,
        scores: Sequence[Scores],
        metric: str,
        reference: str,
        seed: int = 42,
        unranked: Mapping[str, str] | None = None,
    ) -> Comparison:
        """The comparison of comparable results. seed: of resamples, if there are any."""
        return compare(scores, metric, reference, unranked)

    def means(self, comparison: Comparison) -> int:
        """How many rows of a comparison, its last ones, are means over others."""
        return len(SUMMARIES)

    def gates(self, task: Task) -> dict[str, bool]:
        """The metrics that a gate can be on, and whether each is taken at a rate that the gate names."""
        return {task.headline: False}

    def gated(self, gate: Gate, reference: Scores, others: Sequence[Scores], metric: str, seed: int) -> Iterator[Gated]:
        """The means of others that the gate is on. metric: the one that the scores are of."""
        scores = [scores_of(one.result, gate.metric) for one in (reference, *others)]
        for cell in compare(scores, gate.metric, reference.result.encoder.name).cells:
            if cell.group == "average" and cell.difference is not None:
                value = reference.result.mean(gate.metric).value
                yield Gated(cell.encoder, "average", cell.metric.value, value, cell.difference, cell.metric.better)


def comparing(task: Task) -> PairedByItems:
    """How the encoders of a task are compared."""
    return task.comparing() if task.comparing else PairedByItems()


def read_files(files: Sequence[Path], metric: str | None, reference: str | None) -> tuple[list[Scores], str, str, str]:
    """Results of one task made comparable, the metric, the name of the reference, and a note or ''.

    metric: the task's headline metric if None. reference: an encoder as in `find_results`, the first if None.
    Raises InputError if a file is missing or is not a result file, or if the results can't be compared.
    """
    how = comparing(TASKS[files[0].parent.name])
    results, files, note = how.read(files, metric)
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
    metric = metric or how.headline(results)
    return [scores_of(result, metric) for result in results], metric, chosen, note


def scores_of(result: Result, metric: str) -> Scores:
    """A result, and its items' values of `metric` with their influences. Raises InputError if it has no such scores."""
    how = comparing(TASKS[result.task])
    if metric not in how.metrics(result):
        name = f"{result.encoder.name} on {result.task}"
        raise InputError(f"--metric {metric}: {name} has no such scores (it has: {', '.join(how.metrics(result))})")
    return how.scores(result, metric)
