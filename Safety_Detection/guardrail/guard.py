"""A saved detector for use from Python: texts in, and what is known of each out."""

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

from Safety_Detection.detectors.calibration import checked_base_rate
from Safety_Detection.detectors.neighbors import Matrix, similarities
from Safety_Detection.guardrail.saved_detector import PROBE, SavedDetector, check_probe, probe_of, rows_of
from Safety_Detection.guardrail.threads import LIMIT
from utils.data.text import text_fault
from utils.embed.embedder import Embedder
from utils.encoders.tfidf import without_known_word
from utils.schema import InputError, shown
from utils.store.embeddings import EmbeddingStore, default_path

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
    """What a detector says of a text.

    score: higher for unsafe. Of logistic regression the log-odds in training data whose classes weigh the same, of
    nearest_unsafe a cosine, of knn_vote a share, of centroid_difference a difference of cosines: scores of different
    detectors can't be compared. flagged: whether it reaches the threshold or is matched. truncated: whether the encoder
    read only a part of the text. unfamiliar: whether it is farther from everything that was trained on than 99 % of
    held-out prompts are; None if that was not asked for. nearest: the most similar prompts trained on, nearest first.
    matched: the unsafe prompt added later that the text is so like that it is flagged for it; None if there is none.
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


@dataclass(frozen=True)
class Unscored:
    """Why a text can't be scored. detail: what the encoder said of it, which names no text."""

    reason: str
    detail: str = ""


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
        self.base_rate = None if base_rate is None else checked_base_rate(base_rate)
        if base_rate is not None and self.calibration is None:
            raise InputError(f"base_rate {base_rate}: the detector {WITHOUT_PROBABILITY}")
        if threshold is not None and not (isinstance(threshold, Real) and math.isfinite(threshold)):
            raise InputError(f"threshold {shown(threshold)}: give a number")
        if threads is not None:
            check_whole(threads, "threads", least=1)
        self.threshold, self.threads = detector.threshold if threshold is None else threshold, threads
        is_same = before is not None and before.detector.spec == detector.spec
        self._unstored: Embedder = before._unstored if is_same else Embedder(detector.spec)
        if not of_vectors:
            check_probe(detector, self._unstored)
        self._match: tuple[list[str], Matrix, float] | None = None
        if detector.about.get("match"):
            its = np.flatnonzero(np.isin(detector.bank.ids, detector.about["added"]))
            least = detector.about["match"]["threshold"]
            self._match = [detector.bank.ids[i] for i in its], detector.bank.rows[its], least
        if is_same:
            self._embedder: Embedder = before._embedder
            return
        paid = detector.spec.loader == "openai"
        self._embedder = Embedder(detector.spec, EmbeddingStore(default_path())) if paid else self._unstored
        if before is not None:
            before.close()

    def score(self, texts: Iterable[str], nearest: int = 0) -> list[Verdict]:
        """What the detector says of each text.

        nearest: how many of the prompts trained on are named; above 0 also says what is unfamiliar.
        Raises InputError, naming the position, for a text that can't be scored, as one without a visible character or
        a known word, if `texts` is a single text, or if `nearest` is negative or more than was fitted on.
        """
        texts = list_of_texts(texts)
        check_whole(nearest, "nearest", least=0)
        if nearest and nearest > len(self.detector.bank.ids):
            raise InputError(f"nearest {nearest}: the detector was fitted on fewer prompts; give a smaller number")
        if not texts:
            return []
        with self._limited(len(texts)):
            rows, cut = self.vectors(texts, [f"text {i}" for i in range(1, len(texts) + 1)])
            unknown = np.flatnonzero(without_known_word(rows))
            if len(unknown):
                raise InputError(f"text {unknown[0] + 1}: has no word that the detector knows; leave it out")
            return self.verdicts(rows, cut, nearest)

    def score_each(self, texts: Sequence[str], names: Sequence[str], nearest: int = 0) -> list[Verdict | Unscored]:
        """What the detector says of each text, or why it can't be scored, which affects no other text.

        texts: which hold a visible character each. names: of the texts, for errors. nearest: as in `score`.
        Raises InputError if the encoder accepts no text any more.
        """
        if not len(texts):
            return []
        try:
            with self._limited(len(texts)):
                rows, cut = self.vectors(texts, names)
                found = self.verdicts(rows, cut, nearest)
        except InputError as error:
            self.check()
            if len(texts) == 1:
                return [Unscored("can't be embedded", str(error))]
            parts = slice(len(texts) // 2), slice(len(texts) // 2, None)
            return [one for part in parts for one in self.score_each(texts[part], names[part], nearest)]
        # A text without a known word has the score of an empty text, which means nothing.
        return [
            Unscored("has no word that the detector knows") if unknown else verdict
            for verdict, unknown in zip(found, without_known_word(rows), strict=True)
        ]

    def _limited(self, count: int) -> contextlib.AbstractContextManager[None]:
        """In this context so many texts are scored, by as many threads as they may use.

        A text is little work for each of many threads, and they all wait for the one that another program delays.
        """
        return LIMIT.of(self.threads or (1 if count == 1 else None))

    def vectors(self, texts: Sequence[str], names: Sequence[str]) -> tuple:
        """The vectors of texts, (n, d) of length 1 (or 0), and which were truncated. names: of the texts, for errors.

        Raises InputError if the encoder can't take a text.
        """
        return rows_of(self._embedder, self.detector.words, self.detector.texts(texts), names)

    @property
    def matches(self) -> bool:
        """Whether texts like an unsafe prompt added later are flagged beside those that reach the threshold."""
        return self._match is not None

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text the encoder reads at most; None if it is unbounded."""
        if self.detector.words is not None:
            return None
        return self._unstored.embed([PROBE], ["the probe text"]).info.max_tokens

    def tokens(self) -> tuple[Callable, int | None]:
        """What counts the tokens of texts, and the most that the encoder reads of one, None if there is no limit."""
        return (len, None) if self.detector.words is not None else self._unstored.tokens()

    def check(self) -> None:
        """Raises InputError if the encoder accepts no text any more."""
        with self._limited(1):
            probe_of(self._unstored, self.detector.words)

    def verdicts(self, rows: Matrix, truncated: np.ndarray, nearest: int = 0) -> list[Verdict]:
        """What the detector says of vectors (n, d) of length 1."""
        scores = self.detector.detector.scores(rows)
        flags, n = scores >= self.threshold, len(scores)
        matched: list[str | None] = [None] * n
        if self._match is not None:
            ids, added, least = self._match
            found = similarities(rows, added).astype(np.float64)
            for i in np.flatnonzero(found.max(axis=1, initial=-1.0) >= least).tolist():
                matched[i], flags[i] = ids[int(found[i].argmax())], True
        unfamiliar: list[bool | None] = [None] * n
        near: list[tuple[Near, ...]] = [()] * n
        if nearest:
            bank = self.detector.bank
            indices, values = bank.nearest(rows, min(nearest, len(bank.ids)))
            unfamiliar = (values[:, 0] < bank.familiar).tolist()
            near = [
                tuple(
                    Near(bank.ids[i], int(bank.labels[i]), value)
                    for i, value in zip(its.tolist(), similar, strict=True)
                )
                for its, similar in zip(indices, values.tolist(), strict=True)
            ]
        likely: list[float | None] = [None] * n
        if self.calibration is not None:
            likely = self.calibration.probabilities(scores, self.base_rate).tolist()
        cut = np.asarray(truncated, dtype=bool).tolist()
        parts = scores.tolist(), flags.tolist(), cut, unfamiliar, near, matched, likely
        return [Verdict(*each) for each in zip(*parts, strict=True)]

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
