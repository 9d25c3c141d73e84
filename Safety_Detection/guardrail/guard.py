"""A saved detector for use from Python: texts in, and what is known of each out."""

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import cast

import numpy as np

from Safety_Detection.detectors.calibration import base_rate as read_base_rate
from Safety_Detection.detectors.neighbors import Matrix, similarities
from Safety_Detection.detectors.parts import Parts, any_of, first_of_highest
from Safety_Detection.guardrail.saved_detector import PROBE, SavedDetector, check_probe, probe_of, rows_of
from Safety_Detection.guardrail.threads import LIMIT
from utils import cli
from utils.data.text import text_fault
from utils.embed.embedder import Embedder
from utils.encoders.tfidf import without_known_word
from utils.schema import InputError, shown
from utils.store.embeddings import EmbeddingStore, default_path

# Texts are read one after the other if they have more parts than these.
MOST_PARTS = 1024
WITHOUT_PROBABILITY = (
    "has no probabilities, as it was fitted by an earlier version or on too little; fit it again, or fit --add to it"
)


@dataclass(frozen=True)
class Near:
    """A prompt that a detector was fitted on: its id, its label (1 for unsafe), and its cosine similarity."""

    id: str
    label: int
    similarity: float


@dataclass(frozen=True)
class Verdict:
    """What a detector says of a text, read whole, or by its sentences too, as the detector was fitted to read.

    score: the highest of what is read, higher for unsafe. Of logistic regression the log-odds in training data whose
    classes weigh the same, of nearest_unsafe a cosine, of knn_vote a share, of centroid_difference a difference of
    cosines: scores of different detectors can't be compared. flagged: whether it reaches the threshold or is matched.
    truncated: whether something of the text was not read. unfamiliar: whether the whole text is unlike everything that
    was trained on (`Bank.unfamiliar`); None if that was not asked for. nearest: the prompts trained
    on that are most similar to what has the score, nearest first. matched: the unsafe prompt added later that the text
    is so like that it is flagged for it; None if there is none. allowed: the safe prompt added later that what would be
    flagged of the text is so like that it is not; None if there is none.
    probability: that the text is unsafe, in [0, 1], by its score alone and at the guard's share of unsafe prompts: see
    `calibration`. None for a detector that was fitted before there were probabilities.
    """

    score: float
    flagged: bool
    truncated: bool
    unfamiliar: bool | None = None
    nearest: tuple[Near, ...] = ()
    matched: str | None = None
    probability: float | None = None
    allowed: str | None = None


@dataclass(frozen=True)
class Unscored:
    """Why a text can't be scored. detail: what the encoder said of it, which names no text."""

    reason: str
    detail: str = ""


class _Like:
    """Prompts that updates gave, and how like them texts are.

    ids: n, of the prompts. rows: (n, d), of the whole ones. parts: (m, d), of these and of their parts. least: the
    similarity from which a text is like one of them.
    """

    def __init__(self, detector: SavedDetector, ids: Sequence[str], least: float) -> None:
        bank, self.least = detector.bank, least
        its = np.flatnonzero(np.isin(bank.dataset.ids, ids))
        self.ids, self.rows = [bank.dataset.ids[i] for i in its], bank.rows[its]
        self.parts = np.concatenate([self.rows, bank.parts[np.isin(bank.part_of, its)]])

    def to_whole(self, rows: Matrix) -> tuple[np.ndarray, list[str]]:
        """Of each of p vectors the similarity to the nearest whole prompt, float64 (p,), and that one's id."""
        found = similarities(rows, self.rows).astype(np.float64)
        return found.max(axis=1), [self.ids[i] for i in found.argmax(axis=1)]

    def to_parts(self, rows: Matrix) -> np.ndarray:
        """The similarity to the nearest prompt or part of one: float64 (p,)."""
        return similarities(rows, self.parts).astype(np.float64).max(axis=1)


