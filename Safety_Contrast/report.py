"""What the report says of Safety-Contrast's results."""

from collections.abc import Callable
from itertools import pairwise

from utils.compare.paired import Comparison
from utils.metrics.embedding import OVERLAP_BINS
from utils.report.findings import Finding, against_floor, score
from utils.report.items import worst_table
from utils.schema import Result
from utils.tables import Cell, Table, percent


def findings(best: Result, name: str, comparison: Comparison | None) -> list[Finding]:
    """How near small safe edits stay to their originals for the best encoder."""
    m = best.mean("boundary_similarity")
    flagged = 1 - best.mean("pairwise_accuracy", "overall").value
    text = (
        f"The nearest safe edit of an unsafe prompt stays at {score(m)} of the way from unrelated to identical, "
        f"averaged over categories, for {name}{against_floor(best, comparison)}. A guardrail that flags every "
        f"prompt with a normalized similarity of {best.settings['threshold']:g} or more to a known unsafe prompt would "
        f"flag at least {percent(flagged, 'z.1f')} of the safe edits, each for its own original."
    )
    # The mean edit, not the nearest: in a bin with more edits the nearest is nearer for that reason alone.
    bins = {name: best.metric("mean_similarity", name) for name in OVERLAP_BINS}
    words = ("word overlap below 0.2", "from 0.2 to 0.5", "from 0.5 up")
    there = [(word, m) for word, m in zip(words, bins.values(), strict=True) if m is not None]
    if len(there) > 1:
        ends = [m.interval for _, m in there]
        apart = all(a and b and a[1] < b[0] for a, b in pairwise(ends))
        rule = "The smaller the edit, the nearer" if apart else "By the size of the edit"
        means = ", ".join(f"{m.value:z.3f} ({word})" for word, m in there)
        text += f" {rule}: the mean edit stays at {means}."
    return [Finding("Small safe edits", text)]


def worst_items(result: Result, rows: list[dict], prompt: Callable[[str, str], Cell]) -> Table:
    """The originals whose nearest safe edit is nearest."""
    return worst_table(
        f"originals with the nearest safe edit for {result.encoder.label}",
        sorted(rows, key=lambda row: -row["boundary_similarity"]),
        ["boundary_similarity", "mean_word_overlap"],
        {
            "original": lambda row: prompt(row["id"], "original_prompt"),
            "nearest safe edit": lambda row: prompt(row["id"], f"prompt_#{row['nearest_edit']}"),
        },
    )
