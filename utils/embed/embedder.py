"""Prompts in, float32 matrix out: deduplicates, asks the store, batches, shows progress."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from utils.encoders import loading, tfidf
from utils.encoders.openai_encoder import Failed, Refused
from utils.schema import RANDOM_VECTORS, EmbeddingStats, EncoderInfo, EncoderSpec, InputError, is_word_overlap, shown
from utils.store.embeddings import EmbeddingStore

# A tokenizer needs about 12 KB for each text that it counts at once.
COUNTED_AT_ONCE = 4096
SERVED = "served model"
# A run ends after so many texts that each make a server fail: it is the server's fault rather than theirs.
MOST_AT_FAULT = 3


@dataclass(frozen=True)
class Embeddings:
    """The vectors of n texts.

    matrix: float32 (n, d), a sparse CSR matrix for TF-IDF; None if the task computes the vectors itself.
    stats: where the vectors came from.
    truncated: bool (n,), whether each text is longer than what the encoder reads.
    device: where vectors were computed, None if all were stored.
    """

    matrix: Any
    truncated: np.ndarray
    info: EncoderInfo
    stats: EmbeddingStats
    device: str | None


class Embedder:
    """One encoder, loaded when it is first needed.

    store: where vectors and results are kept, None to keep none. Random vectors are never kept.
    show_progress: whether a progress bar may be drawn on standard error.
    note: called with each sentence that the user should read.
    encoder: the encoder of `spec`, if it is loaded already.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        store: EmbeddingStore | None = None,
        show_progress: bool = False,
        note: Callable[[str], object] = lambda sentence: None,
        encoder: Any = None,
    ) -> None:
        self.spec, self.store, self.show_progress, self.note = spec, store, show_progress, note
        self._encoder = encoder
        # Random vectors are drawn faster than they are stored or read.
        self._vector_store = None if spec.backend == RANDOM_VECTORS else store

    def embed(self, texts: Sequence[str], ids: Sequence[str]) -> Embeddings:
        """The vectors of `texts`, in their order, each distinct text computed once.

        ids: the names of the texts, for errors. Raises InputError if an encoder gives NaN, infinity or a zero vector,
        or if a single text does not fit the device's memory.
        """
        if self.spec.base is not None:
            return self._through_layer(self.spec.base, texts, ids)
        start = time.perf_counter()
        distinct = list(dict.fromkeys(texts))
        id_of = dict(zip(reversed(texts), reversed(ids), strict=True))
        device: str | None = "cpu"
        if is_word_overlap(self.spec):
            _, matrix = tfidf.fit_words(texts)
            self._check(matrix, ids)
            computed, info = len(distinct), self.spec.info(dimension=matrix.shape[1])
            cut: set[str] = set()
        else:
            store = self._vector_store
            known = store.encoder_info(self.spec.fingerprint) if store else None
            stored = store.get(self.spec.fingerprint, distinct, known.dimension) if store and known else {}
            missing = [text for text in distinct if text not in stored]
            fresh, cut = self._compute(missing, id_of) if missing else ({}, set())
            if store and stored:
                cut |= store.truncated(self.spec.fingerprint, list(stored))
            computed = len(missing)
            info = self.spec.info(known.dimension, known.max_tokens) if known and not missing else self._info()
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
            truncated=len(cut),
        )
        if cut:
            self.note(truncation(stats, info))
        return Embeddings(matrix, np.array([text in cut for text in texts]), info, stats, device)

    def _through_layer(self, base: EncoderSpec, texts: Sequence[str], ids: Sequence[str]) -> Embeddings:
        """The base's vectors, stored as its own, through the spec's linear layer and made of length 1."""
        from safetensors.numpy import load_file

        embedder = Embedder(base, self.store, self.show_progress, self.note)
        embedded = embedder.embed(texts, ids)
        embedder.close()
        unit = embedded.matrix / np.linalg.norm(embedded.matrix, axis=1, keepdims=True)
        rows = unit @ load_file(str(self.spec.layer))["weight"].T
        info = self.spec.info(embedded.info.dimension, embedded.info.max_tokens)
        return replace(embedded, matrix=rows / np.linalg.norm(rows, axis=1, keepdims=True), info=info)

    def close(self) -> None:
        """Ends the processes and connections of a loaded encoder."""
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None

    def tokens(self) -> tuple[Callable[[Sequence[str]], np.ndarray], int | None]:
        """What counts the tokens of texts, and the most that the encoder reads of one, None if there is no limit."""
        encoder = self._loaded()
        return encoder.token_counts, encoder.max_tokens

    def notes(self) -> tuple[str, ...]:
        """What was assumed of the encoder's checkpoint, in sentences; none before it is loaded."""
        return getattr(self._encoder, "notes", ())

    def _loaded(self) -> Any:
        if self._encoder is None:
            self.note(f"loading {self.spec.name}")
            self._encoder = loading.load(self.spec)
            for sentence in self.notes():
                self.note(sentence)
        return self._encoder

    def _info(self) -> EncoderInfo:
        return self.spec.info(self._encoder.dimension, self._encoder.max_tokens)

    def _compute(self, texts: list[str], id_of: dict[str, str]) -> tuple[dict[str, np.ndarray], set[str]]:
        from tqdm import tqdm

        if self._vector_store and self.spec.loader == "openai":
            self._vector_store.check_writable()  # or what is paid for could not be kept
        encoder = self._loaded()
        counts = np.concatenate([encoder.token_counts(part) for part in _parts(texts, COUNTED_AT_ONCE)])
        self.note(encoder.plan(counts))
        read = np.minimum(counts, encoder.max_tokens) if encoder.max_tokens else counts
        vectors: dict[str, np.ndarray] = {}
        with tqdm(total=len(texts), unit="text", disable=not self.show_progress, leave=False) as bar:

            def keep(batch: np.ndarray, rows: np.ndarray) -> None:
                part = [texts[i] for i in batch]
                self._check(rows, [id_of[text] for text in part])
                if self._vector_store:
                    if not vectors:
                        self._refuse_another_model(encoder, self._vector_store)
                        self._vector_store.put_encoder_info(self._info())
                    self._vector_store.put(
                        self.spec.fingerprint, part, rows, [texts[i] for i in batch if counts[i] > read[i]]
                    )
                vectors.update(zip(part, rows, strict=True))
                bar.update(len(part))

            if encoder.concurrency == 1:
                self._in_turn(texts, read, id_of, keep)
            else:
                self._at_once(texts, read, id_of, keep)
        return vectors, {text for text, count, used in zip(texts, counts, read, strict=True) if count > used}

    def _refuse_another_model(self, encoder: Any, store: EmbeddingStore) -> None:
        """Raises InputError if a server's model is not the one whose vectors are stored."""
        served = getattr(encoder, "served", None)
        if served is None:
            return
        kept = store.fact(self.spec.fingerprint, SERVED)
        if kept is None:
            store.put_fact(self.spec.fingerprint, SERVED, {"name": served})
        elif kept["name"] != served:
            raise InputError(
                f"--model {self.spec.name}: the server answers with {shown(served)} now, and the vectors that are "
                f"stored are of {shown(kept['name'])}; name the one that you want, or remove them with python -m "
                f"utils.store --prune {self.spec.fingerprint}"
            )

    def _in_turn(self, texts: list[str], lengths: np.ndarray, id_of: dict[str, str], keep: Callable) -> None:
        """Encodes one batch after another. A batch that does not fit the memory is halved, as are all later ones."""
        encoder, budget = self._encoder, self._encoder.token_budget
        pending = batches(lengths, budget, encoder.max_batch)
        while pending:
            batch = pending.pop(0)
            try:
                rows = encoder.encode([texts[i] for i in batch])
            except MemoryError:
                if len(batch) == 1:
                    raise InputError(
                        f"--model {self.spec.name}: no memory on {encoder.device} for {id_of[texts[batch[0]]]} alone "
                        f"({lengths[batch[0]]} tokens); try --dtype bfloat16, another --device or a smaller encoder"
                    ) from None
                budget = len(batch) // 2 * int(lengths[batch].max())
                left = np.concatenate([batch, *pending])
                pending = [left[chosen] for chosen in batches(lengths[left], budget, encoder.max_batch)]
            else:
                keep(batch, rows)

    def _at_once(self, texts: list[str], lengths: np.ndarray, id_of: dict[str, str], keep: Callable) -> None:
        """Encodes several batches at a time, and stores each at once. After a refusal all batches are halved.

        A batch that makes the server fail is halved alone, until the text at fault is found; all others are encoded.
        After an error or Ctrl-C nothing more is sent, but running requests are waited for, as they are paid for. A
        second Ctrl-C ends that at once.
        """
        encoder, at_fault = self._encoder, []
        failure: BaseException | None = None
        refusal: InputError | None = None
        pending = batches(lengths, encoder.token_budget, encoder.max_batch)
        running: dict[Future, np.ndarray] = {}
        while running or (pending and failure is None):
            try:
                while pending and failure is None and len(running) < encoder.concurrency:
                    batch = pending.pop(0)
                    running[_in_thread(encoder.encode, [texts[i] for i in batch])] = batch
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    batch = running[future]
                    try:
                        keep(batch, future.result())
                    except Refused as error:
                        if len(batch) == 1:
                            at_fault.append(id_of[texts[batch[0]]])
                            refusal = InputError(f"{error}; it was {', '.join(at_fault)}")
                            if not isinstance(error, Failed) or len(at_fault) == MOST_AT_FAULT:
                                failure = failure or refusal
                        elif isinstance(error, Failed):
                            pending[:0] = _parts(batch, -(-len(batch) // 2))
                        else:
                            most = encoder.max_batch = min(encoder.max_batch, len(batch) // 2)
                            pending = [part for one in (batch, *pending) for part in _parts(one, most)]
                    except Exception as error:
                        failure = failure or error
                    del running[future]  # last: an answer that Ctrl-C kept from being stored is taken again
            except KeyboardInterrupt as interrupt:
                if isinstance(failure, KeyboardInterrupt):
                    raise
                failure = interrupt
                if running:
                    sent = f"{len(running)} request{'s' if len(running) > 1 else ''} under way"
                    print(f"interrupted; waiting for {sent} (Ctrl-C again to lose what they cost)", file=sys.stderr)
        failure = failure or refusal
        if failure is not None:
            raise failure

    def _check(self, rows: np.ndarray, ids: Sequence[str]) -> None:
        sums = np.asarray(abs(rows).sum(axis=1, dtype=np.float64)).ravel()
        bad, what = ~np.isfinite(sums), "NaN or infinity"
        if not bad.any():
            bad, what = sums == 0, "a zero vector"
        if bad.any():
            remedy = "leave that row out" if self.spec.dtype == "float32" else "try --dtype float32"
            raise InputError(f"--model {self.spec.name}: gave {what} for {ids[int(bad.argmax())]}; {remedy}")


def fitted_later(spec: EncoderSpec, texts: Sequence[str]) -> Embeddings:
    """Embeddings without vectors, for a task that fits TF-IDF itself on a part of the texts."""
    unique = len(set(texts))
    stats = EmbeddingStats(len(texts), unique, computed=unique, reused=0, seconds=0.0, truncated=0)
    return Embeddings(None, np.zeros(len(texts), dtype=bool), spec.info(), stats, "cpu")


def truncation(stats: EmbeddingStats, info: EncoderInfo) -> str:
    """A sentence on how many texts are longer than what the encoder reads."""
    return (
        f"{stats.truncated} of {stats.unique} distinct texts are longer than the {info.max_tokens} tokens that "
        f"{info.name} reads and were cut off"
    )


def batches(lengths: np.ndarray, budget: int, most: int | None = None) -> list[np.ndarray]:
    """The indices of the texts of each batch. Texts are sorted by length, so that a batch needs little padding.

    lengths: int (n,), the tokens read of each text. budget: the most padded tokens in a batch; a longer text is a
    batch of its own. most: the most texts in a batch, None if unbounded. Every index occurs in exactly one batch.
    """
    order = np.argsort(-lengths, kind="stable")
    parts, start = [], 0
    while start < len(order):
        size = max(1, budget // max(1, int(lengths[order[start]])))
        size = size if most is None else min(size, most)
        parts.append(order[start : start + size])
        start += size
    return parts


def _parts(items: Any, most: int) -> list:
    return [items[start : start + most] for start in range(0, len(items), most)]


def _in_thread(work: Callable, *arguments: Any) -> Future:
    """The future result of `work` in a thread of its own, which does not keep the program from ending."""
    future: Future = Future()

    def run() -> None:
        try:
            future.set_result(work(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
