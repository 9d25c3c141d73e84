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


def pool_purity(vectors, owners, labels, n, k, without=None, own=True):
    """Guarded purity of the first n rows of a pool, which is plain purity if each row is its owner's only one.

    owners: which prompt each row belongs to. labels: a category each; None for an edit. without: a prompt whose rows
    are left out; its own purity is NaN. own: whether a prompt's edits are in its own pool.
    """
    values = []
    for i in range(n):
        pool = [j for j in range(len(vectors)) if j != i and owners[j] != without and (own or owners[j] != i)]
        nearest = sorted(pool, key=lambda j, i=i: (-round(cosine(vectors[i], vectors[j]), 9), j))[:k]
        values.append(math.nan if i == without else sum(labels[j] == labels[i] for j in nearest) / k)
    return values


def group_mean(values, groups, group, weights=None):
    """The weighted mean of a group's values; those that are NaN are left out."""
    weights = weights or [1] * len(values)
    pairs = [
        (v, w) for v, w, g in zip(values, weights, groups, strict=True) if g == group and not math.isnan(v) and w > 0
    ]
    return sum(v * w for v, w in pairs) / sum(w for _, w in pairs)


def weighted_average_similarity(vectors, groups, weights):
    """The mean cosine over pairs of different groups, each pair with the product of its weights."""
    total = pairs = 0.0
    for a, group, weight in zip(vectors, groups, weights, strict=True):
        for b, other, more in zip(vectors, groups, weights, strict=True):
            if group != other:
                total += weight * more * cosine(a, b)
                pairs += weight * more
    return total / pairs


def weighted_silhouettes(vectors, categories, weights):
    """Silhouettes by cosine distance, of which the mean distances are weighted; 0 for the only prompt of a category."""
    values = []
    for i, vector in enumerate(vectors):
        means = {}
        for category in set(categories):
            members = [j for j in range(len(vectors)) if categories[j] == category and j != i and weights[j] > 0]
            if members:
                total = sum(weights[j] * (1 - cosine(vector, vectors[j])) for j in members)
                means[category] = total / sum(weights[j] for j in members)
        inside = means.pop(categories[i], None)
        outside = min(means.values())
        values.append(0.0 if inside is None else (outside - inside) / max(inside, outside))
    return values


def weighted_triplets(anchors, own, groups, texts, weights):
    """Triplet accuracies of anchors with the cosines `own`, the mean over rivals weighted."""
    values = []
    for i, anchor in enumerate(anchors):
        wins = [
            (0.5 if abs(cosine(anchor, other) - own[i]) < 1e-9 else float(cosine(anchor, other) > own[i]), weights[j])
            for j, other in enumerate(anchors)
            if j != i and groups[j] == groups[i] and texts[j] != texts[i] and weights[j] > 0
        ]
        values.append(sum(v * w for v, w in wins) / sum(w for _, w in wins) if wins else math.nan)
    return values


def derivatives(statistic, n, step=1e-4):
    """By how much a statistic of n weights rises for each of them, all being 1."""
    found = []
    for i in range(n):
        up, down = ([1 + sign * step * (j == i) for j in range(n)] for sign in (1, -1))
        found.append((statistic(up) - statistic(down)) / (2 * step))
    return found
