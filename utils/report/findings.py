"""Says what results show, in sentences whose every number and comparison is computed from them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from utils.compare.paired import ALPHA, Comparison
from utils.metrics.embedding import OVERLAP_BINS
from utils.results.ranked import WHY
from utils.schema import CONTROLS, Metric, Result, control_order, shown
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

    @property
    def first(self) -> str:
        """The first sentence."""
        return self._parts[0]

    @property
    def rest(self) -> str:
        """The sentences after it."""
        return self._parts[1]

    @property
    def _parts(self) -> tuple[str, str]:
        first, end, rest = self.text.partition(". ")
        return f"{first}." if end else first, rest


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
    sentences = {
        "safety_challenging": _challenging,
        "safety_contrast": _contrast,
        "safety_taxonomy": _taxonomy,
    }[best.task](best, name, comparison)
    return [*sentences, *_ranking(comparison), *_unranked(results, unranked)]


def leader(results: Sequence[Result], unranked: Collection[str] = ()) -> Result:
    """The encoder with the best average by the headline metric; a control only if there is no other, TF-IDF first.

    unranked: encoders that have no rank, of which one leads only if all others have none either.
    """
    others = [result for result in results if result.encoder.name not in CONTROLS]
    others = others or [result for result in results if result.encoder.name == FLOOR] or list(results)
    others = [result for result in others if result.encoder.name not in unranked] or others
    metric = TASKS[others[0].task].headline
    sign = 1 if others[0].metric(metric, "average").better == "lower" else -1
    return min(others, key=lambda result: sign * result.value(metric, "average"))


def _taxonomy(best: Result, name: str, comparison: Comparison | None) -> list[Finding]:
    m = best.metric("categorical_purity", "average")
    k = best.settings["top_k"]
    text = (
        f"Of a prompt's {k} nearest neighbour{'s' if k > 1 else ''}, averaged over categories, a share of {_score(m)} "
        f"is of its own category for {name}{_against_floor(best, comparison)}. Neighbours drawn at random give "
        f"{m.chance:z.3f}."
    )
    return [Finding("Topics", text + _extremes(best, "categorical_purity", "Strongest in", "weakest in"))]


def _challenging(best: Result, name: str, comparison: Comparison | None) -> list[Finding]:
    m = best.metric("normalized_similarity", "average")
    twins = (
        f"A safe prompt that shares an unsafe one's words stays at {_score(m)} of the way from unrelated (0) to "
        f"identical (1), averaged over types, for {name}{_against_floor(best, comparison)}."
    )
    found = [Finding("Safe twins", twins + _extremes(best, "normalized_similarity", "Told apart worst in", "best in"))]
    triplet = best.metric("triplet_accuracy", "average")
    if triplet is None:  # no type has two different unsafe prompts
        return found
    verdict = ""
    if triplet.low is not None and triplet.high < 0.5:
        verdict = " So words weigh more than safety."
    elif triplet.low is not None and triplet.low > 0.5:
        verdict = " So safety or topic weighs more than the shared words."
    elif triplet.low is not None:
        verdict = " Neither clearly weighs more."
    blind = (
        f"An unsafe prompt is nearer to another unsafe prompt of its type than to its own safe twin in "
        f"{_percent(triplet.value)} of comparisons, averaged over types, for {name}; an encoder blind to safety and "
        f"topic gets 50 %.{verdict}"
    )
    return [*found, Finding("Words or safety", blind)]


def _contrast(best: Result, name: str, comparison: Comparison | None) -> list[Finding]:
    m = best.metric("boundary_similarity", "average")
    flagged = 1 - best.value("pairwise_accuracy", "overall")
    text = (
        f"The nearest safe edit of an unsafe prompt stays at {_score(m)} of the way from unrelated to identical, "
        f"averaged over categories, for {name}{_against_floor(best, comparison)}. A guardrail that flags every "
        f"prompt with a normalized similarity of {best.settings['threshold']:g} or more to a known unsafe prompt would "
        f"flag at least {_percent(flagged)} of the safe edits, each for its own original."
    )
    # The mean edit, not the nearest: in a bin with more edits the nearest is nearer for that reason alone.
    bins = {name: best.metric("mean_similarity", name) for name in OVERLAP_BINS}
    words = ("word overlap below 0.2", "from 0.2 to 0.5", "from 0.5 up")
    there = [(word, m) for word, m in zip(words, bins.values(), strict=True) if m is not None]
    if len(there) > 1:
        apart = all(a.low is not None and a.high < b.low for (_, a), (_, b) in pairwise(there))
        rule = "The smaller the edit, the nearer" if apart else "By the size of the edit"
        means = ", ".join(f"{m.value:z.3f} ({word})" for word, m in there)
        text += f" {rule}: the mean edit stays at {means}."
    return [Finding("Small safe edits", text)]


def _percent(share: float) -> str:
    return f"{share * 100:z.1f} %"


def _score(m: Metric) -> str:
    return f"{m.value:z.3f}" if m.low is None else f"{m.value:z.3f} (95 % interval {m.low:z.3f} to {m.high:z.3f})"


def _against_floor(best: Result, comparison: Comparison | None) -> str:
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


def _extremes(best: Result, metric: str, first: str, last: str) -> str:
    """The two groups where a metric is highest and lowest, among those that could reach its highest value."""
    groups = [
        m
        for m in best.metrics
        if m.metric == metric and m.group not in ("average", "overall") and m.ceiling in (None, 1.0)
    ]
    high, low = max(groups, key=_value, default=None), min(groups, key=_value, default=None)
    if high is None or high.value == low.value:
        return ""
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
    sign = 1 if next(iter(average.values())).better == "lower" else -1
    by_rank: dict[int, list[str]] = {}
    for name in sorted(comparison.ranks, key=lambda name: (comparison.ranks[name], sign * average[name].value)):
        by_rank.setdefault(comparison.ranks[name], []).append(comparison.labels[name])
    parts = [f"rank {rank} {' = '.join(labels)}" for rank, labels in by_rank.items()]
    text = f"{'; '.join(parts)}. A rank is one more than the number of encoders whose averages are better at 0.05."
    return [Finding(f"Ranking by {comparison.metric.replace('_', ' ')}", text)]


def _unranked(results: Sequence[Result], unranked: Mapping[str, str]) -> list[Finding]:
    """Which encoders have no rank, and why; empty if all have one."""
    labels = {result.encoder.name: result.encoder.label for result in results}
    reasons = [f"{shown(labels[name])}, {why}" for name, why in unranked.items()]
    return [Finding("No rank", f"{'; '.join(reasons)}. {WHY}")] if reasons else []
