"""The tables of results of detection."""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from Safety_Detection.sets.naming import ACROSS, FLAGGED, GIVEN, IDENTITY, ORDINARY, ORDINARY_ONE, OTHERS, WITHIN
from Safety_Detection.shown.differences import MOST_SETS, RESAMPLES, Compared, detector_differences, encoder_differences
from Safety_Detection.shown.reading import (
    crossings_of,
    headline_kind,
    is_guard,
    kinds_of,
    one_class_of,
    ordinary_of,
    plain_name,
    sets_of,
    trains_of,
)
from utils.schema import Metric, Result, shown
from utils.tables import INTERVAL, MOST_BESIDE, Table, of_rows, p_cell

LABELS = ("safe", "unsafe")
DETAILS = {
    "auprc": "AUPRC",
    "fpr_at_95_tpr": "FPR at 95 % TPR",
    "tpr_at_1_fpr": "TPR at 1 % FPR",
    "fpr_at_threshold": "FPR at the threshold for 5 %",
    "tpr_at_threshold": "TPR there",
}
VERDICT_TITLES = {name: name.replace("_", " ") for name in ("separated", "both_flagged", "both_passed", "inverted")}
# The means of a detector: metric, group and heading.
HEADLINES = (
    ("auroc", WITHIN, "within"),
    ("auroc", ACROSS, "across"),
    ("auroc", OTHERS, "others"),
    ("auroc", ORDINARY_ONE, "ordinary (one set)"),
    ("auroc", ORDINARY, "ordinary (others)"),
    ("tpr_at_1_fpr", ORDINARY, "TPR@1"),
)
MEANS = {
    WITHIN: "within: grouped five-fold inside a set.",
    ACROSS: "across: trained on one set, tested on another.",
    OTHERS: "others: trained on all sets outside the tested one's family.",
    ORDINARY: "ordinary: unsafe-only sets against ordinary traffic, trained on one set or on all others of neither "
    "family; TPR@1: the share of the unsafe prompts that the latter flags there at 1 % false positives.",
}
BASE = (
    "base rate: share of unsafe prompts. FPR, TPR: shares of safe and of unsafe prompts that are flagged. threshold: "
    "the one that flags 5 % of the safe prompts on the training side"
)
TESTED = (
    "± half the width of the 95 % interval. Interval and p are by Student's t, with the standard error over "
    f"{RESAMPLES:,} resamples of whole groups of prompts, so p is below 0.05 exactly where the interval leaves out 0. "
    "p (Holm) is corrected for all differences in the table."
)


def detection_tables(results: Sequence[Result]) -> list[Table]:
    """The means first, then the other tables that have rows, of the first result's headline detector.

    results: of the same sets, with their items.
    """
    first, kind, seed = results[0], headline_kind(results[0]), results[0].settings["seed"]
    means, (flagged, *by_one) = means_table(results, kind), flagged_tables(results, kind)
    found = [
        identity_table(results),
        flagged,
        *crossing_tables(results, kind),
        matrix_table(results, kind),
        details_table(results, kind),
        verdicts_table(results, kind),
        types_table(results, kind),
        *by_one,
        *([detectors_table(results)] if means.rows != detectors_table(results).rows else []),
        differences_table(encoder_differences(results, seed), f"encoders by {plain_name(kind)}"),
        differences_table(detector_differences(first, seed), f"detectors on {shown(first.encoder.label)}"),
    ]
    return [means, *(table for table in found if table.rows)]


def guard_tables(result: Result) -> list[Table]:
    """The tables of a guard's own scores that have rows."""
    results, kind = [result], headline_kind(result)
    tables = [
        *flagged_tables(results, kind),
        *crossing_tables(results, kind),
        verdicts_table(results, kind),
        types_table(results, kind),
    ]
    return [table for table in tables if table.rows]


def means_table(results: Sequence[Result], kind: str) -> Table:
    """The means of every detector, or only of one if that would be a long table."""
    table = detectors_table(results)
    return detectors_table(results, kind) if table.is_long else table


def detectors_table(results: Sequence[Result], kind: str | None = None) -> Table:
    """Each detector's mean area within sets, across pairs of sets, trained on all others, and on ordinary traffic.

    kind: the only detector, all if None.
    """
    first, kinds = results[0], [kind] if kind else kinds_of(results[0])
    there = [mean for mean in HEADLINES if any(first.metric(*mean[:2], detector=one) for one in kinds)]
    rows = [
        [result.encoder.label, plain_name(one), *(result.metric(name, at, detector=one) for name, at, _ in there)]
        for result, one in product(results, kinds)
    ]
    titles = [title for _, _, title in there]
    what = "AUROC and TPR at 1 % FPR (TPR@1)" if "TPR@1" in titles else "AUROC"
    caption = f"Mean {what} of {plain_name(kind) if kind else 'every detector, controls last'}"
    notes = [text for place, text in MEANS.items() if any(m.group == place for m in first.metrics)]
    ordinary = ordinary_of(first)
    notes += [f"Ordinary traffic: {', '.join(map(shown, ordinary))}."] if ordinary else []
    return _table(caption, ["encoder", "detector"], titles, rows, notes)


