"""Shows results of detection in tables of 80 columns."""

from collections.abc import Sequence

from utils import tables
from utils.schema import Metric, Result
from utils.transfer.differences import Difference
from utils.transfer.results import (
    ACROSS,
    OTHERS,
    WITHIN,
    group_of,
    headline_kind,
    kinds_of,
    matrix,
    metric_of,
    plain_name,
    sets_of,
    trains_of,
)

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
    return tables.blocks([("detector", [plain_name(kind) for kind in kinds])], columns)


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
    rows: dict[tuple[str, str], dict[str, Metric]] = {}
    for m in result.metrics:
        if m.metric == name and m.type is not None:
            rows.setdefault((m.test, m.type), {})[m.train] = m
    if not rows:
        return ""
    several = len({test for test, _ in rows}) > 1
    titles = [f"{test}: {kind}" if several else kind for test, kind in rows]
    left = [("type", titles), ("n", [str(next(iter(row.values())).n) for row in rows.values()])]
    columns = [
        [(train, [tables.with_interval(row.get(train)) for row in rows.values()])] for train in trains_of(result)
    ]
    return tables.blocks(left, columns)


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
                texts.append(f"{tables.signed(d.value)} ({tables.p_text(d.p)})")
            columns.append([(test, texts)])
        blocks.append(tables.blocks([(title, trains)], columns))
    return "\n\n".join(blocks)
