"""Shows results of detection in tables of 80 columns."""

import textwrap
from collections.abc import Sequence

from Safety_Detection.sets.naming import (
    ACROSS,
    GIVEN,
    IDENTITY,
    ORDINARY,
    ORDINARY_ONE,
    OTHERS,
    WITHIN,
    crossing_of,
    group_of,
    metric_of,
)
from Safety_Detection.shown.differences import MOST_SETS, RESAMPLES, Compared
from Safety_Detection.shown.reading import (
    crossings_of,
    headline_kind,
    is_guard,
    kinds_of,
    matrix,
    one_class_of,
    plain_name,
    sets_of,
    trains_of,
)
from utils import tables
from utils.schema import Metric, Result, shown

DETAILS = {
    "auprc": "AUPRC",
    "fpr_at_95_tpr": "FPR@95",
    "tpr_at_1_fpr": "TPR@1",
    "fpr_at_threshold": "FPR@t",
    "tpr_at_threshold": "TPR@t",
}
MEANS = {
    WITHIN: "within: grouped five-fold inside a set.",
    ACROSS: "across: trained on one set, tested on another.",
    OTHERS: "others: trained on all sets outside the tested one's family.",
    ORDINARY: "ordinary: unsafe-only sets against ordinary traffic, trained on one set or on all others of neither "
    "family; TPR@1: the share of the unsafe prompts that the latter flags there at 1 % false positives.",
}
DIFFERENCES_NOTE = (
    f"± half the width of the 95 % interval. Interval and p are Student's, of the standard error over {RESAMPLES:,} "
    "resamples of whole groups of prompts: p is below 0.05 exactly where the interval leaves out 0. p (Holm) is "
    "corrected for all differences between encoders, or for all between detectors."
)
DETAILS_NOTE = (
    "base: share of unsafe prompts. FPR@95: false positive rate at 95 % true\n"
    "positives. TPR@1: true positive rate at 1 % false positives. @t: both at the\n"
    "threshold that flags 5 % of the training side's safe prompts"
)


HEADLINES = {
    ("auroc", WITHIN): "within",
    ("auroc", ACROSS): "across",
    ("auroc", OTHERS): "others",
    ("auroc", ORDINARY_ONE): "ordinary\n(one set)",
    ("auroc", ORDINARY): "ordinary\n(others)",
    ("tpr_at_1_fpr", ORDINARY): "TPR@1",
}
VERDICT_TITLES = {
    "separated": "separated", "both_flagged": "both\nflagged", "both_passed": "both\npassed", "inverted": "inverted",
}  # fmt: skip


def headed(name: str) -> str:
    """A set's name as a heading: its parts below one another where it is long."""
    return name if len(name) <= 10 else name.replace("_", "\n")


def matrix_table(result: Result) -> str:
    """The matrix of areas under the ROC curve for the terminal; without intervals where there are many sets."""
    rows, sets = matrix(result), sets_of(result)
    shown = tables.with_interval if len(sets) <= MOST_SETS else lambda m: tables.number(m and m.value)
    columns = [[(headed(name), [shown(row[i]) for row in rows])] for i, name in enumerate(sets)]
    return tables.blocks([("trained on", trains_of(result))], columns)


def detectors_table(result: Result) -> str:
    """Each detector's mean area within sets, across pairs of sets, trained on all others, and on ordinary traffic."""
    kinds = kinds_of(result)
    there = [key for key in HEADLINES if any(result.metric(metric_of(key[0], kind), key[1]) for kind in kinds)]
    columns = [
        [
            (
                HEADLINES[name, group],
                [tables.with_interval(result.metric(metric_of(name, kind), group)) for kind in kinds],
            )
        ]
        for name, group in there
    ]
    return tables.blocks([("detector", [plain_name(kind) for kind in kinds])], columns)


def means_note(result: Result) -> str:
    """What the means of a result are over, on one line."""
    return " ".join(text for place, text in MEANS.items() if any(m.group == place for m in result.metrics))


def identity_line(result: Result) -> str:
    """How well the vectors tell sets of the same label apart; '' if that was not measured."""
    found = {word: result.value(metric_of("auroc", IDENTITY), word) for word in ("unsafe", "safe")}
    said = [f"{tables.number(value)} for {word} prompts" for word, value in found.items() if value is not None]
    return f"Set identity, the AUROC of telling two sets of one label apart: {', '.join(said)}." if said else ""


def details_table(result: Result) -> str:
    """The other metrics of the headline detector, a row for each set trained on and tested.

    Where there are many sets, only the rows of `others`; '' if there are no rows.
    """
    kind, sets = headline_kind(result), sets_of(result)
    trains = trains_of(result) if len(sets) <= MOST_SETS or OTHERS not in trains_of(result) else [OTHERS]
    pairs = [(a, b) for b in sets for a in trains if result.metric(metric_of("auroc", kind), group_of(a, b))]
    if not pairs:
        return ""
    found = {name: [result.metric(metric_of(name, kind), group_of(*pair)) for pair in pairs] for name in DETAILS}
    columns = [[(title, [tables.number(m and m.value) for m in found[name]])] for name, title in DETAILS.items()]
    columns.insert(1, [("base", [tables.number(m and m.chance) for m in found["auprc"]])])
    left = [("trained on", [a for a, _ in pairs]), ("tested on", [b for _, b in pairs])]
    return tables.blocks(left, columns)