def identity_table(results: Sequence[Result]) -> Table:
    """How well the vectors tell sets of the same label apart."""
    rows = [[r.encoder.label, *(r.metric("auroc", word, detector=IDENTITY) for word in LABELS)] for r in results]
    caption = "Set identity: mean AUROC of telling two sets of one label apart, lower is better"
    return _table(caption, ["encoder"], [f"{word} prompts" for word in LABELS], rows)


def flagged_tables(results: Sequence[Result], kind: str) -> list[Table]:
    """The flagged shares of sets of one class: by the detector of all others if there is one, then by those of one."""
    trains = trains_of(results[0])
    sides = [[OTHERS], [train for train in trains if train != OTHERS]] if OTHERS in trains else [trains]
    titles = ("Share flagged of each set of one class", "Sets of one class by detectors of one set: share flagged")
    tables = []
    for title, some in zip(titles, sides, strict=False):
        rows = []
        for (test, label), train in product(one_class_of(results[0]).items(), some):
            found = [result.metric(FLAGGED[label], detector=kind, train=train, test=test) for result in results]
            rows.append([test, LABELS[label], train, found[0] and found[0].n, *found])
        caption = f"{title}{_by_threshold(results[0], kind)}"
        tables.append(_by_encoder(caption, ["set", "label", "trained on", "n"], "share flagged", results, rows))
    return tables


def crossing_tables(results: Sequence[Result], kind: str) -> list[Table]:
    """AUROC and true positive rate of every unsafe-only set (rows) against every safe-only one, for each encoder."""
    pairs, train = crossings_of(results[0]), GIVEN if is_guard(results[0]) else OTHERS
    unsafe, safe = (list(dict.fromkeys(names)) for names in zip(*pairs, strict=True)) if pairs else ([], [])
    tables = []
    for metric, what in (("auroc", "AUROC"), ("tpr_at_1_fpr", "TPR at 1 % FPR")):
        where = {"detector": kind, "train": train}
        rows = [
            [one, result.encoder.label, *(result.metric(metric, test=one, against=other, **where) for other in safe)]
            for one, result in product(unsafe, results)
        ]
        by = f"of {plain_name(kind)}, unsafe-only sets (rows) against safe-only sets"
        caption = f"{what} {by}{'' if train == GIVEN else ', trained on neither family'}"
        tables.append(_table(caption, ["unsafe-only", "encoder"], safe, rows))
    return tables


def matrix_table(results: Sequence[Result], kind: str) -> Table:
    """The areas under the ROC curve of every set trained on and tested."""
    rows = [
        [train, test, *(result.metric("auroc", detector=kind, train=train, test=test) for result in results)]
        for train, test in _pairs(results[0], kind)
    ]
    caption = f"AUROC of {plain_name(kind)}, with half the width of its 95 % interval"
    return _by_encoder(caption, ["trained on", "tested on"], "AUROC", results, rows)


def details_table(results: Sequence[Result], kind: str) -> Table:
    """The other metrics of a detector, a row for each set trained on and tested, if there are few, and encoder."""
    pairs = [pair for pair in _pairs(results[0], kind) if pair[0] in _sides(results[0])]
    rows = [[*row[:3], row[3].chance, *row[3:]] for row in _of_pairs(results, kind, DETAILS, pairs)]
    texts, numbers = ["trained on", "tested on", "encoder"], ["base rate", *DETAILS.values()]
    return _table(f"Other metrics of {plain_name(kind)}", texts, numbers, rows, [BASE])


def verdicts_table(results: Sequence[Result], kind: str) -> Table:
    """What the threshold says of unsafe prompts and their safe twins, within sets and by all others."""
    pairs = [
        (train, test)
        for train, test in _pairs(results[0], kind)
        if train in (test, OTHERS, GIVEN) and results[0].metric("separated", detector=kind, train=train, test=test)
    ]
    rows = _of_pairs(results, kind, VERDICT_TITLES, pairs)
    caption = f"Unsafe prompts and their safe twins at the threshold of {plain_name(kind)}, shares of pairs"
    return _table(caption, ["trained on", "tested on", "encoder"], list(VERDICT_TITLES.values()), rows)


def types_table(results: Sequence[Result], kind: str) -> Table:
    """Flagged shares by type: of sets of one class, and of the safe prompts of the others if there are few sets."""
    first, sides, labels = results[0], _sides(results[0]), one_class_of(results[0])
    tests = [*labels] if sides == [OTHERS] else [*sets_of(first), *labels]
    names = dict(zip(FLAGGED, LABELS, strict=True))
    rows = [
        [m.type, m.test, names[m.metric], m.train, m.n, *(r.metric(m.metric, m.group, detector=kind) for r in results)]
        for m in first.metrics
        if m.metric in names and m.detector == kind and m.type is not None and m.train in sides and m.test in tests
    ]
    caption = f"Share flagged by type of prompt{_by_threshold(first, kind)}"
    return _by_encoder(caption, ["type", "set", "label", "trained on", "n"], "share flagged", results, rows)


