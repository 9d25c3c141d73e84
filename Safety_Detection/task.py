"""Safety-Detection: scores detectors of unsafe prompts within their own set and on others."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from Safety_Detection.detectors.kinds import CONTROLS, KINDS
from Safety_Detection.sets import naming
from Safety_Detection.sets.cards import CARDS_FILE, JAILBREAKBENCH, SET_CARDS
from Safety_Detection.sets.labelled_files import add_label, label_of
from Safety_Detection.shown import reading
from Safety_Detection.shown.differences import MOST_SETS, group_differences
from Safety_Detection.shown.finding import finding
from Safety_Detection.shown.tables import detection_tables
from utils.evaluation.settings import Settings
from utils.files import sha256_of
from utils.schema import DataFile, InputError, Metric, Result, shown
from utils.tables import Table, of_rows
from utils.tasks import Figure, Scores, Task, later

# A curve is computed for each resample; ten thousand would take minutes without being more exact.
MOST_RESAMPLES = 1000
# The prefix of the columns of items that say whether a prompt has no word of a training set.
UNKNOWN = "no_known_word"


def add_flags(flags: argparse.ArgumentParser) -> None:
    """Adds the task's own flags."""
    add_label(flags)
    flags.add_argument(
        "--detectors",
        metavar="NAMES",
        default=",".join(KINDS),
        help=f"detectors to evaluate, separated by commas (default {', '.join(KINDS)})",
    )


def choose(arguments: argparse.Namespace, settings: Settings) -> Settings:
    """The settings with the chosen detectors and label, and at most MOST_RESAMPLES resamples."""
    asked = tuple(dict.fromkeys(name.strip() for name in arguments.detectors.split(",") if name.strip()))
    unknown = [name for name in asked if name not in KINDS]
    if unknown or not asked:
        raise InputError(f"--detectors {arguments.detectors}: give one or more of {', '.join(KINDS)}")
    label = label_of(arguments)
    own = {"detectors": list(asked), **({} if label is None else {"label": label})}
    return replace(settings, bootstrap=min(settings.bootstrap, MOST_RESAMPLES), own=own)


# Imported where they are used.
load = later("Safety_Detection.sets.labelled_sets", "load")
data_sheet = later("Safety_Detection.sets.data_sheet", "data_sheet")
comparing = later("Safety_Detection.shown.comparison", "PairedByGroups")


def check(dataset: Any, settings: Settings) -> None:
    """Raises InputError if there is nothing to train on or to test on."""
    later("Safety_Detection.protocol.sides", "check")(dataset)


def section(out: Path, name: str, first: Sequence[str]) -> tuple[Any, list[str]]:
    """Its section of the report, and the reasons if it has none."""
    return later("Safety_Detection.shown.section", "detection_section")(TASK, out, name, first)


def score(
    dataset: Any,
    vectors: dict[str, np.ndarray],
    baseline: None,
    settings: Settings,
    moved: None,
) -> Scores:
    """Scores of every detector on every set by what it was trained on, and their metrics.

    dataset: a LabelledDataset. vectors: `prompt`, (n, d); none for TF-IDF, which is fitted on each training side.
    """
    from tqdm import tqdm

    from Safety_Detection.protocol import evaluation
    from Safety_Detection.protocol.identity import set_identity
    from Safety_Detection.protocol.measure import Measures
    from Safety_Detection.protocol.sides import Sides

    texts = dataset.texts["prompt"]
    of = evaluation.EncoderVectors(vectors["prompt"]) if vectors else evaluation.word_vectors_of(texts)
    kinds = [*settings.own["detectors"], *CONTROLS]
    items: dict[str, list] = {
        "id": list(dataset.ids), "set": list(dataset.groups), "label": list(dataset.labels),
        "group": list(dataset.clusters), "type": list(dataset.types),
    }  # fmt: skip

    def put(column: str, rows: np.ndarray, values: np.ndarray) -> None:
        cells = items.setdefault(column, [float("nan")] * len(dataset))
        for row, value in zip(rows.tolist(), values.tolist(), strict=True):
            cells[row] = value

    measures = Measures(dataset, settings.bootstrap, settings.seed)
    with tqdm(unit="fit", disable=settings.quiet or not sys.stderr.isatty(), leave=False) as bar:

        def progress(done: int, number: int) -> None:
            bar.total = number
            bar.update()

        for one in evaluation.pairings(dataset, of, kinds, settings.top_k, settings.seed, progress):
            measures.add(one)
            if one.against is not None:
                for name, other in ((one.test, one.against), (one.against, one.test)):
                    its = np.array([dataset.groups[row] == name for row in one.rows])
                    put(naming.crossing_column(one.kind, other), one.rows[its], one.scores[its])
            elif one.kind != CONTROLS[1]:
                put(f"{one.kind}/{one.train}", one.rows, one.scores)
                if one.flags is not None and one.kind in KINDS:
                    put(naming.flagged_column(one.kind, one.train), one.rows, one.flags.astype(int))
                if one.unknown is not None and not vectors and one.kind in KINDS:
                    put(f"{UNKNOWN}/{one.train}", one.rows, one.unknown.astype(int))
        identity = set_identity(Sides(dataset, settings.seed), of, settings.seed)
    return Scores(items, [*measures.rows, *measures.means(), *identity])


