"""The client of the OpenAI API, or of a server with the same interface, and what its errors mean."""

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from utils import config
from utils.hub import UNUSABLE_PROXY
from utils.schema import InputError

if TYPE_CHECKING:
    import openai

DEFAULT_HOST = "api.openai.com"
AGAIN = "the answers so far are kept; run again to continue"
# Seconds beyond which the SDK does not wait for a server that names them in Retry-After.
LONGEST_WAIT = 120


def host() -> str:
    """The host, port and path of OPENAI_BASE_URL, without a user name or password."""
    return _place()[0]


def server() -> str:
    """The same with the scheme if it is not https, as part of what identifies vectors."""
    return "".join(_place()[::-1])


def _place() -> tuple[str, str]:
    """(host, port and path; the scheme if it is not https). A query is shown as its digest, as it may hold a key."""
    address = config.setting("OPENAI_BASE_URL")
    if not address:
        return DEFAULT_HOST, ""
    try:
        parts = urlsplit(address)
        port = {None: "", 443 if parts.scheme == "https" else 80: ""}.get(parts.port, f":{parts.port}")
    except ValueError:
        parts = None
    spaced = " " in address or not address.isprintable()
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or spaced:
        raise InputError("OPENAI_BASE_URL: not an address such as http://localhost:8000/v1; correct it or leave it out")
    place = parts.hostname + port + parts.path.rstrip("/")
    if parts.query:
        place += f"?{hashlib.sha256(parts.query.encode()).hexdigest()[:8]}"
    if (parts.scheme, place) == ("https", f"{DEFAULT_HOST}/v1"):
        return DEFAULT_HOST, ""
    return place, "" if parts.scheme == "https" else f"{parts.scheme}://"


def require_key(what: str, otherwise: str = "") -> None:
    """Raises InputError, naming `what` needs it, if there is neither a key nor a server of the user's own."""
    if not config.setting("OPENAI_API_KEY") and not config.setting("OPENAI_BASE_URL"):
        raise InputError(
            f"{what}: needs a key; put OPENAI_API_KEY=... into .env (made at https://platform.openai.com/api-keys)"
            f"{', ' if otherwise else ''}{otherwise}"
        )


def client(retries: int, seconds: float, is_final: Callable = lambda request, response: False) -> "openai.OpenAI":
    """The SDK's client for the server and key that the environment names. Raises InputError if they can't be used.

    is_final: called with a request and its response; whether not to try again, whatever the status.
    """
    import httpx2
    import openai

    class Http(openai.DefaultHttpxClient):
        def send(self, request: Any, **more: Any) -> Any:
            try:
                response = super().send(request, **more)
            except httpx2.TimeoutException:
                raise openai.APITimeoutError(request=request) from None
            if is_final(request, response):
                response.headers["x-should-retry"] = "false"  # the SDK does as this header says
            return response

    return _usable(lambda: openai.OpenAI(**_client_settings(retries, seconds), http_client=Http()))


def async_client(retries: int, seconds: float) -> "openai.AsyncOpenAI":
    """The SDK's asynchronous client, like `client`."""
    import httpx2
    import openai

    class Http(openai.DefaultAsyncHttpxClient):
        async def send(self, request: Any, **more: Any) -> Any:
            try:
                return await super().send(request, **more)
            except httpx2.TimeoutException:
                raise openai.APITimeoutError(request=request) from None

    return _usable(lambda: openai.AsyncOpenAI(**_client_settings(retries, seconds), http_client=Http()))


def _usable(make: Callable[[], Any]) -> Any:
    import httpx2

    try:
        return make()
    except InputError:
        raise
    except (OSError, ImportError, ValueError, httpx2.InvalidURL):
        raise InputError(UNUSABLE_PROXY) from None


def _client_settings(retries: int, seconds: float) -> dict:
    """The client's settings. max_retries does not apply to timeouts: each try would wait as long again."""
    key = config.setting("OPENAI_API_KEY")
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            "OPENAI_API_KEY: has a character that is not ASCII or can't be seen, such as a long dash; copy it again"
        )
    # If base_url had a query, the SDK would append the endpoint's path to the query.
    address, _, query = config.setting("OPENAI_BASE_URL").partition("?")
    # A server of the user's own may need no key, but the SDK always sends one.
    return {
        "api_key": key or "none",
        "base_url": address or None,
        "default_query": dict(parse_qsl(query, keep_blank_values=True)),
        "max_retries": retries,
        "timeout": seconds,
    }


def error_code(error: "openai.APIError") -> str | None:
    """The server's code of an error if it is one word, else None."""
    return code_in(error.code)


def code_in(value: object) -> str | None:
    """A code that a server names, if it is one word and so no part of a key or a prompt; else None."""
    return value if isinstance(value, str) and re.fullmatch(r"[a-z_]{1,40}", value) else None


def refusal(error: "openai.APIStatusError", model: str) -> str:
    """What an error of the API means. The server's own words may quote a part of the key or of a prompt."""
    where, status, code = host(), error.status_code, error_code(error)
    if status == 401:
        return f"{where} refused the key in OPENAI_API_KEY"
    if status == 402 or code == "insufficient_quota":
        return f"the account at {where} has no credit left (status {status}); {AGAIN} once it is paid"
    if status == 403:
        return f"{where} does not allow this key to use {model}"
    if status == 404:
        return f"{where} has no model {model}{'' if code else ', or no such API; check OPENAI_BASE_URL'}"
    tries, wait = _tries(error), _seconds_to_wait(error.response.headers)
    later = AGAIN if wait is None else f"it asks to wait {wait:.0f} s, longer than a run waits; {AGAIN} after that"
    if status == 429:
        return f"{where} still limits the rate after {tries} {'try' if tries == 1 else 'tries'}; {later}"
    if status >= 500:
        return f"{where} failed {'once' if tries == 1 else f'{tries} times'} (status {status}); {later}"
    return f"{where} refused a request (status {status}{f', {code}' if code else ''})"


def _tries(error: "openai.APIStatusError") -> int:
    """How many times the request of an error was sent; the SDK numbers its retries in a header."""
    return int(error.request.headers.get("x-stainless-retry-count", 0)) + 1


def _seconds_to_wait(headers: Mapping[str, str]) -> float | None:
    """The seconds of Retry-After, a number or a date, if they are more than LONGEST_WAIT."""
    text = headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return seconds if LONGEST_WAIT < seconds < float("inf") else None
