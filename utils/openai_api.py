"""The OpenAI API, or a server that speaks it: its client, its refusals, and encoders behind it."""

import math
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

import numpy as np

from utils import config
from utils.schema import EncoderSpec, InputError

DEFAULT_HOST = "api.openai.com"
# Tries beyond the first; the SDK waits as long as Retry-After says (two minutes at most), else longer each time.
RETRIES = 6
SECONDS_TO_ANSWER = 120


def host() -> str:
    """Where requests go: host, port and path of OPENAI_BASE_URL, never a name or password in it."""
    address = config.setting("OPENAI_BASE_URL")
    if not address:
        return DEFAULT_HOST
    try:
        parts = urlsplit(address)
        shown = (parts.hostname or "") + (f":{parts.port}" if parts.port else "") + parts.path.rstrip("/")
    except ValueError:
        parts, shown = None, ""
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError("OPENAI_BASE_URL: not an address such as http://localhost:8000/v1; mend it or leave it out")
    return shown


def require_key(what: str, otherwise: str = "") -> None:
    """Raises InputError, naming `what` needs it, if there is neither a key nor a server of one's own."""
    if not config.setting("OPENAI_API_KEY") and not config.setting("OPENAI_BASE_URL"):
        raise InputError(
            f"{what}: needs a key; put OPENAI_API_KEY=... into .env (made at https://platform.openai.com/api-keys)"
            f"{', ' if otherwise else ''}{otherwise}"
        )


def _client_settings(retries: int, seconds: float) -> dict:
    # A server of one's own may want no key, but the SDK sends one always.
    return {
        "api_key": config.setting("OPENAI_API_KEY") or "none",
        "base_url": config.setting("OPENAI_BASE_URL") or None,
        "max_retries": retries,
        "timeout": seconds,
    }


def async_client(retries: int, seconds: float):
    """The SDK's asynchronous client for the server and key that the environment names."""
    import openai

    return openai.AsyncOpenAI(**_client_settings(retries, seconds))


def error_code(error) -> str | None:
    """The server's code of an error, where it is one word."""
    return error.code if isinstance(error.code, str) and re.fullmatch(r"[a-z_]{1,40}", error.code) else None


def refusal(error, model: str, retries: int) -> str:
    """What an error of the API means, in our words: the server's own may hold a part of the key, or of a prompt."""
    where, status, code = host(), error.status_code, error_code(error)
    again = "what came is kept, run again to go on"
    if status == 401:
        return f"{where} refused the key in OPENAI_API_KEY"
    if status == 403:
        return f"{where} does not allow this key to use {model}"
    if status == 404:
        return f"{where} has no model {model}"
    if code == "insufficient_quota":
        return f"the account at {where} has no credit left; {again}"
    if status == 429:
        return f"{where} still limits the rate after {retries + 1} tries; {again}, later"
    if status >= 500:
        return f"{where} failed {retries + 1} times (status {status}); {again}"
    return f"{where} refused a request (status {status}{f', {code}' if code else ''})"


class OpenAIEncoder:
    """A model behind the API; several requests at once, each within the API's limits.

    A request holds 256 texts and 16,384 tokens at most (the API takes 2,048 and 300,000), so that little is lost and
    nothing much is paid twice when a run is cut off. Retries are the SDK's: they wait as long as Retry-After says.
    Raises InputError if there is no key.
    """

    device, concurrency, max_batch, token_budget = "the API", 4, 256, 16384

    def __init__(self, spec: EncoderSpec) -> None:
        import openai

        require_key(f"--model {spec.name}")
        self.host = host()
        self.name, self.prompt, self.price = spec.name, spec.prompt, spec.usd_per_million_tokens
        self.model = spec.recipe["model"]
        self.dimension, self.max_tokens = spec.dimension, spec.max_tokens
        self._client = openai.OpenAI(**_client_settings(RETRIES, SECONDS_TO_ANSWER))
        self._encoding = _encoding(self.model)

    def token_counts(self, texts: Sequence[str]) -> np.ndarray:
        """How many tokens each text has, prompt included: int (n,); an estimate where tiktoken lacks the encoding."""
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
        """One batch of texts to a float32 array (n, d). Raises InputError for a refusal or a wrong answer."""
        import openai

        try:
            answer = self._client.embeddings.create(model=self.model, input=[self._shortened(text) for text in texts])
        except openai.APIStatusError as error:
            raise InputError(f"--model {self.name}: {refusal(error, self.model, RETRIES)}") from None
        except openai.APIConnectionError:
            raise InputError(
                f"--model {self.name}: {self.host} can't be reached; what came is kept, run again to go on"
            ) from None
        except (openai.OpenAIError, ValueError):
            raise InputError(f"--model {self.name}: {self.host} gave an answer without embeddings") from None
        rows = {item.index: item.embedding for item in answer.data}
        if len(answer.data) != len(texts) or set(rows) != set(range(len(texts))):
            raise InputError(
                f"--model {self.name}: {self.host} gave {len(answer.data)} embeddings for {len(texts)} texts; "
                "what came is kept, run again to go on"
            )
        lengths = {len(row) for row in rows.values()}
        if self.dimension is None and len(lengths) == 1:
            [self.dimension] = lengths
        if lengths != {self.dimension}:
            raise InputError(
                f"--model {self.name}: {self.host} gave embeddings of length {', '.join(map(str, sorted(lengths)))}, "
                f"{self.dimension or 'one'} was expected; is it the right model?"
            )
        return np.array([rows[i] for i in range(len(texts))], dtype=np.float32)

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


def _encoding(model: str):
    """tiktoken's encoding of a model, or None where it has none or can't fetch it."""
    import requests
    import tiktoken

    try:
        return tiktoken.encoding_for_model(model)
    except (KeyError, requests.RequestException):
        return None
