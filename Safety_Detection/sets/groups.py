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


class NearTexts:
    """Which of n texts are near-duplicates of each other.

    Two texts are near-duplicates if they are the same when normalized, or if the Jaccard overlap of their sets of words
    (runs of letters, digits and underscores of the normalized text) is 0.8 or more. The search is exact.
    kinds: int (n,), equal for texts with the same set of words, or of the same text if it has none.
    pairs: (m, 2), the kinds that are near-duplicates of each other, the smaller one first.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        numbers: dict[frozenset[str] | str, int] = {}
        self.kinds = np.array([numbers.setdefault(words_of(text), len(numbers)) for text in texts], dtype=np.int64)
        self.pairs = np.array(_near([*numbers]), dtype=np.int64).reshape(-1, 2)

    def links(self, rows: np.ndarray) -> list[tuple[int, int]]:
        """Pairs of positions in `rows` that link all near-duplicates among them, directly or through others."""
        first: dict[int, int] = {}
        found = []
        for position, kind in enumerate(self.kinds[rows].tolist()):
            if first.setdefault(kind, position) != position:
                found.append((first[kind], position))
        return found + [(first[a], first[b]) for a, b in self.pairs.tolist() if a in first and b in first]

    def near(self, rows: np.ndarray) -> np.ndarray:
        """Whether each of the n texts is one of `rows` or a near-duplicate of one: bool (n,)."""
        there = np.zeros(self.kinds.max(initial=-1) + 1, dtype=bool)
        there[self.kinds[rows]] = True
        one, other = self.pairs.T
        reached = np.concatenate([other[there[one]], one[there[other]]])
        there[reached] = True
        return there[self.kinds]


def words_of(text: str) -> frozenset[str] | str:
    """The words of a text, by which it is compared with others; the normalized text itself if it has none."""
    plain = normalized(text)
    return frozenset(_WORD.findall(plain)) or plain


def _near(kinds: Sequence[frozenset[str] | str]) -> list[tuple[int, int]]:
    """The pairs of sets of words with enough overlap; a text without words has none.

    Candidates come from an inverted index of the rarest words of each set: two sets of n and m words with an overlap of
    t share at least ceil(t n) words, so one of the n - ceil(t n) + 1 rarest of the first is among those of the second.
    """
    sets = {i: words for i, words in enumerate(kinds) if isinstance(words, frozenset)}
    pairs = []
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
