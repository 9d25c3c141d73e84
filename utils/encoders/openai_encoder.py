"""An encoder behind the OpenAI API, or behind a server with the same interface."""

import base64
import json
import math
import re
import threading
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from utils.openai_api import AGAIN, client, host, refusal, require_key
from utils.schema import EncoderSpec, InputError, shown

if TYPE_CHECKING:
    import httpx2
    import tiktoken

# How the API is asked to write vectors.
Form = Literal["base64", "float"]

# Tries beyond the first; the SDK waits as long as Retry-After says (two minutes at most), else longer each time.
RETRIES = 6
SECONDS_TO_ANSWER = 120
# A run ends after so many requests in a row that are not answered in time.
TIMEOUTS = 2
# Statuses of a request with too many texts, a text that is too long, or an unknown encoding.
REFUSED = (400, 413, 422)
# The least cosine of a text's vector in a batch and of the same text's alone. float32 keeps all but 1e-6 of it. A
# bfloat16 number has 8 bits, so a rounding errs by up to 1/512; three hundred of them in a row, as in a model of 24
# layers, add up to 0.035, a cosine of 0.9994 (MiniLM's is 0.99996). Numbers of 8 bits that are scaled anew for each
# batch come near 0.99.
LEAST_COSINE = 0.99
# A text's vector in the batch is the nearest, unless both differ by rounding. All vectors are rounded alike, so that a
# different text's vector is ten times nearer only where the server has given it the wrong text.
ROUNDING, TIMES_NEARER = 1e-5, 10
# What a server may have put into base64 in the place of float32.
WRONG_NUMBERS = {"<f2": "float16", "<f8": "float64", ">f4": "big-endian float32", ">f8": "big-endian float64"}
# Texts that differ within so many letters and digits differ in what every model reads of them.
READ_BY_ALL = 200


class Refused(InputError):
    """A request that the server refuses, but of which it may accept a part."""


class Failed(Refused):
    """A request that makes the server fail, perhaps for one of its texts."""


