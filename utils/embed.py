"""Prompts in, float32 matrix out: deduplicates, asks the store, batches, shows progress."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from utils import encoders
from utils.schema import EmbeddingStats, EncoderInfo, EncoderSpec, InputError
from utils.store import EmbeddingStore

# Padded tokens in a batch. On a CPU anything that keeps the matrices a few hundred rows high will do.
TOKEN_BUDGET = 4096


@dataclass(frozen=True)
class Embeddings:
    """matrix: float32 (n, d), row i of text i. stats: where the rows came from.

    device: where vectors were computed, None if none had to be.
    """

    matrix: np.ndarray
    info: EncoderInfo
    stats: EmbeddingStats
    device: str | None


class Embedder:
    """One encoder, loaded when a text first needs it.

    store: where vectors are kept; None keeps none.
    show_progress: whether a progress bar may be drawn on standard error.
    note: called with each sentence a person should read.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        store: EmbeddingStore | None = None,
        show_progress: bool = False,
        note: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.spec, self.store, self.show_progress, self.note = spec, store, show_progress, note
        self._encoder = None

    def embed(self, texts: Sequence[str], ids: Sequence[str]) -> Embeddings:
        """The vectors of `texts`, in their order, each distinct text computed once.

        ids: what to call each text in an error. Raises InputError if an encoder gives NaN, infinity or a zero vector.
        """
        start = time.perf_counter()
        distinct = list(dict.fromkeys(texts))
        id_of = dict(zip(reversed(texts), reversed(ids), strict=True))
        if self.spec.loader == "tfidf":
            vectors = encoders.tfidf_vectors(texts)
            self._check(vectors, ids)
            computed, info, device = len(distinct), self.spec.info(dimension=vectors.shape[1]), "cpu"
            matrix = vectors
        else:
            known = self.store.encoder_info(self.spec.fingerprint) if self.store else None
            stored = self.store.get(self.spec.fingerprint, distinct, known.dimension) if known else {}
            missing = [text for text in distinct if text not in stored]
            fresh = self._compute(missing, id_of) if missing else {}
            computed = len(missing)
            info = self._info() if missing else self.spec.info(known.dimension, known.max_tokens)
            device = self._encoder.device if missing else None
            by_text = {**stored, **fresh}
            matrix = np.empty((len(texts), info.dimension), dtype=np.float32)
            for row, text in enumerate(texts):
                matrix[row] = by_text[text]
        stats = EmbeddingStats(
            prompts=len(texts),
            unique=len(distinct),
            computed=computed,
            reused=len(distinct) - computed,
            seconds=time.perf_counter() - start,
        )
        return Embeddings(matrix, info, stats, device)

    def _load(self):
        if self._encoder is None:
            self.note(f"loading {self.spec.name}")
            self._encoder = encoders.load(self.spec)
            if self.store:
                self.store.put_encoder_info(self._info())
        return self._encoder

    def _info(self) -> EncoderInfo:
        return self.spec.info(self._encoder.dimension, self._encoder.max_tokens)

    def _compute(self, texts: list[str], id_of: dict[str, str]) -> dict[str, np.ndarray]:
        from tqdm import tqdm

        encoder = self._load()
        self.note(f"embedding {len(texts)} distinct texts with {self.spec.name} on {encoder.device}")
        vectors: dict[str, np.ndarray] = {}
        with tqdm(total=len(texts), unit="text", disable=not self.show_progress, leave=False) as bar:
            for batch in batches(encoder.token_counts(texts), encoder.max_tokens, TOKEN_BUDGET):
                part = [texts[i] for i in batch]
                rows = encoder.encode(part)
                self._check(rows, [id_of[text] for text in part])
                if self.store:
                    self.store.put(self.spec.fingerprint, part, rows)
                vectors.update(zip(part, rows, strict=True))
                bar.update(len(part))
        return vectors

    def _check(self, rows: np.ndarray, ids: Sequence[str]) -> None:
        bad = ~np.isfinite(rows).all(axis=1)
        what = "NaN or infinity"
        if not bad.any():
            bad, what = ~rows.any(axis=1), "a zero vector"
        if bad.any():
            remedy = "leave that row out" if self.spec.dtype == "float32" else "try --dtype float32"
            raise InputError(f"--model {self.spec.name}: gave {what} for {ids[int(bad.argmax())]}; {remedy}")


def batches(token_counts: np.ndarray, max_tokens: int | None, budget: int) -> list[np.ndarray]:
    """Indices of the texts of each batch, longest texts first, so that a batch pads little.

    token_counts: int (n,). max_tokens: what is read of a text, None if unbounded.
    budget: the most padded tokens in a batch; a longer text is a batch of its own.
    Every index stands in just one batch.
    """
    lengths = np.minimum(token_counts, max_tokens) if max_tokens else token_counts
    order = np.argsort(-lengths, kind="stable")
    parts, start = [], 0
    while start < len(order):
        size = max(1, budget // max(1, int(lengths[order[start]])))
        parts.append(order[start : start + size])
        start += size
    return parts
