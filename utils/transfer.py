"""What detectors trained on one set do on another, read from results: matrix, details, differences, and a finding."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from utils import tables
from utils.files import shown_path
from utils.find import told_apart
from utils.likeness import refuse_unlike
from utils.metrics import detection as dm
from utils.metrics.uncertainty import grouped_resamples, holm, resampled_p_value
from utils.results import items_path, read_result, read_with_items
from utils.schema import InputError, Metric, Result

TASK = "safety_detection"
# The first that was evaluated is the one that matrix, details and findings are of.
HEADLINE_KINDS = ("logistic_regression", "centroid_difference", "knn_vote", "nearest_unsafe")
CONTROLS = ("prompt_length", "shuffled_labels")
OTHERS = "others"
WITHIN, ACROSS = "within", "across"
# Of whole groups of prompts, for a p-value; more where there are many to correct.
LEAST_RESAMPLES = 1000
# A threshold that was to flag 5 % and flags twice that, or an area so much lower, is not to be trusted elsewhere.
MOST_FALSE_POSITIVES = 0.10
DETAILS = {
    "auprc": "AUPRC",
    "fpr_at_95_tpr": "FPR@95",
    "tpr_at_1_fpr": "TPR@1",
    "fpr_at_threshold": "FPR@t",
    "tpr_at_threshold": "TPR@t",
}
DETAILS_NOTE = (
    "base: share of unsafe prompts. FPR@95: false positive rate at 95 % true\n"
    "positives. TPR@1: true positive rate at 1 % false positives. @t: both at the\n"
    "threshold that flags 5 % of the training side's safe prompts"
)


def metric_of(name: str, kind: str) -> str:
    """How a result file names a metric of a detector."""
    return f"{name}/{kind}"


def group_of(train: str, test: str) -> str:
    """How a result file names what was trained on one set and tested on another."""
    return f"{train} -> {test}"


def kinds_of(result: Result) -> list[str]:
    """The detectors of a result, controls last, in the order they were evaluated."""
    return [m.metric.split("/")[1] for m in result.metrics if m.metric.startswith("auroc/") and m.group == WITHIN]


def headline_kind(result: Result) -> str:
    """The detector that a result is summed up by: logistic regression where it was evaluated."""
    there = kinds_of(result)
    return next(kind for kind in (*HEADLINE_KINDS, *there) if kind in there)


def sets_of(result: Result) -> list[str]:
    """The tested sets in order."""
    pairs = [m.group.split(" -> ") for m in result.metrics if m.metric.startswith("auroc/") and " -> " in m.group]
    return list(dict.fromkeys(test for _, test in pairs))


def trains_of(result: Result) -> list[str]:
    """What was trained on, in order, `others` last where it is there."""
    sets = sets_of(result)
    has_others = any(m.group.startswith(f"{OTHERS} -> ") for m in result.metrics)
    return [*sets, *([OTHERS] if has_others else [])]


def read(path: Path) -> Result:
    """A result file with its items: `id`, `set`, `label`, `group`, and the scores of every detector but the shuffled.

    Raises InputError if a file is missing or is none of ours.
    """
    result = read_result(path)
    scores = [f"{kind}/{train}" for kind in kinds_of(result) if kind != CONTROLS[1] for train in trains_of(result)]
    result = read_with_items(path, ["label", "group", *scores])
    found = result.items
    if any("" in found.get(name, [""]) for name in ("set", "label", "group", *scores)):
        raise InputError(f"{shown_path(items_path(path))}: not the whole items of a result; run the task again")
    items: dict[str, list] = {name: found[name] for name in ("id", "set")}
    items |= {name: list(map(int, found[name])) for name in ("label", "group")}
    items |= {name: list(map(float, found[name])) for name in scores}
    return replace(result, items=items)


def alike(files: Sequence[Path]) -> tuple[list[Result], list[str]]:
    """The results, with their items, that can be compared with the newest, and a sentence for each other one."""
    found, paths, notes = [], [], []
    for path in files:
        try:
            found.append(read(path))
            paths.append(path)
        except InputError as error:
            notes.append(f"Left out: {error}.")
    found = told_apart(found, paths)
    newest = max(found, key=lambda result: result.created, default=None)
    kept = []
    for result in found:
        try:
            refuse_unlike([newest, result])
            kept.append(result)
        except InputError as error:
            notes.append(f"Left out: {error}.")
    return kept, notes


def matrix(result: Result, metric: str = "auroc") -> list[list[Metric | None]]:
    """A metric of the headline detector: a row for each set trained on, a column for each tested."""
    name = metric_of(metric, headline_kind(result))
    return [[result.metric(name, group_of(a, b)) for b in sets_of(result)] for a in trains_of(result)]


def matrix_table(result: Result) -> str:
    """The matrix of areas under the ROC curve for the terminal."""
    rows, sets = matrix(result), sets_of(result)
    columns = [[(name, [tables.with_interval(row[i]) for row in rows])] for i, name in enumerate(sets)]
    return tables.blocks([("trained on", trains_of(result))], columns)


def detectors_table(result: Result) -> str:
    """Each detector's mean area within sets, across pairs of sets, and trained on all others."""
    kinds = kinds_of(result)
    summaries = [name for name in (WITHIN, ACROSS, OTHERS) if any(m.group == name for m in result.metrics)]
    columns = [
        [(name, [tables.with_interval(result.metric(metric_of("auroc", kind), name)) for kind in kinds])]
        for name in summaries
    ]
    return tables.blocks([("detector", [_plain(kind) for kind in kinds])], columns)