class Guard:
    """A detector with its encoder loaded.

    threshold: texts with at least this score are flagged. of_vectors: whether only `verdicts` is called, so that the
    encoder is neither loaded nor checked. base_rate: the share of unsafe prompts in what is scored, for which
    probabilities hold; that of the fit, one half, if None. threads: of the processor, at least 1; if None, one for a
    single text, and for several what torch and numpy choose. before: a guard that this one replaces; its encoder is
    used on if it is the same, and closed if not. Vectors of an API are kept in the embedding store.
    Raises InputError if the encoder gives other vectors than when the detector was fitted, if a threshold or a number
    of threads is none, or if a base rate is given that is no share, or to a detector without probabilities.
    """

    def __init__(
        self,
        detector: SavedDetector,
        threshold: float | None = None,
        of_vectors: bool = False,
        base_rate: float | None = None,
        threads: int | None = None,
        before: "Guard | None" = None,
    ) -> None:
        self.detector, self.calibration = detector, detector.calibration
        self.base_rate = None if base_rate is None else cli.read_as(read_base_rate, str(base_rate), "base_rate")
        if base_rate is not None and self.calibration is None:
            raise InputError(f"base_rate {base_rate}: the detector {WITHOUT_PROBABILITY}")
        if threshold is not None and not (isinstance(threshold, Real) and math.isfinite(threshold)):
            raise InputError(f"threshold {shown(threshold)}: give a number")
        if threads is not None:
            check_whole(threads, "threads", least=1)
        self.threshold, self.threads = detector.threshold if threshold is None else threshold, threads
        same = before if before is not None and before.detector.spec == detector.spec else None
        self._unstored: Embedder = Embedder(detector.spec) if same is None else same._unstored
        if not of_vectors:
            check_probe(detector, self._unstored)
        about = detector.about
        self._match, self._allow = (
            _Like(detector, about[ids], about[like]["threshold"]) if about.get(like) else None
            for like, ids in (("match", "added"), ("allow", "allowed"))
        )
        if same is not None:
            self._embedder: Embedder = same._embedder
            return
        paid = detector.spec.loader == "openai"
        self._embedder = Embedder(detector.spec, EmbeddingStore(default_path())) if paid else self._unstored
        if before is not None:
            before.close()

    def score(self, texts: Iterable[str], nearest: int = 0, unfamiliar: bool = False) -> list[Verdict]:
        """What the detector says of each text.

        nearest: how many of the prompts trained on are named; above 0 also says what is unfamiliar. unfamiliar: whether
        that is said without them.
        Raises InputError, naming the position, for a text that can't be scored, as one without a visible character or
        a known word, if `texts` is a single text, or if `nearest` is negative or more than was fitted on.
        """
        texts = list_of_texts(texts)
        check_whole(nearest, "nearest", least=0)
        if nearest and nearest > len(self.detector.bank.dataset):
            raise InputError(f"nearest {nearest}: the detector was fitted on fewer prompts; give a smaller number")
        if not texts:
            return []
        with self._limited(len(texts)):
            found = self._read(texts, [f"text {i}" for i in range(1, len(texts) + 1)], nearest, unfamiliar)
        for position, one in enumerate(found, 1):
            if isinstance(one, Unscored):
                raise InputError(f"text {position}: {one.reason}; leave it out")
        return cast(list[Verdict], found)

    def score_each(
        self, texts: Sequence[str], names: Sequence[str], nearest: int = 0, unfamiliar: bool = False
    ) -> list[Verdict | Unscored]:
        """What the detector says of each text, or why it can't be scored, which affects no other text.

        texts: which hold a visible character each. names: of the texts, for errors. nearest, unfamiliar: as in `score`.
        Raises InputError if the encoder accepts no text any more.
        """
        if not len(texts):
            return []
        try:
            with self._limited(len(texts)):
                return self._read(texts, names, nearest, unfamiliar)
        except InputError as error:
            self.check()
            if len(texts) == 1:
                return [Unscored("can't be embedded", str(error))]
            parts = slice(len(texts) // 2), slice(len(texts) // 2, None)
            return [one for part in parts for one in self.score_each(texts[part], names[part], nearest, unfamiliar)]

    def _read(
        self, texts: Sequence[str], names: Sequence[str], nearest: int, unfamiliar: bool
    ) -> list[Verdict | Unscored]:
        """What the detector says of each text, read as it was fitted to read.

        Texts of many parts are read one after the other. Raises InputError if the encoder can't take a text.
        """
        texts, n = self.detector.texts(texts), len(texts)
        further, of = self.detector.parts_of(texts)
        if len(further) > MOST_PARTS and n > 1:
            halves = slice(n // 2), slice(n // 2, None)
            return [one for half in halves for one in self._read(texts[half], names[half], nearest, unfamiliar)]
        vectors, cut = self.vectors([*texts, *further], [*names, *(names[i] for i in of)])
        order, starts = Parts(n, of).rows(np.arange(n))
        cut, has_parts = np.array(cut, dtype=bool)[order], np.diff(starts, append=len(order)) > 1
        cut[starts[has_parts]] = False  # what the encoder leaves out of the whole text is in its parts
        return self.verdicts(vectors[order], cut, nearest, starts, texts, unfamiliar)

    def _limited(self, count: int) -> contextlib.AbstractContextManager[None]:
        """In this context so many texts are scored, by as many threads as they may use.

        A text is little work for each of many threads, and they all wait for the one that another program delays.
        """
        return LIMIT.of(self.threads or (1 if count == 1 else None))

    def vectors(self, texts: Sequence[str], names: Sequence[str]) -> tuple:
        """The vectors of texts, (n, d) of length 1 (or 0), and which were truncated.

        texts: as they are embedded. names: of the texts, for errors. Raises InputError if the encoder can't take one.
        """
        return rows_of(self._embedder, self.detector.words, texts, names)

    @property
    def matches(self) -> bool:
        """Whether texts like an unsafe prompt added later are flagged beside those that reach the threshold."""
        return self._match is not None

    @property
    def allows(self) -> bool:
        """Whether texts like a safe prompt added later are not flagged though they reach the threshold."""
        return self._allow is not None

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text the encoder reads at most; None if it is unbounded."""
        if self.detector.words is not None:
            return None
        return self._unstored.embed([PROBE], ["the probe text"]).info.max_tokens

    def check(self) -> None:
        """Raises InputError if the encoder accepts no text any more."""
        with self._limited(1):
            probe_of(self._unstored, self.detector.words)

    def verdicts(
        self,
        rows: Matrix,
        truncated: np.ndarray,
        nearest: int = 0,
        starts: np.ndarray | None = None,
        texts: Sequence[str] | None = None,
        unfamiliar: bool = False,
    ) -> list[Verdict | Unscored]:
        """What the detector says of n texts by the vectors (p, d) of length 1 (or 0) of all their parts.

        truncated: bool (p,). starts: (n,), the first part of each text, which is the whole one; a part each if None.
        texts: n, as they are embedded, None if only the vectors are known.
        """
        starts = np.arange(len(truncated)) if starts is None else starts
        known, n = ~without_known_word(rows), len(starts)
        of_parts = self.detector.detector.scores(rows)
        best = first_of_highest(np.where(known, of_parts, -np.inf), starts)
        scores = of_parts[best]
        flags, matched, allowed = self._flagged(rows, known & (of_parts >= self.threshold), starts)
        unlike: list[bool | None] = [None] * n
        near: list[tuple[Near, ...]] = [()] * n
        bank = self.detector.bank
        if nearest or unfamiliar:
            unlike = bank.unfamiliar(rows[starts], texts).tolist()
        if nearest:
            indices, values = bank.nearest(rows[best], min(nearest, len(bank.dataset)))
            near = [
                tuple(
                    Near(bank.dataset.ids[i], bank.dataset.labels[i], value)
                    for i, value in zip(its.tolist(), similar, strict=True)
                )
                for its, similar in zip(indices, values.tolist(), strict=True)
            ]
        likely: list[float | None] = [None] * n
        if self.calibration is not None:
            likely = self.calibration.probabilities(scores, self.base_rate).tolist()
        cut = any_of(np.asarray(truncated, dtype=bool), starts).tolist()
        columns = scores.tolist(), flags.tolist(), cut, unlike, near, matched, likely, allowed
        # A text without a known word has the score of an empty text, which means nothing.
        return [
            Verdict(*each) if is_known else Unscored("has no word that the detector knows")
            for is_known, *each in zip(any_of(known, starts), *columns, strict=True)
        ]

    def _flagged(
        self, rows: Matrix, over: np.ndarray, starts: np.ndarray
    ) -> tuple[np.ndarray, list[str | None], list[str | None]]:
        """Whether each text is flagged, bool (n,), and the incident, or the false alarm, that it is or is not for.

        over: bool (p,), whether each part reaches the threshold. A part is allowed if it is like a whole false alarm,
        or like a part of one in a text that is like a whole one: a sentence alone may mean something else.
        """
        n, none = len(starts), np.zeros(len(over), dtype=bool)
        of = np.repeat(np.arange(n), np.diff(starts, append=len(over)))
        is_match, like, incidents = none, np.zeros(len(over)), [""] * len(over)
        if self._match is not None:
            like, incidents = self._match.to_whole(rows)
            is_match = like >= self._match.least
        is_allowed, alarms = none, [""] * len(over)
        if self._allow is not None:
            to_whole, alarms = self._allow.to_whole(rows)
            to_parts, least = self._allow.to_parts(rows), self._allow.least
            is_allowed = (to_whole >= least) | ((to_whole[starts] >= least)[of] & (to_parts >= least))
            is_allowed &= ~is_match | (np.maximum(to_whole, to_parts) > like)
        flags = any_of((over | is_match) & ~is_allowed, starts)
        matched: list[str | None] = [None] * n
        allowed: list[str | None] = [None] * n
        for part in np.flatnonzero(is_match & ~is_allowed).tolist():
            text = of[part]
            matched[text] = matched[text] or incidents[part]
        for part in np.flatnonzero((over | is_match) & is_allowed).tolist():
            text = of[part]
            allowed[text] = None if flags[text] else allowed[text] or alarms[part]
        return flags, matched, allowed

    def close(self) -> None:
        """Ends the encoder's processes."""
        self._embedder.close()
        self._unstored.close()


def list_of_texts(texts: Iterable[str]) -> list[str]:
    """The texts as a list. Raises InputError, naming the position, for one that can't be embedded."""
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise InputError(f"texts: is no list of texts ({type(texts).__name__}); give one, as [text]")
    found = list(texts)
    for position, text in enumerate(found, 1):
        if fault := text_fault(text):
            raise InputError(f"text {position}: {fault}; fix it or leave it out")
    return found


def check_whole(number: object, name: str, least: int) -> None:
    """Raises InputError if an argument is not a whole number of at least `least`."""
    if not isinstance(number, Integral) or isinstance(number, bool) or number < least:
        raise InputError(f"{name} {shown(number)}: give a whole number of at least {least}")
