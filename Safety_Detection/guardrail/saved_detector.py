"""A fitted detector with what it needs to be used again, and the check that its encoder is the same."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from Safety_Detection.detectors.calibration import Calibration
from Safety_Detection.detectors.kinds import Detector
from Safety_Detection.guardrail import splitting
from Safety_Detection.guardrail.bank import Bank
from utils.data.text import NORMALIZING, plain_and_changes
from utils.embed.embedder import Embedder
from utils.encoders.tfidf import Words
from utils.metrics import embedding as metrics
from utils.schema import EncoderSpec, InputError

PROBE = "The ferry to the island leaves at nine, and the market opens an hour later."
# Rounding on different devices changes float32 vectors by less than 1e-12 here, and half precision by more (bfloat16
# by 4e-5 for MiniLM, more for larger encoders). Further training changes them by more than that.
LARGEST_DISTANCE = {"float32": 1e-6}
LARGEST_DISTANCE_OF_HALVES = 1e-2
# The name of all safe prompts, as those of which a threshold flags a share.
ALL = "all"


@dataclass(frozen=True)
class SavedDetector:
    """A detector with what it needs to be used again.

    model: the encoder's name as given. spec: the resolved encoder. words: of TF-IDF, else None.
    threshold: prompts with at least this score are flagged. probe: (d,), the vector of PROBE, of length 1 (or 0).
    bank: what it was fitted on. about: how it was trained, what its threshold was chosen for, and its figures on other
    sets. normalize: whether texts are embedded as `plain` makes them. reading: how it reads a text, one of
    splitting.READINGS. normalizing: the version of `plain` by which it was fitted, 1 if it keeps none.
    """

    model: str
    spec: EncoderSpec
    words: Words | None
    detector: Detector
    threshold: float
    probe: np.ndarray
    bank: Bank
    about: dict
    normalize: bool = True
    reading: str = splitting.WHOLE
    normalizing: int = NORMALIZING

    def texts(self, texts: Sequence[str]) -> list[str]:
        """The texts as they are embedded."""
        return [self.normalized(text)[0] for text in texts]

    def normalized(self, text: str) -> tuple[str, tuple[str, ...]]:
        """The text as it is embedded, and what normalizing has changed (`utils.data.text.CHANGES`)."""
        return plain_and_changes(text) if self.normalize else (text, ())

    @property
    def outdated(self) -> str:
        """A sentence on how texts are read otherwise than those that the detector was fitted on; '' if they are not."""
        if not self.normalize or self.normalizing == NORMALIZING:
            return ""
        return (
            "note: another version of this program fitted the detector, which normalized texts in another way; all "
            "texts are normalized in today's, so its card is exact again when it is fitted again"
        )

    def threshold_at(self, rate: float, traffic: str | None = None) -> float:
        """The card's threshold for a rate of false alarms. traffic: whose they are; those that the fit was for if None.

        Raises InputError if the card has none.
        """
        points, chosen_for = self.about["card"]["points"], self.about["chosen_for"]
        traffic = chosen_for.get("of", ALL) if traffic is None else traffic
        # Cards of earlier versions have thresholds by all safe prompts only.
        there = {(point.get("of", ALL), point["rate"]): point["threshold"] for point in points}
        named = list(dict.fromkeys(name for name, _ in there))
        if traffic not in named:
            raise InputError(
                f"--of {traffic}: the detector's card has thresholds by {', '.join(named)}; give one of these, or fit "
                f"with --of {traffic}"
            )
        if (traffic, rate) not in there:
            rates = ", ".join(f"{its:g}" for name, its in there if name == traffic)
            raise InputError(
                f"--fpr {rate:g}: the detector's card has thresholds for {rates}; give one of these, or a --threshold"
            )
        return there[traffic, rate]

    def parts_of(self, texts: Sequence[str]) -> tuple[list[str], list[int]]:
        """What it reads beside each whole text, and the text that each is of. texts: as they are embedded."""
        return splitting.parts_of(texts, self.reading)

    @property
    def calibration(self) -> Calibration | None:
        """What makes probabilities of scores; None if the detector was fitted by a version that knew none."""
        kept = self.about.get("calibration")
        return kept and Calibration(*(kept[name] for name in ("slope", "intercept", "base_rate")))


def rows_of(embedder: Embedder, words: Words | None, texts: Sequence[str], ids: Sequence[str]) -> tuple:
    """The vectors of texts, (n, d) of length 1 (or 0), and which texts were truncated, bool (n,).

    Sparse for TF-IDF. ids: the names of the texts, for errors.
    """
    if words is not None:
        return words.rows(texts), np.zeros(len(texts), dtype=bool)
    embedded = embedder.embed(texts, ids)
    return metrics.unit_rows(embedded.matrix).astype(np.float32), embedded.truncated


def probe_of(embedder: Embedder, words: Words | None) -> np.ndarray:
    """The vector of PROBE: (d,)."""
    row = rows_of(embedder, words, [PROBE], ["the probe text"])[0]
    return row[0] if words is None else row.toarray()[0]


def check_probe(saved: SavedDetector, embedder: Embedder) -> None:
    """Raises InputError if the encoder's vector of the probe text differs from that of the fit."""
    vector = probe_of(embedder, saved.words)
    largest = LARGEST_DISTANCE.get(saved.spec.dtype, LARGEST_DISTANCE_OF_HALVES)
    distance = 2.0
    if vector.shape == saved.probe.shape:
        # For vectors of length 1, half the squared difference is the cosine distance; two zero vectors are equal.
        distance = float(np.square(vector.astype(np.float64) - saved.probe).sum()) / 2
    if distance > largest:
        raise InputError(
            f"--model {saved.spec.name}: gives the probe text another vector than when the detector was fitted (cosine "
            f"distance {distance:.2g}, allowed {largest:g}); its scores would mean nothing, fit again"
        )