def flagged_table(result: Result) -> str:
    """The share of each set of one class that is flagged at the threshold; '' if there is no such set."""
    kind, sets = headline_kind(result), one_class_of(result)
    trains = trains_of(result)
    trains = trains if len(trains) <= MOST_SETS or OTHERS not in trains else [OTHERS]
    rows = {test: [result.metric(flagged_of(label, kind), group_of(train, test)) for train in trains]
            for test, label in sets.items()}  # fmt: skip
    if not rows:
        return ""
    columns = [[(train, [tables.with_interval(row[i]) for row in rows.values()])] for i, train in enumerate(trains)]
    left = [("set", list(rows)), ("label", [("safe", "unsafe")[sets[test]] for test in rows])]
    left.append(("n", [str(next((m.n for m in row if m), "-")) for row in rows.values()]))
    return tables.blocks(left, columns)


def flagged_of(label: int, kind: str) -> str:
    """The metric of the share of a class that a detector's threshold flags."""
    return metric_of("tpr_at_threshold" if label else "fpr_at_threshold", kind)


def crossings_table(result: Result, metric: str = "auroc") -> str:
    """A metric of every unsafe-only set (rows) against every safe-only one; '' if there are none."""
    name, pairs = metric_of(metric, headline_kind(result)), crossings_of(result)
    unsafe, safe = (list(dict.fromkeys(one)) for one in zip(*pairs, strict=True)) if pairs else ([], [])
    train = GIVEN if is_guard(result) else OTHERS
    if not pairs:
        return ""
    columns = [
        [(headed(one), [tables.with_interval(result.metric(name, crossing_of(other, one, train))) for other in unsafe])]
        for one in safe
    ]
    return tables.blocks([("unsafe-only", unsafe)], columns)


def verdicts_table(result: Result) -> str:
    """What the threshold says of unsafe prompts and their safe twins; '' if no set has twins."""
    kind = headline_kind(result)
    rows = [
        (train, test)
        for test in sets_of(result)
        for train in trains_of(result)
        if train in (test, OTHERS, GIVEN) and result.metric(metric_of("separated", kind), group_of(train, test))
    ]
    if not rows:
        return ""
    columns = [
        [(title, [tables.with_interval(result.metric(metric_of(name, kind), group_of(*row))) for row in rows])]
        for name, title in VERDICT_TITLES.items()
    ]
    return tables.blocks([("trained on", [a for a, _ in rows]), ("tested on", [b for _, b in rows])], [*columns])


def types_table(result: Result) -> str:
    """Flagged shares by the headline detector, by type of safe prompt and of sets of one class; '' without types.

    Where there are many sets, only of sets of one class, by the detector of all others.
    """
    kind, trains = headline_kind(result), trains_of(result)
    names = [flagged_of(label, kind) for label in (0, 1)]
    tests = [*sets_of(result), *one_class_of(result)]
    if len(sets_of(result)) > MOST_SETS and OTHERS in trains:
        trains, tests = [OTHERS], list(one_class_of(result))
    rows: dict[tuple[str, str], dict[str, Metric]] = {}
    for m in result.metrics:
        if m.metric in names and m.type is not None and m.train in trains and m.test in tests:
            rows.setdefault((m.test, m.type), {})[m.train] = m
    if not rows:
        return ""
    several = len({test for test, _ in rows}) > 1
    titles = [f"{test}: {kind}" if several else kind for test, kind in rows]
    left = [("type", [shorter(title, 50) for title in titles])]
    left.append(("n", [str(next(iter(row.values())).n) for row in rows.values()]))
    columns = [[(train, [tables.with_interval(row.get(train)) for row in rows.values()])] for train in trains]
    return tables.blocks(left, columns)


def shorter(text: str, most: int) -> str:
    """The text, cut to `most` characters with an ellipsis at the end."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def differences_table(differences: Sequence[Compared]) -> str:
    """Differences with their intervals and p-values: a table for each pair, with a row for each of its groups."""
    by_pair: dict[str, list[Compared]] = {}
    for one in differences:
        by_pair.setdefault(f"{one.one} minus {one.other}", []).append(one)
    parts = []
    for title, pair in by_pair.items():
        columns = [
            ("difference", [tables.with_reach(one.difference) for one in pair]),
            ("p", [tables.p_text(one.difference.p) for one in pair]),
            ("p (Holm)", [tables.p_text(one.p) for one in pair]),
        ]
        groups = [" -> ".join(shorter(name, 29) for name in one.group.split(" -> ")) for one in pair]
        table = tables.blocks([("trained -> tested", groups)], [[column] for column in columns])
        parts.append(f"{textwrap.fill(shown(title), tables.WIDTH)}\n\n{table}")
    return "\n\n".join(parts)
