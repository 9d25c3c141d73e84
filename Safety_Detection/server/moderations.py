"""The wire format of OpenAI's moderation endpoint, of which there is one category, `unsafe`."""

import hmac
import json
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from Safety_Detection.guardrail.guard import Unscored, Verdict
from utils.data.text import text_fault
from utils.schema import shown

FIELDS = ("input", "model", "nearest")
MOST_NEAREST = 100
# Faults named in one message.
NAMED = 10


@dataclass(frozen=True)
class Limits:
    """What clients may have.

    Of a request: texts, characters of each, bytes of the body, and seconds until it is answered. Of connections: how
    many at once, seconds for a heading or for reading an answer, and seconds between requests.
    """

    inputs: int = 256
    characters: int = 32768
    body: int = 2**20
    seconds: float = 30.0
    connections: int = 2048
    heading: float = 10.0
    keep_alive: int = 5


class Refusal(Exception):
    """An answer that is an error. param: the field that is wrong. The message never holds a text."""

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None, retry: bool = False
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, {"Retry-After": "1"} if retry else {}
        kind = "invalid_request_error" if status < 500 else "server_error"
        self.document = {"error": {"message": message, "type": kind, "param": param, "code": code}}


@dataclass(frozen=True)
class Asked:
    """What a request asks: texts, their names for errors, and how many of the nearest prompts it wants named."""

    texts: tuple[str, ...]
    names: tuple[str, ...]
    nearest: int


def require_token(header: str | None, token: str) -> None:
    """Raises Refusal if an Authorization header does not hold the token. An empty token allows everyone."""
    scheme, _, given = (header or "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(), token.encode())
    if token and not (same and scheme.lower() == "bearer"):
        raise Refusal(401, "the token is missing or wrong; send Authorization: Bearer TOKEN", code="invalid_api_key")


def asked(body: bytes, limits: Limits) -> Asked:
    """What the body of a request asks. Raises Refusal, naming the field, if it can't be understood."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is not JSON; send an object with 'input'") from None
    if not isinstance(document, dict):
        raise Refusal(400, "the body is not a JSON object; send one with 'input'")
    for field in document.keys() - set(FIELDS):
        raise Refusal(400, f"unknown field '{shown(field, 40)}'; give {', '.join(FIELDS)}", code="unknown_parameter")
    if not isinstance(document.get("model"), str | None):
        raise Refusal(400, "model: is not a text; leave it out", "model")
    nearest = document.get("nearest")
    nearest = 0 if nearest is None else nearest
    if type(nearest) is not int or not 0 <= nearest <= MOST_NEAREST:
        raise Refusal(400, f"nearest: is not a whole number from 0 to {MOST_NEAREST}", "nearest")
    given = document.get("input")
    if given is None:
        raise Refusal(400, "input: is missing; give a text or a list of texts", "input", "missing_required_parameter")
    if not isinstance(given, str | list) or not given:
        raise Refusal(400, "input: is not a text or a list of texts, or is empty", "input")
    if isinstance(given, list) and any(isinstance(one, dict) for one in given):
        given = "\n".join(_part(one, f"input[{i}]") for i, one in enumerate(given))
    texts = [given] if isinstance(given, str) else given
    if len(texts) > limits.inputs:
        raise Refusal(400, f"input: has {len(texts)} texts, at most {limits.inputs} are taken", "input", "too_many")
    names = ("input",) if isinstance(given, str) else tuple(f"input[{i}]" for i in range(len(texts)))
    return Asked(tuple(_text(*each, limits) for each in zip(texts, names, strict=True)), names, nearest)


def _part(given: object, name: str) -> str:
    """The text of a content part. All parts of an input are one text, and have one result, as OpenAI's have."""
    if not isinstance(given, dict):
        raise Refusal(400, f"{name}: is no content part, as others are; give texts only or parts only", name)
    kind, text = given.get("type"), given.get("text")
    if kind == "image_url":
        raise Refusal(400, f"{name}: is an image, and only texts can be scored; leave it out", name)
    if kind != "text":
        raise Refusal(400, f"{name}.type: is not 'text', the only type that is taken", f"{name}.type")
    if not isinstance(text, str):
        raise Refusal(400, f"{name}.text: is not a text ({type(text).__name__})", f"{name}.text")
    return text


def _text(given: Any, name: str, limits: Limits) -> str:
    if isinstance(given, str) and len(given) > limits.characters:
        message = f"{name}: has {len(given)} characters, at most {limits.characters} are taken"
        raise Refusal(400, message, name, "string_above_max_length")
    if fault := text_fault(given):
        raise Refusal(400, f"{name}: {fault}", name)
    return given.strip()


def answer(request: Asked, found: Sequence[Verdict | Unscored], model: str, kind: str, threshold: float) -> dict:
    """The answer to a request. found: of each text. kind: of the detector.

    Raises Refusal, naming the texts, if some can't be scored.
    """
    faults = {name: one.reason for name, one in zip(request.names, found, strict=True) if isinstance(one, Unscored)}
    if faults:
        message = "; ".join(f"{name}: {reason}" for name, reason in list(faults.items())[:NAMED])
        more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        raise Refusal(422, f"{message}{more}; leave out what can't be scored", next(iter(faults)), "cannot_be_scored")
    results = [_result(verdict, request.nearest, kind, threshold) for verdict in found if isinstance(verdict, Verdict)]
    return {"id": f"modr-{uuid.uuid4().hex}", "model": model, "results": results}


def _result(verdict: Verdict, nearest: int, kind: str, threshold: float) -> dict:
    # A text that is flagged as it is like an incident may have any score, and clients flag by the category's.
    flagging = verdict.score if verdict.matched is None else max(verdict.score, threshold)
    result = {
        "flagged": verdict.flagged,
        "categories": {"unsafe": verdict.flagged},
        "category_scores": {"unsafe": category_score(kind, flagging, threshold)},
        "category_applied_input_types": {"unsafe": ["text"]},
        "score": verdict.score,
        "threshold": threshold,
        "truncated": verdict.truncated,
    }
    if verdict.matched is not None:
        result["matched"] = verdict.matched
    if verdict.probability is not None:
        result["probability"] = verdict.probability
    if nearest:
        result["unfamiliar"] = verdict.unfamiliar
        near = verdict.nearest[:nearest]
        result["nearest"] = [{"id": one.id, "label": one.label, "similarity": one.similarity} for one in near]
    return result


def category_score(kind: str, score: float, threshold: float) -> float:
    """A score in [0, 1] that never falls where the detector's score rises; not a probability.

    Nor does it become one where there is one: clients flag what has 0.5 or more, as the detector does only here, and a
    detector without probabilities would answer on another scale.
    Of knn_vote the score, which is a share. Of the others 1 / (1 + exp(threshold - score)), 0.5 at the threshold.
    """
    if kind == "knn_vote":
        return min(1.0, max(0.0, score))
    # tanh does not overflow.
    return (1 + math.tanh((score - threshold) / 2)) / 2
