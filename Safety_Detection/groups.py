"""Groups of texts that are so alike that a fold must not split them."""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from utils.data.text import normalized

NEAR = 4, 5  # the least Jaccard overlap, 4/5, as two integers, so that rounding decides nothing
_WORD = re.compile(r"\w+")


def near_duplicates(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, that link all near-duplicates, directly or through others.

    Two texts are near-duplicates if they are the same when normalized, or if the Jaccard overlap of their sets of words
    (runs of letters, digits and underscores of the normalized text) is 0.8 or more. The search is exact: every such
    pair is returned, except that of texts with the same set of words, each is paired with the first one only.
    Candidates come from an inverted index of the rarest words of each set: two sets of n and m words with an overlap of
    t share at least ceil(t n) words, so one of the n - ceil(t n) + 1 rarest of the first is among those of the second.
    """
    first_of: dict[Hashable, int] = {}
    pairs, sets = [], {}
    for i, text in enumerate(texts):
        plain = normalized(text)
        words = frozenset(_WORD.findall(plain))
        first = first_of.setdefault(words or plain, i)
        if first != i:
            pairs.append((first, i))
        elif words:
            sets[i] = words
    frequency = Counter(word for words in sets.values() for word in words)
    holders: dict[str, list[int]] = defaultdict(list)
    least, of = NEAR
    for i, words in sets.items():
        shared = -(-least * len(words) // of)
        rarest = sorted(words, key=lambda word: (frequency[word], word))[: len(words) - shared + 1]
        for j in sorted({j for word in rarest for j in holders[word]}):
            common = len(words & sets[j])
            if of * common >= least * (len(words) + len(sets[j]) - common):
                pairs.append((j, i))
        for word in rarest:
            holders[word].append(i)
    return pairs


def same(values: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of each value j and the first value i that equals it; None equals nothing."""
    first_of: dict[Hashable, int] = {}
    firsts = [(first_of.setdefault(value, i), i) for i, value in enumerate(values) if value is not None]
    return [(first, i) for first, i in firsts if first != i]


def joined(n: int, pairs: Sequence[tuple[int, int]], names: Sequence[Hashable] | None = None) -> list[int]:
    """The group of each of n items, numbered from 0 in the order in which the groups first occur.

    pairs: items (i, j) of one group. names: n, items of one name are of one group; None is the name of no group.
    Groups are the connected components of these links.
    """
    links = np.array([*pairs, *same(names or ())], dtype=np.int32).reshape(-1, 2)
    graph = coo_array((np.ones(len(links), dtype=bool), (links[:, 0], links[:, 1])), shape=(n, n))
    numbers: dict[int, int] = {}
    _, components = connected_components(graph, directed=False)
    return [numbers.setdefault(component, len(numbers)) for component in components.tolist()]