def details_table(result: Result) -> str:
    """The other metrics of the headline detector, a row for each set trained on and tested."""
    kind = headline_kind(result)
    pairs = [(a, b) for b in sets_of(result) for a in trains_of(result)]
    found = {name: [result.metric(metric_of(name, kind), group_of(*pair)) for pair in pairs] for name in DETAILS}
    columns = [[(title, [tables.number(m and m.value) for m in found[name]])] for name, title in DETAILS.items()]
    columns.insert(1, [("base", [tables.number(m and m.chance) for m in found["auprc"]])])
    left = [("trained on", [a for a, _ in pairs]), ("tested on", [b for _, b in pairs])]
    return tables.blocks(left, columns)


def types_table(result: Result) -> str:
    """False alarms of the headline detector by type of safe prompt; '' where no set has types."""
    name = metric_of("fpr_at_threshold", headline_kind(result))
    rows: dict[str, dict[str, Metric]] = {}
    for m in result.metrics:
        if m.metric == name and ": " in m.group:
            pair, kind = m.group.split(": ", 1)
            train, test = pair.split(" -> ")
            rows.setdefault(f"{test}: {kind}", {})[train] = m
    if not rows:
        return ""
    several = len({row.split(": ")[0] for row in rows}) > 1
    titles = [row if several else row.split(": ", 1)[1] for row in rows]
    left = [("type", titles), ("n", [str(next(iter(row.values())).n) for row in rows.values()])]
    columns = [
        [(train, [tables.with_interval(row.get(train)) for row in rows.values()])] for train in trains_of(result)
    ]
    return tables.blocks(left, columns)


@dataclass(frozen=True)
class Difference:
    """Two detectors or encoders on the same prompts: their areas' difference, and its Holm-corrected p-value."""

    group: str
    one: str
    other: str
    value: float
    p: float


def areas(
    scored: Sequence[tuple[Result, str]], resamples: int, seed: int = 42
) -> list[dict[str, tuple[float, np.ndarray]]]:
    """Areas under the ROC curve by group, and what each is in resamples of whole groups of prompts, the same for all.

    scored: results of the same prompts, with their items, and the detector of each. Groups are every set trained on and
    tested, then `within`, `across` and `others`, the means over those.
    """
    first = scored[0][0]
    sets, trains = sets_of(first), trains_of(first)
    found: list[dict[str, tuple[float, np.ndarray]]] = [{} for _ in scored]
    for position, test in enumerate(sets):
        rows = np.array([name == test for name in first.items["set"]])
        labels, clusters = (np.array(first.items[name])[rows] for name in ("label", "group"))
        columns = [
            (of, group_of(train, test), np.array(result.items[f"{kind}/{train}"], dtype=float)[rows])
            for of, (result, kind) in zip(found, scored, strict=True)
            for train in trains
        ]
        drawn: list[list[np.ndarray]] = [[] for _ in columns]
        for weights in grouped_resamples(clusters, labels, resamples, (seed, position)):
            for replicates, (_, _, scores) in zip(drawn, columns, strict=True):
                replicates.append(dm.auroc(dm.curve(labels, scores, weights)))
        for replicates, (of, group, scores) in zip(drawn, columns, strict=True):
            of[group] = float(dm.auroc(dm.curve(labels, scores))), np.concatenate(replicates)
    places = {
        WITHIN: [(test, test) for test in sets],
        ACROSS: [(train, test) for test in sets for train in sets if train != test],
        OTHERS: [(OTHERS, test) for test in sets if OTHERS in trains],
    }
    for of in found:
        for place, pairs in places.items():
            if pairs:
                parts = [of[group_of(*pair)] for pair in pairs]
                of[place] = (
                    float(np.mean([value for value, _ in parts])),
                    np.mean([drawn for _, drawn in parts], axis=0),
                )
    return found


def resamples_for(differences: int) -> int:
    """How many resamples so many differences need, for Holm's correction of the least p-value to leave 0.02 of it."""
    return max(LEAST_RESAMPLES, 50 * differences)


