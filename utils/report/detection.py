"""The report's section on detection."""

from collections.abc import Sequence
from pathlib import Path

from utils.figures.detection import roc_curves, transfer_heatmap
from utils.report.findings import FLOOR, Finding
from utils.report.parts import Cell, Section, Table, drawn
from utils.report.tables import metric_cell
from utils.results.find import find_results
from utils.schema import Result
from utils.tasks import DETECTION
from utils.transfer import results as transfer
from utils.transfer import tables as transfer_tables
from utils.transfer.finding import finding


def detection_section(out: Path, name: str, first: Sequence[str]) -> tuple[Section | None, list[str]]:
    """The section on dataset `name`, of results comparable with the newest, or None; and the reasons if None.

    first: encoders that come first, in that order; the floor comes last.
    """
    folder = out / name / DETECTION.name
    files = find_results([out], name, DETECTION.name, ()) if folder.is_dir() else []
    results, notes = transfer.alike(files)
    if not results:
        return None, notes
    order = {encoder: i for i, encoder in enumerate(first)}

    def place(result: Result) -> tuple:
        encoder = result.encoder.name
        return order.get(encoder, len(order) + (encoder == FLOOR)), encoder

    results.sort(key=place)
    kind = transfer.headline_kind(results[0]).replace("_", " ")

    def figures() -> dict:
        return {"heatmap": transfer_heatmap(results), "roc": roc_curves(results[0])}

    section = Section(
        about=DETECTION,
        lead=f"{results[0].dataset_items} items of {len(transfer.sets_of(results[0]))} sets; AUROC, higher is better, "
        f"0.5 is chance. Intervals are of {results[0].settings['bootstrap']} resamples of whole groups of prompts.",
        tables=[_matrix(results, kind), _detectors(results), *(_details(result, kind) for result in results)],
        figures=drawn(figures, lambda stem: DETECTION.captions[stem][0].upper() + DETECTION.captions[stem][1:]),
        findings=[
            Finding(f"Detection elsewhere, {result.encoder.label}", finding(result))
            for result in results
            if result.encoder.name != FLOOR or len(results) == 1
        ],
        notes=notes,
        results=results,
    )
    return section, []


def _text(text: str) -> Cell:
    return Cell(text, text)


def _pairs(result: Result) -> list[tuple[str, str]]:
    return [(train, test) for test in transfer.sets_of(result) for train in transfer.trains_of(result)]


def _matrix(results: Sequence[Result], kind: str) -> Table:
    name = transfer.metric_of("auroc", transfer.headline_kind(results[0]))
    rows = [
        [_text(train), _text(test), *(metric_cell(r.metric(name, transfer.group_of(train, test))) for r in results)]
        for train, test in _pairs(results[0])
    ]
    headers = [("trained on", False), ("tested on", False), *((r.encoder.label, True) for r in results)]
    return Table(f"AUROC of {kind}, with half the width of its 95 % interval", headers, rows)


def _detectors(results: Sequence[Result]) -> Table:
    places = [p for p in (transfer.WITHIN, transfer.ACROSS, transfer.OTHERS) if results[0].metric(_first(results), p)]
    rows = [
        [
            _text(r.encoder.label),
            _text(kind.replace("_", " ")),
            *(metric_cell(r.metric(transfer.metric_of("auroc", kind), place)) for place in places),
        ]
        for r in results
        for kind in transfer.kinds_of(r)
    ]
    titles = {"within": "within sets", "across": "across pairs of sets", "others": "trained on all others"}
    headers = [("encoder", False), ("detector", False), *((titles[place], True) for place in places)]
    return Table("Mean AUROC of every detector, controls last", headers, rows)


def _first(results: Sequence[Result]) -> str:
    return transfer.metric_of("auroc", transfer.headline_kind(results[0]))


def _details(result: Result, kind: str) -> Table:
    chosen = transfer.headline_kind(result)
    rows = []
    for train, test in _pairs(result):
        found = [
            result.metric(transfer.metric_of(m, chosen), transfer.group_of(train, test))
            for m in transfer_tables.DETAILS
        ]
        base = found[0].chance
        rows.append([_text(train), _text(test), Cell(f"{base:.3f}", base), *map(metric_cell, found)])
    titles = ("AUPRC", "FPR at 95 % TPR", "TPR at 1 % FPR", "FPR at the threshold for 5 %", "TPR there")
    headers = [("trained on", False), ("tested on", False), ("base rate", True), *((title, True) for title in titles)]
    return Table(f"Other metrics of {kind} on {result.encoder.label}", headers, rows)
