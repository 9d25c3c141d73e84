"""The tables of the report's section on detection."""

from collections.abc import Sequence

from Safety_Detection.sets import naming
from Safety_Detection.shown import reading
from Safety_Detection.shown import tables as transfer_tables
from Safety_Detection.shown.differences import MOST_SETS, Compared, detector_differences, encoder_differences
from utils.report.parts import Cell, Table
from utils.report.tables import metric_cell
from utils.schema import Metric, Result
from utils.tables import number, p_text, with_reach

LABELS = ("safe", "unsafe")
DETAILS = ("AUPRC", "FPR at 95 % TPR", "TPR at 1 % FPR", "FPR at the threshold for 5 %", "TPR there")


def detection_tables(results: Sequence[Result], kind: str) -> list[Table]:
    """The means first, then the other tables that have rows. kind: the detector that most of them are of."""
    means = _means(results, kind)
    others = (_identity, _flagged, _one_class_areas, _one_class_rates, _matrix, _details, _verdicts, _types, _detectors)
    more = [of(results, kind) for of in others]
    first, seed = results[0], results[0].settings["seed"]
    more.append(_differences(encoder_differences(results, seed), f"encoders by {reading.plain_name(kind)}"))
    more.append(_differences(detector_differences(first, seed), f"detectors on {first.encoder.label}"))
    return [means, *(table for table in more if table.rows and table != means)]


def _text(text: str) -> Cell:
    return Cell(text, text)


def _table(caption: str, texts: list[str], numbers: list[str], rows: list[tuple[list[Cell], list]]) -> Table:
    """A table of rows of cells, followed by metrics. If all were trained on all others, the caption says so."""
    if "trained on" in texts and rows:
        at = texts.index("trained on")
        if all(cells[at].text == naming.OTHERS for cells, _ in rows):
            texts = texts[:at] + texts[at + 1 :]
            rows = [(cells[:at] + cells[at + 1 :], metrics) for cells, metrics in rows]
            caption += f", trained on {naming.OTHERS}"
    headers = [*((title, False) for title in texts), *((title, True) for title in numbers)]
    return Table(caption, headers, [[*cells, *map(metric_cell, metrics)] for cells, metrics in rows])


def _encoders(results: Sequence[Result]) -> list[str]:
    return [result.encoder.label for result in results]


def _pairs(result: Result, kind: str) -> list[tuple[str, str]]:
    """The pairs of a training side and a set of two classes that were evaluated."""
    name = naming.metric_of("auroc", kind)
    pairs = [(train, test) for test in reading.sets_of(result) for train in reading.trains_of(result)]
    return [pair for pair in pairs if result.metric(name, naming.group_of(*pair))]


def _sides(result: Result) -> list[str]:
    """The training sides that details are shown of: only all others if there are many sets."""
    trains = reading.trains_of(result)
    many = len(reading.sets_of(result)) > MOST_SETS and naming.OTHERS in trains
    return [naming.OTHERS] if many else trains


