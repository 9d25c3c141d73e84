"""Set identity: how well vectors tell apart two sets whose prompts have the same label.

The higher it is, the more a detector can learn which set a prompt is of, instead of the harm in it.
"""

import itertools

import numpy as np

from Safety_Detection.detectors.kinds import INNER_FOLDS, candidates, folds, in_threads
from Safety_Detection.protocol.evaluation import Vectors
from Safety_Detection.protocol.sides import Sides
from Safety_Detection.sets.labelled_sets import LabelledDataset
from Safety_Detection.sets.naming import IDENTITY
from utils.metrics import detection as dm
from utils.schema import Metric

# Prompts of a set that are drawn, in whole groups.
MOST_PROMPTS = 300
# Sets with fewer groups say nothing.
LEAST_GROUPS = 10
STRENGTH = 1  # the index of 1 in detectors.STRENGTHS


def set_identity(sides: Sides, vectors: Vectors, seed: int = 42) -> list[Metric]:
    """The AUROC of each pair of sets for each label, and the mean for each label; no intervals.

    Logistic regression at strength 1 by grouped folds, on at most MOST_PROMPTS prompts of each set, near-duplicates of
    the other set left out. Half is chance: such vectors can't tell the sets apart.
    """
    dataset = sides.dataset
    jobs = []
    for label, word in ((1, "unsafe"), (0, "safe")):
        drawn = {name: _drawn(sides, name, label, seed) for name in dataset.group_order}
        enough = [name for name, rows in drawn.items() if len(set(sides.clusters[rows])) >= LEAST_GROUPS]
        jobs += [(word, a, b, drawn[a], drawn[b]) for a, b in itertools.combinations(enough, 2)]

    def work(job: tuple) -> tuple[str, Metric] | None:
        word, a, b, one, other = job
        other = other[~dataset.near.near(one)[other]]
        if len(set(sides.clusters[other])) < LEAST_GROUPS:
            return None
        rows = np.concatenate([one, other])
        of_second = np.repeat([0, 1], [len(one), len(other)])
        fold_of = folds(of_second, sides.clusters[rows], INNER_FOLDS, seed)
        scores = np.empty(len(rows))
        for fold in range(INNER_FOLDS):
            held = fold_of == fold
            seen, asked = vectors(rows[~held], rows[held])
            scores[held] = candidates("logistic_regression", seen, of_second[~held])[STRENGTH].scores(asked)
        area = float(dm.auroc(dm.curve(of_second, scores)))
        return word, Metric("auroc", f"{word}: {a} | {b}", area, len(rows), "lower", chance=0.5, detector=IDENTITY)

    found = [pair for pair in in_threads(work, jobs) if pair is not None]
    rows = [metric for _, metric in found]
    for word in ("unsafe", "safe"):
        mine = [metric for of, metric in found if of == word]
        if mine:
            value, n = float(np.mean([metric.value for metric in mine])), sum(metric.n for metric in mine)
            rows.append(Metric("auroc", word, value, n, "lower", chance=0.5, detector=IDENTITY))
    return rows


def _drawn(sides: Sides, name: str, label: int, seed: int) -> np.ndarray:
    """Prompts of a set with a label: whole groups in random order, as many as fit."""
    dataset: LabelledDataset = sides.dataset
    rows = dataset.rows(name)
    rows = rows[sides.labels[rows] == label]
    groups, of = np.unique(sides.clusters[rows], return_inverse=True)
    order = np.random.default_rng([seed, dataset.group_order.index(name)]).permutation(len(groups))
    fits = np.cumsum(np.bincount(of, minlength=len(groups))[order]) <= MOST_PROMPTS
    return rows[np.isin(of, order[: max(1, fits.sum())])] if len(rows) else rows
