"""Safety-Detection: scores detectors of unsafe prompts within their own set and on others."""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from Safety_Detection import labelled_sets, protocol
from Safety_Detection.data_sheet import data_sheet
from Safety_Detection.detectors import CONTROLS, KINDS
from utils.evaluation.run import evaluate
from utils.evaluation.settings import Settings
from utils.evaluation.task import Scores, Task
from utils.metrics import detection as dm
from utils.metrics.uncertainty import CONFIDENCE, grouped_interval, grouped_resamples
from utils.schema import InputError, Metric, Result
from utils.tables import WIDTH, blocks
from utils.tasks import DETECTION
from utils.transfer import results as transfer
from utils.transfer import tables as transfer_tables
from utils.transfer.differences import detector_differences, encoder_differences
from utils.transfer.finding import finding
from utils.transfer.results import ACROSS, OTHERS, WITHIN, metric_of

# A curve is computed for each resample; ten thousand would take minutes without being more exact.
MOST_RESAMPLES = 1000
# The prefix of the columns of items that say whether a prompt has no word of a training set.
UNKNOWN = "no_known_word"
# Metric to (its direction, its function of a curve).
OF_CURVE = {
    "auroc": ("higher", dm.auroc),
    "auprc": ("higher", dm.auprc),
    "fpr_at_95_tpr": ("lower", dm.false_positive_rate_at),
    "tpr_at_1_fpr": ("higher", dm.true_positive_rate_at),
}


def add_flags(flags: argparse.ArgumentParser) -> None:
    """Adds the task's own flag."""
    flags.add_argument(
        "--detectors",
        metavar="NAMES",
        default=",".join(KINDS),
        help=f"detectors to evaluate, separated by commas (default {', '.join(KINDS)})",
    )


def choose(arguments: argparse.Namespace, settings: Settings) -> Settings:
    """The settings with the chosen detectors, and at most MOST_RESAMPLES resamples."""
    asked = tuple(dict.fromkeys(name.strip() for name in arguments.detectors.split(",") if name.strip()))
    unknown = [name for name in asked if name not in KINDS]
    if unknown or not asked:
        raise InputError(f"--detectors {arguments.detectors}: give one or more of {', '.join(KINDS)}")
    return replace(settings, bootstrap=min(settings.bootstrap, MOST_RESAMPLES), own={"detectors": list(asked)})


class Resampling:
    """The tested prompts of a set, resampled in whole groups: the same resamples for every detector."""

    def __init__(self, dataset: labelled_sets.LabelledDataset, test: str, resamples: int, seed: int) -> None:
        rows = np.flatnonzero(np.array(dataset.groups, dtype=object) == test)
        self.labels = np.array(dataset.labels)[rows]
        clusters = np.array(dataset.clusters)[rows]
        seeds = seed, dataset.group_order.index(test)
        self.parts = list(grouped_resamples(clusters, self.labels, resamples, seeds)) if resamples else []
        self.clusters_of = {c: len(set(clusters[self.labels == c])) for c in (0, 1)}
        self.clusters = clusters

    def of_curve(self, scores: np.ndarray) -> dict[str, tuple[float, np.ndarray]]:
        """The value of each metric of OF_CURVE, and its values in the resamples."""
        once = dm.curve(self.labels, scores)
        drawn: dict[str, list[np.ndarray]] = {name: [] for name in OF_CURVE}
        for weights in self.parts:
            of = dm.curve(self.labels, scores, weights)
            for name, (_, value) in OF_CURVE.items():
                drawn[name].append(value(of))
        return {name: (float(value(once)), _joined(drawn[name])) for name, (_, value) in OF_CURVE.items()}

    def of_flags(self, flags: np.ndarray, chosen: np.ndarray) -> tuple[float, np.ndarray]:
        """The share of the chosen prompts that are flagged, and its values in the resamples that have any of them."""
        drawn = []
        for weights in self.parts:
            weights = weights[weights[:, chosen].any(axis=1)]
            drawn.append(dm.flagged_rate(flags, chosen, weights))
        return float(dm.flagged_rate(flags, chosen)), _joined(drawn)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0)


def _metric(
    name: str, group: str, value: float, drawn: np.ndarray, n: int, better: str, clusters: int, chance=None
) -> Metric:
    low, high = grouped_interval(value, drawn, clusters) if len(drawn) and clusters > 1 else (None, None)
    return Metric(name, group, value, n, better, low, high, chance)


