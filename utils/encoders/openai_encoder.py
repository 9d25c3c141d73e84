"""An encoder behind the OpenAI API, or behind a server with the same interface."""

import base64
import json
import math
import re
from collections.abc import Sequence

import numpy as np

from utils.openai_api import AGAIN, client, host, refusal, require_key
from utils.schema import EncoderSpec, InputError, shown

# Tries beyond the first; the SDK waits as long as Retry-After says (two minutes at most), else longer each time.
RETRIES = 6
SECONDS_TO_ANSWER = 120
# A run ends after so many requests in a row that are not answered in time.
TIMEOUTS = 2
# Statuses of a request with too many texts, a text that is too long, or an unknown encoding.
REFUSED = (400, 413, 422)


class Refused(InputError):
    """A request that the server refuses, but of which it may accept a part."""


class OpenAIEncoder:
    """A model behind the API, with several requests at once, each within the API's limits.

    A request holds 256 texts and 16,384 tokens at most (the API takes 2,048 and 300,000), so that little is
    lost or paid for twice when a run is killed. Retries are the SDK's: they wait as long as Retry-After says.
    Raises InputError if there is no key.
    """

    device, concurrency, max_batch, token_budget = "the API", 4, 256, 16384

    def __init__(self, spec: EncoderSpec) -> None:
        require_key(f"--model {spec.name}")
        self.host = host()
        self.name, self.prompt, self.price = spec.name, spec.prompt, spec.usd_per_million_tokens
        self.model = spec.recipe["model"]
        self.dimension, self.max_tokens = spec.dimension, spec.max_tokens
        self._client = client(RETRIES, SECONDS_TO_ANSWER)
        self._encoding = _encoding(self.model)
        self._forms = ["base64", "float"]  # only one of them after the server has accepted it
        self.served = None

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
        tokens, about = int(read.sum()), "" if self._encoding else "about "
        cost = "price unknown" if self.price is None else f"about ${tokens * self.price / 1e6:.4f}"
        return f"sending {len(token_counts)} distinct texts to {self.host}: {about}{tokens} tokens, {cost}"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """One batch of texts to a float32 array (n, d).

        Raises Refused if the server may accept a part of them, InputError for any other refusal or a wrong answer.
        """
        content = self._answer([self._shortened(text) for text in texts])
        rows = self._rows(content, len(texts))
        lengths = {len(row) for row in rows}
        if self.dimension is None and len(lengths) == 1:
            [self.dimension] = lengths
        if lengths != {self.dimension}:
            raise self._wrong(
                f"gave embeddings of length {', '.join(map(str, sorted(lengths)))}, {self.dimension or 'one'} was "
                "expected; is it the right model?"
            )
        return np.stack(rows)

    def _answer(self, texts: list[str]) -> bytes:
        import openai

        forms, timeouts = list(self._forms), 0
        while True:
            try:
                raw = self._client.embeddings.with_raw_response.create(
                    model=self.model, input=texts, encoding_format=forms[0]
                )
                self._forms = forms[:1]
                return raw.http_response.content
            except openai.APIStatusError as error:
                if error.status_code not in REFUSED:
                    raise InputError(f"--model {self.name}: {refusal(error, self.model, RETRIES)}") from None
                if len(forms) == 1:
                    raise Refused(f"--model {self.name}: {refusal(error, self.model, RETRIES)}") from None
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
        asked, name = (text.rpartition("/")[2] for text in (self.model, served))
        # A date, or a version: -2024-05-13, -20240513, -0613, -001, -v2, :latest; -5 may be of a different model.
        if not re.fullmatch(rf"{re.escape(asked)}(-\d{{4}}-\d\d-\d\d|-\d{{3,8}}|-v\d+|[:@].+)?", name):
            raise self._wrong(
                f"answered with the model {shown(served)}, {self.model} was asked for; if that is the one you want, "
                f"give --model openai:{shown(served)}"
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


def _vector(embedding: object) -> np.ndarray:
    """An embedding as the server writes it, base64 or numbers: float32 (d,). Raises ValueError for anything else."""
    if isinstance(embedding, str):
        embedding = np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4").tolist()
    if not embedding or not all(isinstance(number, int | float) for number in embedding):
        raise ValueError
    return np.array(embedding, dtype=np.float32)


def _encoding(model: str):
    """tiktoken's encoding of a model, or None if it has none or can't download it."""
    import tiktoken

    try:
        return tiktoken.encoding_for_model(model)
    except (KeyError, OSError, ValueError):  # errors of requests are OSErrors; a wrong digest is a ValueError
        return None
