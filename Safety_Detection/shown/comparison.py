"""Compares detectors on several encoders, and guards, by a paired bootstrap of whole groups of prompts."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from Safety_Detection.detectors.kinds import CONTROLS
from Safety_Detection.protocol.resampling import Drawn
from Safety_Detection.sets import naming
from Safety_Detection.shown import differences, reading
from Safety_Detection.shown.guards import on_same_prompts
from utils.compare.paired import Comparison, Gate, Gated, Pair, PairedByItems, Tested, compared, scores_of
from utils.results.find import named, told_apart
from utils.results.likeness import refuse_unlike
from utils.results.paired import Scores
from utils.results.result_file import read_result
from utils.schema import InputError, Metric, Result
from utils.tasks import Task

# The means that rank encoders: the first of them that there is.
RANKED_BY = (naming.ACROSS, naming.WITHIN, naming.OTHERS, naming.ORDINARY)
RECALL = "recall_at_fpr"
# How a flag names the area of a detector: this, then the detector.
AREA_OF = "auroc/"
# The means that a gate is on, those of them that there are; of a single set, the one within it.
GATED = (naming.ACROSS, naming.OTHERS, naming.ORDINARY)


def _equal(numbers: Mapping[str, Hashable], ranked_by: str) -> dict[str, str]:
    """The groups whose numbers are those of `ranked_by` or of an earlier group, to that group."""
    first: dict[Hashable, str] = {numbers[ranked_by]: ranked_by}
    return {group: found for group, its in numbers.items() if (found := first.setdefault(its, group)) != group}


def compare_detectors(
    scores: Sequence[Scores],
    metric: str,
    reference: str,
    seed: int = 42,
    unranked: Mapping[str, str] | None = None,
) -> Comparison:
    """The comparison of the AUROC of one detector on several encoders, by a paired bootstrap of whole groups.

    scores: results with their items. Ranks are by the mean over pairs of different sets; if there is one set, by
    that set; with guards, by the mean of `others`, or over ordinary traffic. The rest is as in `compare`.
    """
    refuse_unlike([one.result for one in scores])
    kind = metric.removeprefix(AREA_OF)
    groups = [m.group for m in scores[0].result.metrics if m.name == metric]
    ranked_by = next((place for place in RANKED_BY if place in groups), groups[0])
    areas = differences.areas([(one.result, kind) for one in scores], differences.RESAMPLES, seed)
    by_name = {one.result.encoder.name: of for one, of in zip(scores, areas, strict=True)}
    if any(reading.is_guard(one.result) for one in scores):  # the metrics are of fewer prompts, and have no intervals
        scores = [Scores(_with_intervals(one.result, metric, of)) for one, of in zip(scores, areas, strict=True)]

    def test(pair: Pair) -> Tested:
        of, other = by_name[pair[0]], by_name[pair[1]]
        return {group: (of[group].less(other[group]), None) for group in groups}

    numbers = {group: tuple(of[group].replicates.tobytes() for of in areas) for group in groups}
    return compared(scores, metric, reference, groups, ranked_by, _equal(numbers, ranked_by), test, unranked)


def _with_intervals(result: Result, metric: str, of: dict[str, Drawn]) -> Result:
    rows = []
    for m in result.metrics:
        low, high = of[m.group].interval() if m.name == metric else (None, None)
        rows.append(replace(m, low=low, high=high))
    return replace(result, metrics=tuple(rows))


class PairedByGroups(PairedByItems):
    """How detectors on several encoders are compared: paired by groups of prompts, guards beside all of them."""

    test = "paired bootstrap of groups"
    has_effect_size = False

    def alike(self, files: Sequence[Path]) -> tuple[list[Result], list[str]]:
        """The results that can be compared with the newest, and a sentence on each of the others."""
        return reading.alike(files)

    def parts(self, files: Sequence[Path], reference: str | None) -> list[list[Path]]:
        """The files that are compared together: those of encoders, then, if there are guards, all.

        A reference that is a guard is compared with all only; without a reference, encoders come first. Raises
        InputError if a file is not a result file.
        """
        guards = [path for path in files if reading.is_guard(read_result(path))]
        encoders = [path for path in files if path not in guards]
        together = list(files) if reference is not None else [*encoders, *guards]
        return [[] if reference is not None and named(guards, reference) else encoders, together if guards else []]

    def read_one(self, path: Path) -> Result:
        """The result in a file, with its items."""
        return reading.read(path)

    def headline(self, results: Sequence[Result]) -> str:
        """The area of the headline detector of the first."""
        return f"{AREA_OF}{reading.headline_kind(results[0])}"

    def main(self, result: Result) -> Metric:
        """The mean area of the headline detector across sets; the one within its set if there are none across."""
        kind, places = reading.headline_kind(result), (naming.ACROSS, naming.OTHERS, naming.ORDINARY, naming.WITHIN)
        return next(filter(None, (result.metric("auroc", place, detector=kind) for place in places)))

    def read(self, files: Sequence[Path], metric: str | None) -> tuple[list[Result], Sequence[Path], str]:
        """The results in the files made comparable; with guards among them, on the prompts that all have scored."""
        if not any(reading.is_guard(read_result(path)) for path in files):
            return super().read(files, metric)
        results = told_apart([reading.read(path) for path in files], files)
        encoders = [result for result in results if not reading.is_guard(result)] or results[:1]
        metric = metric or self.headline(encoders)
        for result in encoders:
            scores_of(result, metric)
        results, note = on_same_prompts(results, metric.removeprefix(AREA_OF))
        return results, files, note

    def metrics(self, result: Result) -> list[str]:
        """The areas of the detectors that are no controls."""
        kinds = [kind for kind in reading.kinds_of(result) if kind not in CONTROLS]
        return [f"{AREA_OF}{kind}" for kind in kinds]

    def scores(self, result: Result, metric: str) -> Scores:
        """The result itself: areas are computed from its items."""
        return Scores(result)

    def compare(
        self,
        scores: Sequence[Scores],
        metric: str,
        reference: str,
        seed: int = 42,
        unranked: Mapping[str, str] | None = None,
    ) -> Comparison:
        """The comparison of comparable results. seed: of the resamples."""
        return compare_detectors(scores, metric, reference, seed, unranked)

    def means(self, comparison: Comparison) -> int:
        """How many rows of a comparison, its last ones, are means over pairs of sets."""
        return len({cell.group for cell in comparison.cells if cell.metric.test is None})

    def gates(self, task: Task) -> dict[str, bool]:
        """The area, recall at a false positive rate that the gate names, and what is flagged at each own threshold."""
        return {task.headline: False, **dict.fromkeys(differences.OF_FLAGS, False), RECALL: True}

    def gated(self, gate: Gate, reference: Scores, others: Sequence[Scores], metric: str, seed: int) -> Iterator[Gated]:
        """The means of others that the gate is on. metric: the area of the detector that is gated.

        With guards among the results, only the differences between a guard and an encoder are looked at, as encoders
        are compared by themselves. Raises InputError if the results have none of the means.
        """
        guards = [one for one in (reference, *others) if reading.is_guard(one.result)]
        others = [one for one in others if not guards or one in guards or reference in guards]
        kind = metric.removeprefix(AREA_OF)
        scored, better = [(one.result, kind) for one in (reference, *others)], "higher"
        if gate.metric in differences.OF_FLAGS:
            better = differences.OF_FLAGS[gate.metric]
            first, *means = differences.shares(scored, gate.metric, differences.RESAMPLES, seed)
        else:
            areas = differences.areas(scored, differences.RESAMPLES, seed, crossed=(), rate=gate.rate)
            places = [place for place in (*GATED, naming.WITHIN) if place in areas[0]]
            first, *means = [{place: of[place] for place in places} for of in areas]
        groups = [place for place in GATED if place in first] or [one for one in (naming.WITHIN,) if one in first]
        if not groups:
            raise InputError(f"--gate {gate.text}: the results have none of the means {', '.join(GATED)}")
        for one, of in zip(others, means, strict=True):
            for group in groups:
                yield Gated(
                    one.result.encoder.name,
                    group,
                    of[group].value,
                    first[group].value,
                    of[group].less(first[group]),
                    better,
                )