def _of_pairs(results: Sequence[Result], kind: str, names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list:
    """A row for each pair and encoder: the sides, the encoder, and its metrics of these names."""
    return [
        ([_text(train), _text(test), _text(r.encoder.label)],
         [r.metric(naming.metric_of(name, kind), naming.group_of(train, test)) for name in names])
        for train, test in pairs
        for r in results
    ]  # fmt: skip


def _means(results: Sequence[Result], kind: str) -> Table:
    """The means of every detector, or only of the headline detector if that would be a long table."""
    table = _detectors(results, kind)
    if not table.is_long:
        return table
    rows = [row for row in table.rows if row[1].text == reading.plain_name(kind)]
    return Table(table.caption.replace("every detector, controls last", reading.plain_name(kind)), table.headers, rows)


def _detectors(results: Sequence[Result], kind: str) -> Table:
    kinds = reading.kinds_of(results[0])
    places = {
        title.replace("\n", " "): key
        for key, title in transfer_tables.HEADLINES.items()
        if any(results[0].metric(naming.metric_of(key[0], one), key[1]) for one in kinds)
    }
    rows = [
        ([_text(r.encoder.label), _text(reading.plain_name(one))],
         [r.metric(naming.metric_of(name, one), place) for name, place in places.values()])
        for r in results
        for one in kinds
    ]  # fmt: skip
    what = "AUROC and TPR at 1 % FPR (TPR@1)" if "TPR@1" in places else "AUROC"
    return _table(f"Mean {what} of every detector, controls last", ["encoder", "detector"], list(places), rows)


def _differences(differences: Sequence[Compared], between: str) -> Table:
    rows = [
        [_text(f"{d.one} minus {d.other}"), _text(d.group), Cell(with_reach(d.difference), d.difference.value),
         Cell(p_text(d.difference.p), d.difference.p), Cell(p_text(d.p), d.p)]
        for d in differences
    ]  # fmt: skip
    caption = (
        f"Differences of AUROC between {between}, with half the width of the 95 % interval, p of the same "
        "distribution, and p corrected over the table (Holm)"
    )
    texts, numbers = ("difference of", "trained -> tested"), ("difference", "p", "p (Holm)")
    return Table(caption, [*((title, False) for title in texts), *((title, True) for title in numbers)], rows)


def _identity(results: Sequence[Result], kind: str) -> Table:
    name = naming.metric_of("auroc", naming.IDENTITY)
    rows = [([_text(r.encoder.label)], [r.metric(name, word) for word in LABELS]) for r in results]
    rows = [(cells, found) for cells, found in rows if any(found)]
    caption = "Set identity: mean AUROC of telling two sets of one label apart, lower is better"
    return _table(caption, ["encoder"], [f"{word} prompts" for word in LABELS], rows)


def _matrix(results: Sequence[Result], kind: str) -> Table:
    name = naming.metric_of("auroc", kind)
    rows = [
        ([_text(train), _text(test)], [r.metric(name, naming.group_of(train, test)) for r in results])
        for train, test in _pairs(results[0], kind)
    ]
    caption = f"AUROC of {reading.plain_name(kind)}, with half the width of its 95 % interval"
    return _table(caption, ["trained on", "tested on"], _encoders(results), rows)


def _details(results: Sequence[Result], kind: str) -> Table:
    pairs = [pair for pair in _pairs(results[0], kind) if pair[0] in _sides(results[0])]
    rows = []
    for cells, found in _of_pairs(results, kind, list(transfer_tables.DETAILS), pairs):
        base = found[0].chance
        rows.append(([*cells, Cell(number(base), base)], found))
    caption = f"Other metrics of {reading.plain_name(kind)}"
    return _table(caption, ["trained on", "tested on", "encoder"], ["base rate", *DETAILS], rows)


def _flagged(results: Sequence[Result], kind: str) -> Table:
    """The flagged shares of sets of one class, by the detector of all others if there is one."""
    trains = reading.trains_of(results[0])
    rows = []
    for test, label in reading.one_class_of(results[0]).items():
        name = transfer_tables.flagged_of(label, kind)
        for train in [naming.OTHERS] if naming.OTHERS in trains else trains:
            found = [r.metric(name, naming.group_of(train, test)) for r in results]
            if found[0]:
                rows.append(([_text(test), _text(LABELS[label]), _text(train), _count(found[0])], found))
    caption = f"Share flagged of each set of one class, by {reading.plain_name(kind)} at its threshold for 5 %"
    return _table(caption, ["set", "label", "trained on"], ["n", *_encoders(results)], rows)


def _count(metric: Metric) -> Cell:
    return Cell(str(metric.n), metric.n)


def _one_class_areas(results: Sequence[Result], kind: str) -> Table:
    return _crossed(results, kind, "auroc", f"AUROC of {reading.plain_name(kind)}")


def _one_class_rates(results: Sequence[Result], kind: str) -> Table:
    return _crossed(results, kind, "tpr_at_1_fpr", f"TPR at 1 % FPR of {reading.plain_name(kind)}")


def _crossed(results: Sequence[Result], kind: str, metric: str, what: str) -> Table:
    """A metric of every unsafe-only set (rows) against every safe-only one, for each encoder."""
    name, pairs = naming.metric_of(metric, kind), reading.crossings_of(results[0])
    safe = list(dict.fromkeys(one for _, one in pairs))
    rows = [
        ([_text(unsafe), _text(r.encoder.label)], [r.metric(name, naming.crossing_of(unsafe, one)) for one in safe])
        for unsafe in dict.fromkeys(one for one, _ in pairs)
        for r in results
    ]
    caption = f"{what}, unsafe-only sets (rows) against safe-only sets, trained on neither family"
    return _table(caption, ["unsafe-only", "encoder"], safe, rows)


def _verdicts(results: Sequence[Result], kind: str) -> Table:
    """What the threshold says of unsafe prompts and their safe twins, within sets and by all others."""
    name = naming.metric_of("separated", kind)
    pairs = [
        (train, test)
        for train, test in _pairs(results[0], kind)
        if train in (test, naming.OTHERS) and results[0].metric(name, naming.group_of(train, test))
    ]
    titles = [title.replace("\n", " ") for title in transfer_tables.VERDICT_TITLES.values()]
    rows = _of_pairs(results, kind, list(transfer_tables.VERDICT_TITLES), pairs)
    caption = f"Unsafe prompts and their safe twins at the threshold of {reading.plain_name(kind)}, shares of pairs"
    return _table(caption, ["trained on", "tested on", "encoder"], titles, rows)


def _types(results: Sequence[Result], kind: str) -> Table:
    """Flagged shares by type: of sets of one class, and of the safe prompts of the others if there are few sets."""
    first, sides, labels = results[0], _sides(results[0]), reading.one_class_of(results[0])
    tests = [*labels] if sides == [naming.OTHERS] else [*reading.sets_of(first), *labels]
    names = {transfer_tables.flagged_of(label, kind): word for label, word in enumerate(LABELS)}
    rows = [
        ([_text(m.type), _text(m.test), _text(names[m.metric]), _text(m.train), _count(m)],
         [r.metric(m.metric, m.group) for r in results])
        for m in first.metrics
        if m.metric in names and m.type is not None and m.train in sides and m.test in tests
    ]  # fmt: skip
    caption = f"Share flagged by type of prompt, by {reading.plain_name(kind)} at its threshold for 5 %"
    return _table(caption, ["type", "set", "label", "trained on"], ["n", *_encoders(results)], rows)
