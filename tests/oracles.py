"""The metrics once more, written the slow obvious way from their definitions, sharing no code with utils."""

import math

import numpy as np
from scipy import stats


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def norm(x, b):
    return (x - b) / (1 - b)


def resampled_areas(labels, scores, counts):
    """The AUROC in each resample, every unsafe prompt against every safe one; a tie counts a half.

    counts: (resamples, n), how often each of the n prompts occurs.
    """
    labels, scores = np.array(labels), np.array(scores)
    above = np.sign(scores[labels == 1][:, None] - scores[labels == 0]) / 2 + 0.5
    unsafe, safe = counts[:, labels == 1].astype(float), counts[:, labels == 0].astype(float)
    return ((unsafe @ above) * safe).sum(axis=1) / unsafe.sum(axis=1) / safe.sum(axis=1)


def student(value, drawn, clusters):
    """Low and high of the 95 % interval of a difference, and its p, by its values in resamples of so many clusters."""
    error = np.std(drawn, ddof=1) * math.sqrt(clusters / (clusters - 1))
    reach = stats.t.ppf(0.975, clusters - 1) * error
    return value - reach, value + reach, 2 * stats.t.sf(abs(value) / error, clusters - 1)


def triplet(anchors, twins, groups, texts):
    """Per anchor: the share of other anchors of its group and another text that are nearer than its twin."""
    values = []
    for i, anchor in enumerate(anchors):
        own = cosine(anchor, twins[i])
        wins = []
        for j, other in enumerate(anchors):
            if j != i and groups[j] == groups[i] and texts[j] != texts[i]:
                difference = cosine(anchor, other) - own
                wins.append(0.5 if abs(difference) < 1e-9 else float(difference > 0))
        values.append(sum(wins) / len(wins) if wins else math.nan)
    return values


def neighbors(vectors, k):
    """Per row: the k most similar other rows, ties to the lower index."""
    found = []
    for i, vector in enumerate(vectors):
        others = [(-round(cosine(vector, other), 9), j) for j, other in enumerate(vectors) if j != i]
        found.append([j for _, j in sorted(others)[:k]])
    return found


def purity(vectors, categories, k):
    return [sum(categories[j] == categories[i] for j in row) / k for i, row in enumerate(neighbors(vectors, k))]


def own_average_similarity(vectors, groups):
    values = [
        cosine(vectors[i], vectors[j])
        for i in range(len(vectors))
        for j in range(len(vectors))
        if groups[i] != groups[j]
    ]
    return sum(values) / len(values)