def encoder_differences(results: Sequence[Result], seed: int = 42) -> list[Difference]:
    """The first result against each other one by the headline detector, for every set trained on and tested.

    results: with their items. Paired bootstrap of whole groups of prompts, Holm-corrected over all differences.
    """
    first = results[0]
    kind = headline_kind(first)
    others = [r for r in results[1:] if kind in kinds_of(r) and r.items.get("id") == first.items.get("id")]
    return _differences([(r, kind, r.encoder.label) for r in (first, *others)], seed)


def detector_differences(result: Result, seed: int = 42) -> list[Difference]:
    """The headline detector against each other one of the same encoder, in the same way."""
    kind = headline_kind(result)
    others = [other for other in kinds_of(result) if other not in (kind, *CONTROLS)]
    return _differences([(result, one, _plain(one)) for one in (kind, *others)], seed)


def _differences(scored: Sequence[tuple[Result, str, str]], seed: int) -> list[Difference]:
    """The first of (result, detector, title) against each other one."""
    if len(scored) < 2:
        return []
    first = scored[0][0]
    groups = [group_of(train, test) for test in sets_of(first) for train in trains_of(first)]
    of, *others = areas([one[:2] for one in scored], resamples_for(len(groups) * (len(scored) - 1)), seed)
    found = []
    for group in groups:
        value, drawn = of[group]
        for other, (_, _, title) in zip(others, scored[1:], strict=True):
            difference = value - other[group][0]
            p = resampled_p_value(difference, drawn - other[group][1])
            found.append(Difference(group, scored[0][2], title, difference, p))
    corrected = holm([difference.p for difference in found])
    return [Difference(**{**vars(d), "p": p}) for d, p in zip(found, corrected, strict=True)]


def differences_table(differences: Sequence[Difference], result: Result) -> str:
    """Differences with p-values: a row for each set trained on, a column for each tested, a block for each pair."""
    trains, sets = trains_of(result), sets_of(result)
    by_pair: dict[str, dict[str, Difference]] = {}
    for d in differences:
        by_pair.setdefault(f"{d.one}\nminus {d.other}", {})[d.group] = d
    blocks = []
    for title, cells in by_pair.items():
        columns = []
        for test in sets:
            texts = []
            for train in trains:
                d = cells[group_of(train, test)]
                texts.append(f"{d.value:+.3f} ({tables.p_text(d.p)})")
            columns.append([(test, texts)])
        blocks.append(tables.blocks([(title, trains)], columns))
    return "\n\n".join(blocks)


def finding(result: Result) -> str:
    """What a result says of trust, in sentences whose every number is computed from it.

    For each set trained on: its area within, the worst elsewhere of those that are not to be trusted, or of all, and
    what its threshold does there.
    """
    kind, sets = headline_kind(result), sets_of(result)
    label = f"{_plain(kind)} on {result.encoder.label}"
    if len(sets) < 2:
        m = result.metric(metric_of("auroc", kind), group_of(sets[0], sets[0]))
        return (
            f"{label[0].upper()}{label[1:]} reaches AUROC {m.value:.2f} within {sets[0]}. Nothing else was tested, so "
            "nothing is known of other traffic."
        )
    sentences = []
    for train in sets:
        m = result.metric(metric_of("auroc", kind), group_of(train, train))
        away = {test: result.metric(metric_of("auroc", kind), group_of(train, test)) for test in sets if test != train}
        rate = {test: result.value(metric_of("fpr_at_threshold", kind), group_of(train, test)) for test in away}
        bad = [test for test in away if distrust(m, away[test], rate[test])]
        worst = min(bad or away, key=lambda test: away[test].value)
        false = rate[worst]
        true = result.value(metric_of("tpr_at_threshold", kind), group_of(train, worst))
        close = "it holds there" if false or true else "it is out of reach there"
        if bad:
            close = "do not trust this threshold on other traffic"
        sentences.append(
            f"Trained on {train}: {m.value:.2f} within, {away[worst].value:.2f} on {worst}, where its threshold for "
            f"5 % false alarms flags {100 * false:.0f} % of the safe and {100 * true:.0f} % of the unsafe prompts: "
            f"{close}."
        )
    return f"AUROC of {label}. {' '.join(sentences)}"


def distrust(within: Metric, elsewhere: Metric, false_positive_rate: float) -> bool:
    """Whether a detector's threshold should not be trusted on another set.

    That is where the area there can't be told from chance, or is below that within, beyond both intervals (0.05 for
    either where there are none), or where the threshold for 5 % false alarms gives more than 10 % there.
    """
    (least, _), (low, high) = (
        (m.value - 0.05, m.value + 0.05) if m.low is None else (m.low, m.high) for m in (within, elsewhere)
    )
    return high < least or low <= 0.5 or false_positive_rate > MOST_FALSE_POSITIVES


def _plain(kind: str) -> str:
    return kind.replace("_", " ")