def score(
    dataset: labelled_sets.LabelledDataset, vectors: dict[str, np.ndarray], baseline: None, settings: Settings
) -> Scores:
    """Scores of every detector on every set by what it was trained on, and their metrics.

    vectors: `prompt`, (n, d); none for TF-IDF, which is fitted on each training side.
    """
    from tqdm import tqdm

    texts = dataset.texts["prompt"]
    of = protocol.vectors_of(vectors["prompt"]) if vectors else protocol.word_vectors_of(texts)
    kinds = [*settings.own["detectors"], *CONTROLS]
    items: dict[str, list] = {
        "id": list(dataset.ids), "set": list(dataset.groups), "label": list(dataset.labels),
        "group": list(dataset.clusters), "type": list(dataset.types),
    }  # fmt: skip

    def put(column: str, rows: np.ndarray, values: np.ndarray) -> None:
        cells = items.setdefault(column, [float("nan")] * len(dataset))
        for row, value in zip(rows, values.tolist(), strict=True):
            cells[row] = value

    rows: list[Metric] = []
    resampled: dict[str, Resampling] = {}
    areas: dict[str, dict[str, list[tuple[float, np.ndarray, Resampling]]]] = {kind: {} for kind in kinds}
    steps = len(dataset.group_order) * len(protocol.training_sides(dataset, dataset.group_order[0])) * len(kinds)
    with tqdm(total=steps, unit="detector", disable=settings.quiet or not sys.stderr.isatty(), leave=False) as bar:
        for pairing in protocol.pairings(dataset, of, kinds, settings.top_k, settings.seed):
            if pairing.test not in resampled:
                resampled[pairing.test] = Resampling(dataset, pairing.test, settings.bootstrap, settings.seed)
            drawn = resampled[pairing.test]
            if pairing.kind == CONTROLS[1]:
                areas_of = [float(dm.auroc(dm.curve(drawn.labels, scores))) for scores in pairing.scores.T]
                rows.append(_of(pairing, _shuffled(pairing.group, np.array(areas_of), len(pairing.rows))))
                measured = rows[-1].value, np.array(areas_of), drawn
            else:
                put(f"{pairing.kind}/{pairing.train}", pairing.rows, pairing.scores)
                if not vectors and pairing.kind in KINDS:
                    put(f"{UNKNOWN}/{pairing.train}", pairing.rows, pairing.unknown.astype(int))
                found = drawn.of_curve(pairing.scores)
                rows += _metrics(dataset, pairing, drawn, found)
                measured = (*found["auroc"], drawn)
            where = OTHERS if pairing.train == OTHERS else WITHIN if pairing.train == pairing.test else ACROSS
            areas[pairing.kind].setdefault(where, []).append(measured)
            bar.update()
    for kind, by_place in areas.items():
        rows += [replace(_summary(kind, where, found), detector=kind) for where, found in by_place.items()]
    return Scores(items, rows)


def _metrics(
    dataset: labelled_sets.LabelledDataset, pairing: protocol.Pairing, drawn: Resampling, found: dict
) -> list[Metric]:
    n, kind, group = len(pairing.rows), pairing.kind, pairing.group
    rarer = min(drawn.clusters_of.values())
    chance = {"auroc": 0.5, "auprc": float(drawn.labels.mean()), "fpr_at_95_tpr": 0.95, "tpr_at_1_fpr": 0.01}
    rows = [
        _metric(metric_of(name, kind), group, *found[name], n, better, rarer, chance[name])
        for name, (better, _) in OF_CURVE.items()
    ]
    for name, label, better in (("fpr_at_threshold", 0, "lower"), ("tpr_at_threshold", 1, "higher")):
        chosen = drawn.labels == label
        rate = drawn.of_flags(pairing.flags, chosen)
        rows.append(_metric(metric_of(name, kind), group, *rate, int(chosen.sum()), better, drawn.clusters_of[label]))
    types = np.array([dataset.types[i] for i in pairing.rows], dtype=object)
    for one in dict.fromkeys(types[drawn.labels == 0]):
        chosen = (types == one) & (drawn.labels == 0)
        if one:
            rate = drawn.of_flags(pairing.flags, chosen)
            clusters = len(set(drawn.clusters[chosen]))
            name = metric_of("fpr_at_threshold", kind)
            row = _metric(name, f"{group}: {one}", *rate, int(chosen.sum()), "lower", clusters)
            rows.append(replace(row, type=one))
    return [_of(pairing, row) for row in rows]


