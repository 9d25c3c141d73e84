"""The prompts that a detector was fitted on, kept with it without their texts."""

import functools
import hashlib
import unicodedata
from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np

from Safety_Detection.detectors.neighbors import Matrix, blocks, similarities
from Safety_Detection.detectors.parts import Parts
from Safety_Detection.sets.groups import words_of
from Safety_Detection.sets.labelled_sets import LabelledDataset
from utils.metrics.neighbors import largest_columns

# Letters that a text is taken to have beyond its own when its signs are counted: "Why?" is no code.
_LETTERS = 40


@dataclass(frozen=True)
class Bank:
    """What a detector was fitted on: vectors, and what `fit --add` needs to fit again with more prompts.

    dataset: n prompts; the text of each is a hash of every distinct word, so that near-duplicates are the same. Words
    can be guessed from their hashes, and texts from vectors, so a bank is no more public than the prompts.
    rows: (n, d) of length 1 (or 0), an array or a sparse matrix. parts: (m, d), of the prompts' parts if they are read
    in parts, by which they are scored when they are held out. part_of: int (m,), ascending, the prompt of each.
    digests: n, of the texts as they are embedded, by which the same prompt is known again; '' if an earlier version
    fitted it.
    familiar: the similarity to the nearest prompt trained on that 99 % of held-out prompts reach. known_words: the
    share of words of prompts trained on that 99 % of held-out prompts have, of those that have half (`known_words`); 0
    if an earlier version fitted.
    signs: the share of signs that 99 % of the prompts have at most (`share_of_signs`); 1 if an earlier version fitted.
    """

    dataset: LabelledDataset
    rows: Matrix
    parts: Matrix
    part_of: np.ndarray
    digests: tuple[str, ...]
    familiar: float
    known_words: float
    signs: float

    @property
    def read(self) -> Parts:
        """By which of `vectors` each prompt is scored."""
        return Parts(len(self.dataset), self.part_of)

    @property
    def vectors(self) -> np.ndarray:
        """Those of the prompts and of their parts: (n + m, d)."""
        return np.concatenate([self.rows, self.parts])

    def unfamiliar(self, rows: Matrix, texts: Sequence[str] | None = None) -> np.ndarray:
        """Whether each of m texts is unlike all prompts trained on: bool (m,).

        That is farther from all of them than 99 % of held-out prompts are, or with fewer words that any of them has
        than `known_words`, or with more signs than 99 % of the prompts have, as code has: an encoder that does not know
        a language may place its words anywhere.
        rows: (m, d), their vectors. texts: m, as they are embedded; None where only the vectors are known.
        """
        found = self.nearest(rows, 1)[1][:, 0] < self.familiar
        if texts is not None:
            known = [share_of(words.split(), self._vocabulary) for words in hashed_words(texts)]
            found |= np.array(known) < self.known_words
            found |= np.array([share_of_signs(text) for text in texts]) > self.signs
        return found

    @functools.cached_property
    def _vocabulary(self) -> frozenset[str]:
        return frozenset(word for words in self.dataset.texts["prompt"] for word in words.split())

    def nearest(self, rows: Matrix, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The indices and similarities (m, number) of the prompts nearest to m vectors, nearest first.

        number: at most n. Ties go to the first prompt.
        """
        indices, values = [], []
        for block in blocks(rows):
            found = similarities(block, self.rows)
            order = largest_columns(found, number)
            indices.append(order)
            values.append(np.take_along_axis(found, order, axis=1))
        return np.concatenate(indices), np.concatenate(values).astype(np.float64)


def hashed_words(texts: Sequence[str]) -> tuple[str, ...]:
    """Of each text a hash of every distinct word, in order, with spaces between; of the whole text if it has none.

    Two texts are near-duplicates (groups.NearTexts) if and only if their hashes are.
    """

    def of(word: str) -> str:
        return hashlib.blake2b(word.encode(), digest_size=6).hexdigest()

    found = []
    for words in map(words_of, texts):
        found.append(f"={of(words)}" if isinstance(words, str) else " ".join(map(of, sorted(words))))
    return tuple(found)


def digests_of(texts: Sequence[str]) -> tuple[str, ...]:
    """A digest of each text, for texts as they are embedded."""
    return tuple(hashlib.blake2b(text.encode(), digest_size=16).hexdigest() for text in texts)


def share_of(words: Sequence[str], vocabulary: Container[str]) -> float:
    """The share of words that are in a vocabulary."""
    return sum(word in vocabulary for word in words) / len(words)


def share_of_signs(text: str) -> float:
    """The share of punctuation and symbols among the characters of a text that are no white space: in [0, 1).

    Each text is taken to have _LETTERS letters more, so that a short one with a question mark has few.
    """
    kinds = [unicodedata.category(character)[0] for character in text if not character.isspace()]
    return sum(kind in "PS" for kind in kinds) / (len(kinds) + _LETTERS)


def most_signs(texts: Sequence[str]) -> float:
    """The share of signs that 99 % of texts have at most."""
    return float(np.quantile([share_of_signs(text) for text in texts], 0.99))


def known_words(words: Sequence[str], parts: np.ndarray) -> float:
    """The share of words that prompts outside its own part have, which 99 % of prompts reach.

    Prompts with less than half are left out: they are in a language that no other part has, and would make every text
    familiar. If only such are left, it is 0. words: n, as `hashed_words` gives them. parts: n, those held out together.
    """
    parts_with: dict[str, set[int]] = {}
    for text, part in zip(words, parts.tolist(), strict=True):
        for word in text.split():
            parts_with.setdefault(word, set()).add(part)
    shares = np.array(
        [
            np.mean([bool(parts_with[word] - {part}) for word in text.split()])
            for text, part in zip(words, parts.tolist(), strict=True)
        ]
    )
    readable = shares[shares >= 0.5]
    return float(np.quantile(readable, 0.01)) if len(readable) else 0.0


def familiarity(rows: Matrix, parts: np.ndarray) -> float:
    """The similarity to the nearest prompt outside its own part that 99 % of prompts have at least.

    parts: n, those held out together. Prompts that no other part has are left out.
    """
    best = []
    for part in np.unique(parts):
        its = parts == part
        if its.all():
            continue
        others = rows[~its]
        best += [similarities(block, others).max(axis=1) for block in blocks(rows[its])]
    return float(np.quantile(np.concatenate(best), 0.01)) if best else -1.0
