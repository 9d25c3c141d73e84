"""Decides which results can be compared, and by which average similarity."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from utils.results.find import told_apart
from utils.results.normalization import renormalized
from utils.schema import InputError, Result, is_control
from utils.tasks import TASKS

# The sources of each kind of average similarity. The paper's figures are means over BeaverTails too.
KINDS = {"beavertails": ("paper", "beavertails"), "own": ("own",)}
WORDS = {"beavertails": "over BeaverTails (paper or beavertails)", "own": "of the evaluated prompts (own)"}


def refuse_unlike(results: Sequence[Result]) -> None:
    """Raises InputError, naming the reason, if results of one task can't be compared with the first of them.

    Items are compared too if the results have them.
    """
    first = results[0]

    def refuse(other: Result, what: str, one: object, two: object) -> None:
        if one != two:
            pair = f"{first.encoder.name} and {other.encoder.name} on {first.task}"
            raise InputError(f"{pair}: different {what} ({one} and {two}); run both again with the same")

    for other in results[1:]:
        both = (first, other)
        refuse(other, "data", *(", ".join(f"{f.name} {f.sha256[:12]}" for f in r.dataset_files) for r in both))
        refuse(other, "number of items", *(r.dataset_items for r in both))
        for setting, shown in TASKS[first.task].settings.items():
            refuse(other, shown, *(r.settings.get(setting) for r in both))
        if _identity(first) != _identity(other):
            pair = f"{first.encoder.name} and {other.encoder.name} on {first.task}"
            raise InputError(f"{pair}: different items; run both again with the same data and --limit")
    free = [result for result in results if not is_control(result.encoder)]
    if free and shared_kind(results) is None:
        first = free[0]
        for other in free[1:]:
            refuse(other, "kind of baseline", kind_of_baseline(first), kind_of_baseline(other))


def _identity(result: Result) -> list[tuple]:
    """What identifies a result's items: their ids, groups and, in detection, labels."""
    if not result.items:
        return []
    labels = [result.items["label"]] if "label" in result.items else []
    return list(zip(result.items["id"], result.groups, *labels, strict=True))


def kind_of_baseline(result: Result) -> str | None:
    """The kind of a result's average similarity; None for a task that uses none."""
    baseline = result.settings["baseline"]
    source = None if baseline is None else baseline["source"]
    return next((kind for kind, sources in KINDS.items() if source in sources), source)


def shared_kind(results: Sequence[Result]) -> str | None:
    """The kind of average similarity that all results have or can be normalized by; of several, the most frequent.

    None if there is no such kind. Controls always have their own and are not asked.
    """
    free = [result for result in results if not is_control(result.encoder)]
    have = Counter(map(kind_of_baseline, free))
    if len(have) < 2:
        return next(iter(have), None)
    possible = [
        kind
        for kind, sources in KINDS.items()
        if all(kind == kind_of_baseline(r) or r.average_similarities.keys() & set(sources) for r in free)
    ]
    return max(possible, key=have.__getitem__, default=None)


def of_one_kind(results: Sequence[Result]) -> tuple[list[Result], str]:
    """The results by one kind of average similarity, and a sentence on those that were by a different one.

    Those are normalized again from the cosines in their items.
    """
    kind = shared_kind(results)
    again = [r for r in results if not is_control(r.encoder) and kind_of_baseline(r) != kind]
    if kind is None or not again:
        return list(results), ""
    brought = []
    for result in results:
        if result in again:
            source = next(source for source in KINDS[kind] if source in result.average_similarities)
            result = renormalized(result, source)
        brought.append(result)
    labels = ", ".join(result.encoder.label for result in again)
    return brought, (
        f"All scores are by the average similarity {WORDS[kind]}; those of {labels} were computed by a different one "
        "and are converted here, from the stored cosines"
    )


def shown_settings(results: Sequence[Result]) -> str:
    """The settings of compared results, for a title: k, or the kind of average similarity."""
    first = results[0]
    if "top_k" in TASKS[first.task].settings:
        return f"k = {first.settings['top_k']}"
    return f"b: {shared_kind(results) or kind_of_baseline(first)}"


def side_by_side(results: Sequence[Result], paths: Sequence[Path]) -> tuple[list[Result], str]:
    """Results of one task made comparable, and a sentence on those that were normalized again, or ''.

    results: with their items; paths: their files. Raises InputError, naming the reason, if they can't be compared.
    """
    results = told_apart(results, paths)
    refuse_unlike(results)
    return of_one_kind(results)