def tables(results: Sequence[Result], differences: Mapping | None = None) -> list[Table | str]:
    """The finding of each encoder, the tables of all, and what TF-IDF did not know."""
    return [*map(finding, results), *detection_tables(results), *filter(None, map(_without_known_word, results))]


def _without_known_word(result: Result) -> Table | None:
    """The numbers of tested prompts without a known word; None if there are none."""
    trains = [train for train in reading.trains_of(result) if f"{UNKNOWN}/{train}" in result.items]
    if len(trains) > MOST_SETS and naming.OTHERS in trains:
        trains = [naming.OTHERS]
    sets = np.array(result.items["set"], dtype=object)
    of = {train: np.array(result.items[f"{UNKNOWN}/{train}"], dtype=float) for train in trains}
    tests = [*reading.sets_of(result), *reading.one_class_of(result)]
    counts = {test: [int(np.nansum(of[train][sets == test])) for train in trains] for test in tests}
    rows = [[test, int((sets == test).sum()), *numbers] for test, numbers in counts.items() if any(numbers)]
    title = (
        f"prompts without any word that {shown(result.encoder.label)} was trained on: their scores mean nothing "
        "(columns: trained on)"
    )
    return of_rows(title, ["tested on", "n", *trains], rows, keys=2) if rows else None


def up_to_date(metric: Metric) -> Metric:
    """A number of a result file. Older ones name its detector in `metric`, the oldest ones the sets only in `group`."""
    name, slash, detector = metric.metric.partition("/")
    if metric.detector is not None:
        return replace(metric, metric=name)
    if not slash:
        raise ValueError("a metric of detection names its detector")
    pair, _, kind = metric.group.partition(": ")
    train, arrow, test = pair.partition(" -> ")
    sets: dict[str, Any] = {"train": train, "test": test, "type": kind or None} if arrow else {}
    return replace(metric, metric=name, detector=detector, **sets)


def figures() -> Sequence[Figure]:
    """Its figures."""
    from Safety_Detection.shown.figures import FIGURES

    return FIGURES


def cards(file: DataFile) -> Any:
    """The card of a published set's file; None for any other one."""
    if file.name.startswith(JAILBREAKBENCH["path"]):
        return SET_CARDS["jailbreakbench"]
    published = (card for of_set in SET_CARDS.values() for card in of_set.files)
    return next((card for card in published if card.sha256 == file.sha256), None)


TASK = Task(
    package="Safety_Detection",
    question="What is left of a detector of unsafe prompts when it meets another dataset?",
    headline="auroc",
    rows="trained -> tested",
    settings={"top_k": "k", "seed": "seed", "detectors": "detectors"},  # the seed decides what is trained on
    load=load,
    data_sheet=data_sheet,
    loads=("label",),
    cards=cards,
    published="the published",
    mteb={
        "dataset": {"path": "Safety_Detection", "revision": sha256_of(CARDS_FILE)},
        "category": "t2c",
        "date": ("2023-08-01", "2024-12-31"),
        "license": "multiple",
        "annotations_creators": "human-annotated",
        "sample_creation": "multiple",
    },
    add_flags=add_flags,
    choose=choose,
    check=check,
    score=score,
    fits_words=True,
    by_items=False,
    controls=("tfidf",),
    resampled="of groups of prompts",
    up_to_date=up_to_date,
    differences=group_differences,
    comparing=comparing,
    spread_of=reading.summary,
    tables=tables,
    definitions={
        "AUROC, AUPRC": "How often an unsafe prompt scores above a safe one, ties counting half; 0.5 is chance. "
        "Average precision; the base rate is chance.",
        "FPR at 95 % TPR, TPR at 1 % FPR": "The share of safe prompts flagged where 95 % of the unsafe ones are; the "
        "share of unsafe prompts flagged where 1 % of the safe ones are at most.",
        "threshold for 5 %": "Flags 5 % of the safe prompts of the training side, each scored by a detector that was "
        "fitted without it.",
        "set identity": "Mean AUROC with which a classifier of the vectors tells two sets of prompts of the same label "
        "apart. The higher it is, the more of what a detector learns may be the set and not the harm. Lower is better; "
        "0.5 is chance.",
        "separated, both flagged, both passed, inverted": "Shares of pairs of an unsafe prompt and its safe twin of "
        "which the threshold flags only the unsafe one, both, neither, only the safe one.",
    },
    figures=figures,
    section=section,
)