def differences_table(differences: Sequence[Compared], between: str) -> Table:
    """The differences of the first from each other one with their p-values, a row for each group."""
    others = list(dict.fromkeys(compared.other for compared in differences))
    one = shown(differences[0].one) if differences else ""
    caption = f"Differences of AUROC between {between}: {one} minus each other one"
    more: dict[str, Any] = {"notes": [TESTED], "on_demand": True}
    if len(others) > MOST_BESIDE:
        rows = [[compared.group, compared.other, *_tested(compared)] for compared in differences]
        return of_rows(
            caption, ["trained -> tested", f"{one} minus", "difference", "p", "p (Holm)"], rows, keys=2, **more
        )
    beside: dict[str, list] = {}
    for compared in differences:
        beside.setdefault(compared.group, [compared.group]).extend(_tested(compared))
    headings = ["trained -> tested", *(title for other in others for title in (f"minus {other}", "p", "p (Holm)"))]
    return of_rows(caption, headings, list(beside.values()), spans=[3] * len(others), **more)


def _tested(compared: Compared) -> list:
    return [compared.difference, p_cell(compared.difference.p), p_cell(compared.p)]


def beside_table(results: Sequence[Result]) -> Table:
    """Every metric of results of `on_same_prompts`: for each set, and for ordinary traffic, a row for each result."""
    kind = headline_kind(results[0])
    places = {test: {"train": OTHERS, "test": test} for test in sets_of(results[0])}
    means = {"mean": OTHERS, ORDINARY: ORDINARY}
    places |= {title: {"group": g} for title, g in means.items() if results[0].metric("auroc", g, detector=kind)}
    there = {m.metric for result in results for m in result.metrics}
    names = [name for name in ("auroc", *DETAILS, "f1") if name in there]
    rows = []
    for (test, place), result in product(places.items(), results):
        found = [result.metric(name, detector=kind, **place) for name in names]
        rows.append([test if result is results[0] else "", result.encoder.label, *found])
    # What a guard flags need not be for 5 % false alarms.
    titles = {"auroc": "AUROC", **DETAILS, "fpr_at_threshold": "FPR at its threshold", "f1": "F1"}
    return of_rows("", ["tested on", "by", *(titles[name] for name in names)], rows, keys=2, notes=[INTERVAL])


def _table(caption: str, names: list[str], numbers: list[str], rows: list[list], notes: Sequence[str] = ()) -> Table:
    """A table of rows of names followed by numbers or metrics; those without any metric are left out.

    If all were trained on all others, or nothing was trained, the caption says so in place of a column.
    """
    rows = [row for row in rows if any(isinstance(one, Metric) for one in row)]
    if "trained on" in names and rows:
        at = names.index("trained on")
        sides = {row[at] for row in rows}
        if sides in ({OTHERS}, {GIVEN}):
            names, *rows = ([*row[:at], *row[at + 1 :]] for row in (names, *rows))
            caption += f", trained on {OTHERS}" if sides == {OTHERS} else ""
    return of_rows(caption, [*names, *numbers], rows, keys=len(names), notes=notes)


def _by_encoder(caption: str, names: list[str], what: str, results: Sequence[Result], rows: list[list]) -> Table:
    """A table of rows of names, or counts, and each encoder's number; of many encoders, each number has its own row.

    what: the heading of the numbers in that case.
    """
    labels, at = [result.encoder.label for result in results], len(names)
    if len(labels) > MOST_BESIDE:
        pairs = ((row, *pair) for row in rows for pair in zip(labels, row[at:], strict=True))
        rows, names, labels = [[*row[:at], label, one] for row, label, one in pairs], [*names, "encoder"], [what]
    return _table(caption, names, labels, rows)


def _by_threshold(result: Result, kind: str) -> str:
    return "" if is_guard(result) else f", by {plain_name(kind)} at its threshold for 5 %"


def _pairs(result: Result, kind: str) -> list[tuple[str, str]]:
    """The pairs of a training side and a set of two classes that were evaluated."""
    pairs = [(train, test) for test in sets_of(result) for train in trains_of(result)]
    return [(a, b) for a, b in pairs if result.metric("auroc", detector=kind, train=a, test=b)]


def _sides(result: Result) -> list[str]:
    """The training sides that details are shown of: only all others if there are many sets."""
    trains = trains_of(result)
    return [OTHERS] if len(sets_of(result)) > MOST_SETS and OTHERS in trains else trains


def _of_pairs(
    results: Sequence[Result], kind: str, names: Iterable[str], pairs: Sequence[tuple[str, str]]
) -> list[list[Any]]:
    """A row for each pair and encoder: the sides, the encoder, and its metrics of these names."""
    return [
        [train, test, r.encoder.label, *(r.metric(name, detector=kind, train=train, test=test) for name in names)]
        for (train, test), r in product(pairs, results)
    ]
