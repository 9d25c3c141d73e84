"""Says what results show, in sentences whose every number and comparison is computed from them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from utils.compare.paired import ALPHA, Comparison
from utils.results.ranked import why_no_rank
from utils.schema import CONTROLS, SUMMARIES, Metric, Result, control_order, shown
from utils.tables import p_text
from utils.tasks import TASKS

# The control that averages are compared with: what an encoder knows beyond it is more than words.
FLOOR = "tfidf"


def place(name: str, first: Sequence[str]) -> tuple[int, str]:
    """What encoders are sorted by: those named first, in that order, then the others by name, controls last."""
    return first.index(name) if name in first else len(first) + control_order(name), name


@dataclass(frozen=True)
class Finding:
    """A heading of a few words and the sentences under it, plain text."""

    heading: str
    text: str


def findings_of(
    results: Sequence[Result], comparison: Comparison | None, unranked: Mapping[str, str] | None = None
) -> list[Finding]:
    """The findings on the best encoder of one task's results, controls excluded.

    results: of one task, comparable, at least one. comparison: of the same results, None if there is only one.
    unranked: encoders that have no rank, with the reason; the best is not one of them.
    """
    unranked = {name: why for name, why in (unranked or {}).items() if name not in CONTROLS}
    best = leader(results, unranked)
    others = len([result for result in results if result.encoder.name not in (*CONTROLS, *unranked)])
    aside = "" if others + len(unranked) == len(results) else " (controls aside)"
    name = best.encoder.label if others < 2 else f"{best.encoder.label}, the best of {others}{aside}"
    return [*TASKS[best.task].findings(best, name, comparison), *_ranking(comparison), *_unranked(results, unranked)]


def leader(results: Sequence[Result], unranked: Collection[str] = ()) -> Result:
    """The encoder with the best average by the headline metric; a control only if there is no other, TF-IDF first.

    unranked: encoders that have no rank, of which one leads only if all others have none either.
    """
    others = [result for result in results if result.encoder.name not in CONTROLS]
    others = others or [result for result in results if result.encoder.name == FLOOR] or list(results)
    others = [result for result in others if result.encoder.name not in unranked] or others
    return min(others, key=lambda result: result.mean(TASKS[result.task].headline).loss)


def score(m: Metric) -> str:
    """A number with its interval, if it has one."""
    if m.interval is None:
        return f"{m.value:z.3f}"
    low, high = m.interval
    return f"{m.value:z.3f} (95 % interval {low:z.3f} to {high:z.3f})"


def against_floor(best: Result, comparison: Comparison | None) -> str:
    """How its average compares with that of word overlap alone, by the test that the ranks use."""
    if comparison is None or FLOOR not in comparison.labels or best.encoder.name == FLOOR:
        return ""
    average = {cell.encoder: cell.metric.value for cell in comparison.cells if cell.group == "average"}
    difference, floor = average[best.encoder.name] - average[FLOOR], average[FLOOR]
    p = next((p for pair, p in comparison.average_p.items() if set(pair) == {best.encoder.name, FLOOR}), None)
    if p is None:  # one of them has no rank
        return ""
    text = p_text(p)
    said = f"p < {text[1:]}" if text[0] == "<" else f"p = {text}"
    if p >= ALPHA:
        return f", which can't be told apart from the average of word overlap alone (TF-IDF {floor:z.3f}, {said})"
    more = "more" if difference > 0 else "less"
    return f", {abs(difference):z.3f} {more} than word overlap alone (TF-IDF {floor:z.3f}, {said})"


def extremes(best: Result, metric: str, first: str, last: str) -> str:
    """The two groups where a metric is highest and lowest, among those that could reach its highest value."""
    groups = [m for m in best.by_group(metric) if m.group not in SUMMARIES and m.ceiling in (None, 1.0)]
    if len({m.value for m in groups}) < 2:
        return ""
    high, low = max(groups, key=_value), min(groups, key=_value)
    return f" {first} {_shown(high)}, {last} {_shown(low)}."


def _value(m: Metric) -> float:
    return m.value


def _shown(m: Metric) -> str:
    return f"{m.group.replace('_', ' ')} ({m.value:z.3f})"


def _ranking(comparison: Comparison | None) -> list[Finding]:
    """The encoders by rank and average; empty if there are only controls and one other."""
    if comparison is None or len(comparison.ranks.keys() - {*CONTROLS}) < 2:
        return []
    average = {cell.encoder: cell.metric for cell in comparison.cells if cell.group == "average"}
    by_rank: dict[int, list[str]] = {}
    for name in sorted(comparison.ranks, key=lambda name: (comparison.ranks[name], average[name].loss)):
        by_rank.setdefault(comparison.ranks[name], []).append(comparison.labels[name])
    parts = [f"rank {rank} {' = '.join(labels)}" for rank, labels in by_rank.items()]
    text = f"{'; '.join(parts)}. A rank is one more than the number of encoders whose averages are better at 0.05."
    return [Finding(f"Ranking by {comparison.metric.replace('_', ' ')}", text)]


def _unranked(results: Sequence[Result], unranked: Mapping[str, str]) -> list[Finding]:
    """Which encoders have no rank, and why; empty if all have one."""
    labels = {result.encoder.name: result.encoder.label for result in results}
    reasons = [f"{shown(labels[name])} has none, because {why}" for name, why in unranked.items()]
    return [Finding("No rank", f"{'; '.join(reasons)}. {why_no_rank()}")] if reasons else []