class OpenAIEncoder:
    """A model behind the API, with several requests at once, each within the API's limits.

    A request holds 256 texts and 16,384 tokens at most (the API takes 2,048 and 300,000), so that little is
    lost or paid for twice when a run is killed. Retries are the SDK's: they wait as long as Retry-After says.
    Before the first vectors of a batch are given out, one of its texts is asked for once more, alone and as numbers, to
    see that both vectors are the same. Raises InputError if there is no key.
    """

    device, concurrency, max_batch, token_budget = "the API", 4, 256, 16384

    def __init__(self, spec: EncoderSpec) -> None:
        require_key(f"--model {spec.name}")
        self.host = host()
        self.name, self.prompt, self.price = spec.name, spec.prompt, spec.usd_per_million_tokens
        self.model = str(spec.recipe["model"])
        self.expected = spec.options.revision or self.model
        self.dimension, self.max_tokens = spec.dimension, spec.max_tokens
        self._client = client(RETRIES, SECONDS_TO_ANSWER, _is_final)
        self._encoding: Any = _encoding(self.model)
        self._forms: list[Form] = ["base64", "float"]  # only one of them after the server has accepted it
        self.served: str | None = None
        self._checking, self._checked = threading.Lock(), False
        self._fault: InputError | None = None

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """The number of tokens of each text, prompt included: int (n,). An estimate if tiktoken lacks the encoding."""
        prompted = [self.prompt + text for text in texts]
        if self._encoding is None:
            # English has four to five bytes a token; a token has one at least.
            return np.array([math.ceil(len(text.encode()) / 4) for text in prompted], dtype=np.int64)
        return np.array([len(self._tokens(text)) for text in prompted], dtype=np.int64)

    def _tokens(self, text: str) -> list[int]:
        return self._encoding.encode(text, disallowed_special=())

    def plan(self, token_counts: np.ndarray) -> str:
        """A sentence on what is about to be sent, and what it costs."""
        read = np.minimum(token_counts, self.max_tokens) if self.max_tokens else token_counts
        tokens, about, again = int(read.sum()), "" if self._encoding else "about ", ""
        if len(read) > 1 and not self._checked:
            # The shortest text of a batch is asked for again; the first batch has the longest texts.
            first = min(len(read), self.max_batch, max(1, self.token_budget // max(1, int(read.max()))))
            tokens, again = tokens + int(np.sort(read)[-first]), ", and one of them twice as a check,"
        cost = "price unknown" if self.price is None else f"about ${tokens * self.price / 1e6:.4f}"
        return f"sending {len(token_counts)} distinct texts{again} to {self.host}: {about}{tokens} tokens, {cost}"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """One batch of texts to a float32 array (n, d).

        Raises Refused if the server may accept a part of them, InputError for any other refusal or a wrong answer.
        """
        read = [self._shortened(text) for text in texts]
        # Of a single text there is nothing to compare. As numbers it can't be misread, and so need not be checked.
        forms = self._forms[::-1] if len(texts) == 1 and not self._checked else self._forms
        rows = self._rows(self._answer(read, forms), len(texts))
        if len(texts) > 1:
            self._refuse_one_for_all(texts, rows)
            self._compare_with_one_alone(read, rows)
        lengths = {len(row) for row in rows}
        if self.dimension is None and len(lengths) == 1:
            [self.dimension] = lengths
        if lengths != {self.dimension}:
            raise self._wrong(
                f"gave embeddings of length {', '.join(map(str, sorted(lengths)))}, {self.dimension or 'one'} was "
                "expected; is it the right model?"
            )
        return np.stack(rows)

    def _refuse_one_for_all(self, texts: Sequence[str], rows: list[np.ndarray]) -> None:
        """Raises InputError if texts that differ in letters or digits all have the same vector."""
        if all(np.array_equal(row, rows[0]) for row in rows) and len({_letters(text) for text in texts}) > 1:
            raise self._wrong(
                f"gave one and the same vector for {len(texts)} different texts; use a model that gives each its own"
            )

    def _compare_with_one_alone(self, texts: list[str], rows: list[np.ndarray]) -> None:
        """Raises InputError if a text of a batch has a different vector alone. Other batches wait for the first."""
        with self._checking:
            if self._fault is not None:
                raise self._fault
            if self._checked:
                return
            # The shortest costs the least, and has the most padding beside it.
            at = min(range(len(texts)), key=lambda i: len(texts[i]))
            try:
                [alone] = self._rows(self._answer([texts[at]], ["float"]), 1)
            except InputError as error:  # of Refused: a smaller batch would not help
                raise InputError(
                    f"{error}; the answer to {len(texts)} texts that came before could not be checked and is not kept"
                ) from None
            fault = _difference(alone, at, rows, self._forms[0])
            if fault is not None:
                self._fault = self._wrong(fault)
                raise self._fault
            self._checked = True

    def _answer(self, texts: list[str], forms: "list[Form]") -> bytes:
        """The server's answer in the first of `forms` that it knows, "base64" or "float"."""
        import openai

        forms, timeouts = list(forms), 0
        while True:
            try:
                raw = self._client.embeddings.with_raw_response.create(
                    model=self.model, input=texts, encoding_format=forms[0]
                )
                if len(texts) > 1:
                    self._forms = forms[:1]
                return raw.http_response.content
            except openai.APIStatusError as error:
                if len(forms) == 1 or error.status_code not in REFUSED:
                    kind = (
                        Failed if error.status_code == 500 else Refused if error.status_code in REFUSED else InputError
                    )
                    raise kind(f"--model {self.name}: {refusal(error, self.model)}") from None
                del forms[0]
            except openai.APITimeoutError:
                timeouts += 1
                if timeouts == TIMEOUTS:
                    raise self._wrong(
                        f"did not answer within {SECONDS_TO_ANSWER} s, {TIMEOUTS} times; {AGAIN}"
                    ) from None
            except openai.APIConnectionError:
                raise self._wrong(f"can't be reached; {AGAIN}") from None
            except (openai.OpenAIError, ValueError):
                raise self._wrong(
                    "can't be sent a request; check OPENAI_BASE_URL, OPENAI_ORG_ID and OPENAI_PROJECT_ID"
                ) from None

    def _rows(self, content: bytes, n: int) -> list[np.ndarray]:
        """The n vectors of an answer, each (d,), in the order of the texts."""
        try:
            document = json.loads(content)
            items, rows = document["data"], [_vector(item["embedding"]) for item in document["data"]]
            indices = [item.get("index") for item in items]
        except (ValueError, OverflowError, RecursionError, KeyError, TypeError, AttributeError):
            raise self._wrong("gave an answer without embeddings") from None
        if len(rows) != n:
            raise self._wrong(f"gave {len(rows)} embeddings for {n} texts; {AGAIN}")
        self._note_model(document.get("model"))
        if len(set(map(str, indices))) == 1:  # missing, or all 0: in the order of the texts
            return rows
        at = {str(index): row for index, row in zip(indices, rows, strict=True)}
        if at.keys() != set(map(str, range(n))):
            raise self._wrong(f"numbers its embeddings wrongly; {AGAIN}")
        return [at[str(i)] for i in range(n)]

    def _note_model(self, served: object) -> None:
        """Raises InputError if an answer's model is not the one asked for, or not that of earlier answers."""
        if not isinstance(served, str) or not served:
            return
        expected, name = (text.rpartition("/")[2] for text in (self.expected, served))
        # A date, or a version: -2024-05-13, -20240513, -0613, -001, -v2, :latest; -5 may be of a different model.
        if not re.fullmatch(rf"{re.escape(expected)}(-\d{{4}}-\d\d-\d\d|-\d{{3,8}}|-v\d+|[:@].+)?", name):
            raise self._wrong(
                f"answered with the model {shown(served)}, {self.expected} was expected; if that is the one you want, "
                f"add --revision {shown(served)}"
            )
        self.served = self.served or served
        if self.served != served:
            raise self._wrong(
                f"answered with {shown(self.served)} first and with {shown(served)} later, whose vectors can't be "
                "compared; name the one that you want"
            )

    def _wrong(self, what: str) -> InputError:
        return InputError(f"--model {self.name}: {self.host} {what}")

    def _shortened(self, text: str) -> str:
        text = self.prompt + text
        if self._encoding is not None and self.max_tokens is not None:
            tokens = self._tokens(text)
            if len(tokens) > self.max_tokens:
                return self._encoding.decode(tokens[: self.max_tokens], errors="ignore")
        return text

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()


def _vector(embedding: str | list) -> np.ndarray:
    """An embedding as the server writes it, base64 or numbers: float32 (d,). Raises ValueError for anything else."""
    if isinstance(embedding, str):
        numbers = np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    elif all(isinstance(number, int | float) for number in embedding):
        numbers = np.array(embedding)
    else:
        raise ValueError
    if not len(numbers):
        raise ValueError
    return numbers.astype(np.float32)


def _is_final(request: "httpx2.Request", response: "httpx2.Response") -> bool:
    """Whether the server failed at several texts: halves of them are asked for then, which finds one at fault."""
    return response.status_code == 500 and len(json.loads(request.content)["input"]) > 1


def _letters(text: str) -> str:
    """The first letters and digits of a text, without case and accents: a model that ignores the others reads these."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", text).casefold()))[:READ_BY_ALL]


def _difference(alone: np.ndarray, at: int, rows: list[np.ndarray], form: str) -> str | None:
    """How the vector of text `at` in a batch, asked for in `form`, differs from `alone`, and what to do; or None.

    alone: float32 (d,), asked for as numbers. rows: the batch's vectors, each (d,).
    """
    if not (np.isfinite(alone).all() and alone.any()):
        return None  # the embedder names the text
    cosines = np.array([_cosine(row, alone) for row in rows])
    away, least = 1 - cosines[at], 1 - cosines.max()
    misplaced = away > max(ROUNDING, TIMES_NEARER * least)
    if cosines[at] >= LEAST_COSINE and not misplaced:
        return None
    kinds = [name for kind, name in WRONG_NUMBERS.items() if _cosine(_read_as(kind, rows[at]), alone) >= LEAST_COSINE]
    if len(rows[at]) != len(alone):
        kinds.append(f"{len(rows[at])} numbers for a vector of {len(alone)}")
    if kinds and form == "base64":
        return (
            f"sends {kinds[0]} in base64, where float32 (little-endian) belongs; set the server to that, or to refuse "
            "base64 (it is asked for plain numbers then)"
        )
    if misplaced and cosines.max() >= LEAST_COSINE:
        return (
            "gave a text alone the vector that it gave a different text of a batch; use a server that answers in the "
            "order of the texts"
        )
    return (
        f"gave a text alone a different vector than among others (cosine {cosines[at]:.2f}), so its vectors can't be "
        "compared; use a server or model whose vectors do not depend on the batch"
    )


def _read_as(kind: str, row: np.ndarray) -> np.ndarray:
    """The bytes of a float32 vector read as numbers of a different kind; empty if they are not so many."""
    content = row.astype("<f4").tobytes()
    return np.frombuffer(content, kind) if len(content) % np.dtype(kind).itemsize == 0 else np.empty(0)


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The cosine of two vectors; -1 if they have different lengths or one is zero or not finite."""
    with np.errstate(all="ignore"):
        a, b = a.astype(np.float64), b.astype(np.float64)
        cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) if len(a) == len(b) else -1.0
    return cosine if np.isfinite(cosine) else -1.0


def _encoding(model: str) -> "tiktoken.Encoding | None":
    """tiktoken's encoding of a model, or None if it has none or can't download it."""
    import tiktoken

    try:
        return tiktoken.encoding_for_model(model)
    except (KeyError, OSError, ValueError):  # errors of requests are OSErrors; a wrong digest is a ValueError
        return None
