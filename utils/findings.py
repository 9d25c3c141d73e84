"""What results say, in sentences whose every number and comparison is computed from them."""

from collections.abc import Sequence
from dataclasses import dataclass

from utils.compare import HEADLINES, Comparison, p_text
from utils.schema import Metric, Result

FLOOR = "tfidf"
OVERLAPS = ("overlap < 0.2", "overlap 0.2-0.5", "overlap >= 0.5")


@dataclass(frozen=True)
class Finding:
    """A heading of a few words and the sentences under it, plain text."""

    heading: str
    text: str


def findings_of(results: Sequence[Result], comparison: Comparison | None) -> list[Finding]:
    """What one task's results say of the best encoder among them, the floor aside.

    results: of one task, comparable, one at least. comparison: of the same results, None where there is just one.
    """
    best = leader(results, comparison)
    sentences = {
        "safety_challenging": _challenging,
        "safety_contrast": _contrast,
        "safety_taxonomy": _taxonomy,
    }[best.task](best, comparison)
    ranking = _ranking(comparison)
    return [*sentences, *([Finding("Ranking", ranking)] if ranking else [])]


def leader(results: Sequence[Result], comparison: Comparison | None) -> Result:
    """The encoder with the best average by the headline metric; the floor only where there is nothing else."""
    others = [result for result in results if result.encoder.name != FLOOR] or list(results)
    metric = HEADLINES[others[0].task]
    sign = 1 if others[0].metric(metric, "average").better == "lower" else -1
    return min(others, key=lambda result: sign * result.value(metric, "average"))


def _taxonomy(best: Result, comparison: Comparison | None) -> list[Finding]:
    m = best.metric("categorical_purity", "average")
    k = best.settings["top_k"]
    text = (
        f"Of a prompt's {k} nearest neighbour{'s' if k > 1 else ''}, a share of {_score(m)} is of its own category for "
        f"{best.encoder.label}{_against_floor(best, comparison)}. Neighbours drawn at random give {m.chance:.3f}. "
        f"{_extremes(best, 'categorical_purity', 'Strongest in', 'weakest in')}"
    )
    return [Finding("Topics", text)]


def _challenging(best: Result, comparison: Comparison | None) -> list[Finding]:
    m = best.metric("normalized_similarity", "average")
    twins = (
        f"A safe prompt that shares an unsafe one's words stays at {_score(m)} of the way from unrelated (0) to "
        f"identical (1) for {best.encoder.label}{_against_floor(best, comparison)}. "
        f"{_extremes(best, 'normalized_similarity', 'Told apart worst in', 'best in')}"
    )
    triplet = best.metric("triplet_accuracy", "average")
    verdict = ""
    if triplet.low is not None and triplet.high < 0.5:
        verdict = " So it goes by the words before it goes by safety."
    elif triplet.low is not None and triplet.low > 0.5:
        verdict = " So safety weighs more than the words."
    elif triplet.low is not None:
        verdict = " The two can't be told apart."
    blind = (
        f"An unsafe prompt is nearer to another unsafe prompt of its type than to its own safe twin in "
        f"{triplet.value * 100:.1f} % of comparisons for {best.encoder.label}; an encoder blind to safety and topic "
        f"gets 50 %.{verdict}"
    )
    return [Finding("Safe twins", twins), Finding("Words or safety", blind)]


def _contrast(best: Result, comparison: Comparison | None) -> list[Finding]:
    m = best.metric("boundary_similarity", "average")
    flagged = 1 - best.value("pairwise_accuracy", "overall")
    text = (
        f"The nearest safe edit of an unsafe prompt stays at {_score(m)} of the way from unrelated to identical for "
        f"{best.encoder.label}{_against_floor(best, comparison)}. A guardrail that takes what is "
        f"at {best.settings['threshold']:g} or nearer for unsafe would flag {flagged * 100:.0f} % of the safe edits."
    )
    bins = [best.value("boundary_similarity", name) for name in OVERLAPS]
    words = ("with a word overlap below 0.2", "from 0.2 to 0.5", "from 0.5 up")
    there = [f"{value:.3f} {word}" for word, value in zip(words, bins, strict=True) if value is not None]
    if len(there) > 1:
        values = [value for value in bins if value is not None]
        rule = "The less is edited, the nearer" if values == sorted(values) else "By the size of the edit"
        text += f" {rule}: {', '.join(there)}."
    return [Finding("Small safe edits", text)]


def _score(m: Metric) -> str:
    return f"{m.value:.3f}" if m.low is None else f"{m.value:.3f} (95 % interval {m.low:.3f} to {m.high:.3f})"


def _against_floor(best: Result, comparison: Comparison | None) -> str:
    """How it compares with word overlap alone, where that is the reference of the comparison."""
    if comparison is None or comparison.reference != FLOOR or best.encoder.name == FLOOR:
        return ""
    cells = {cell.encoder: cell for cell in comparison.cells if cell.group == "average"}
    mine, floor = cells[best.encoder.name], cells[FLOOR].metric.value
    p = "p < 0.001" if mine.p < 0.001 else f"p = {p_text(mine.p)}"
    if mine.p > 0.05:
        return f", which can't be told apart from what word overlap alone gets (TF-IDF {floor:.3f}, {p})"
    more = "more" if mine.difference > 0 else "less"
    return f", {abs(mine.difference):.3f} {more} than word overlap alone (TF-IDF {floor:.3f}, {p})"


def _extremes(best: Result, metric: str, first: str, last: str) -> str:
    """The two groups where a metric is highest and lowest."""
    skipped = ("average", "overall", *OVERLAPS)
    groups = [m for m in best.metrics if m.metric == metric and m.group not in skipped]
    high, low = max(groups, key=lambda m: m.value), min(groups, key=lambda m: m.value)
    return f"{first} {_shown(high)}, {last} {_shown(low)}."


def _shown(m: Metric) -> str:
    return f"{m.group.replace('_', ' ')} ({m.value:.3f})"


def _ranking(comparison: Comparison | None) -> str:
    """The encoders by rank; nothing where the floor and one other are all there is."""
    if comparison is None or len(set(comparison.labels) - {FLOOR}) < 2:
        return ""
    by_rank: dict[int, list[str]] = {}
    for name, rank in sorted(comparison.ranks.items(), key=lambda pair: pair[1]):
        by_rank.setdefault(rank, []).append(comparison.labels[name])
    parts = [f"{rank}. {' = '.join(labels)}" for rank, labels in by_rank.items()]
    return f"{'; '.join(parts)}. Those joined by = share a rank: no difference from the best of them at 0.05."