def _of(pairing: protocol.Pairing, metric: Metric) -> Metric:
    return replace(metric, detector=pairing.kind, train=pairing.train, test=pairing.test)


def _shuffled(group: str, areas: np.ndarray, n: int) -> Metric:
    """The mean AUROC over shuffles of the labels, with the interval of that mean over shuffles."""
    from scipy.special import stdtrit

    reach = stdtrit(len(areas) - 1, (1 + CONFIDENCE) / 2) * areas.std(ddof=1) / np.sqrt(len(areas))
    mean = float(areas.mean())
    return Metric(metric_of("auroc", CONTROLS[1]), group, mean, n, "higher", mean - reach, mean + reach, 0.5)


def _summary(kind: str, where: str, found: list[tuple[float, np.ndarray, Resampling]]) -> Metric:
    """The mean AUROC over pairings, with its interval. Pairings of the same tested set share their resamples."""
    name, value = metric_of("auroc", kind), float(np.mean([area for area, _, _ in found]))
    sets = {id(drawn): drawn for _, _, drawn in found}.values()
    n = sum(len(drawn.labels) for drawn in sets)
    if kind == CONTROLS[1]:
        return replace(_shuffled(where, np.mean([areas for _, areas, _ in found], axis=0), n), value=value)
    drawn = np.mean([areas for _, areas, _ in found], axis=0)
    clusters = sum(min(one.clusters_of.values()) for one in sets)
    return _metric(name, where, value, drawn, n, "higher", clusters, 0.5)


def table(results: Sequence[Result]) -> str:
    """The matrix and finding of each encoder, the other tables of the first one, and the comparison of encoders."""
    first = results[0]
    kind = transfer.headline_kind(first).replace("_", " ")
    parts = []
    for result in results:
        parts += [
            f"AUROC of {kind} on {result.encoder.label} (columns: tested on)",
            transfer_tables.matrix_table(result),
        ]
    label = first.encoder.label
    parts += [
        f"mean AUROC of each detector on {label}, within sets and elsewhere",
        transfer_tables.detectors_table(first),
        f"{kind} on {label}, the other metrics",
        f"{transfer_tables.details_table(first)}\n\n{transfer_tables.DETAILS_NOTE}",
    ]
    by_type = transfer_tables.types_table(first)
    if by_type:
        parts += ["the same FPR@t by type of safe prompt (columns: trained on)", by_type]
    seed = first.settings["seed"]
    for what, differences in (
        ("encoders", encoder_differences(results, seed=seed)),
        ("detectors", detector_differences(first, seed=seed)),
    ):
        if differences:
            title = f"differences of AUROC between {what} (p: paired bootstrap of groups, Holm)"
            parts += [title, transfer_tables.differences_table(differences, first)]
    parts += [part for result in results for part in _without_known_word(result)]
    parts += [finding(result) for result in results]
    return "\n\n".join(part if "\n" in part else textwrap.fill(part, WIDTH) for part in parts)


def _without_known_word(result: Result) -> list[str]:
    """Title and table of the numbers of tested prompts without a known word; empty if there are none."""
    trains = [name.removeprefix(f"{UNKNOWN}/") for name in result.items if name.startswith(f"{UNKNOWN}/")]
    sets = np.array(result.items["set"], dtype=object)
    of = {train: np.array(result.items[f"{UNKNOWN}/{train}"]) for train in trains}
    if not any(unknown.any() for unknown in of.values()):
        return []
    columns = [
        [(f"{test} ({(sets == test).sum()})", [str(int(of[train][sets == test].sum())) for train in trains])]
        for test in transfer.sets_of(result)
    ]
    title = (
        f"prompts without any word that {result.encoder.label} was trained on: their scores mean nothing (columns: "
        "tested on)"
    )
    return [title, blocks([("trained on", trains)], columns)]


TASK = Task(
    about=DETECTION,
    load=labelled_sets.load,
    data_sheet=data_sheet,
    score=score,
    table=table,
    check=lambda dataset, settings: protocol.check(dataset),
    fits_words=True,
    add_flags=add_flags,
    choose=choose,
)

if __name__ == "__main__":
    sys.exit(evaluate(TASK))
