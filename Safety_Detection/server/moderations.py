"""The wire format of OpenAI's moderation endpoint, of which there is one category, `unsafe`, with chats besides."""

import hmac
import json
import math
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from Safety_Detection.guardrail.guard import Unscored, Verdict
from utils.data.text import text_fault
from utils.schema import shown

MOST_NEAREST = 100
# Faults named in one message.
NAMED = 10
# What a client may call a request.
_NUMBER = re.compile(r"[A-Za-z0-9._-]{1,64}")
# The forms of an input, as pydantic names them in the place of a fault.
TEXT, TEXTS, PARTS = "a text", "texts", "parts"
# What a request is refused with, by pydantic's name of the fault.
FAULTS = {
    "string_type": "is not a text",
    "missing": "is missing",
    "literal_error": "is not 'text', the only type that is taken",
    "list_type": "is not a list",
    "model_type": "is not an object",
    "model_attributes_type": "is not an object",
    "too_short": "is empty",
    **dict.fromkeys(
        ("int_type", "greater_than_equal", "less_than_equal"), f"is not a whole number from 0 to {MOST_NEAREST}"
    ),
}


class Part(BaseModel):
    """A part of an input or of a message. Only texts can be scored."""

    type: Literal["text"]
    text: str


def _form(given: object) -> str:
    """Which of the forms below a value is of: lists with an object are of parts."""
    if not isinstance(given, list):
        return TEXT
    return PARTS if any(isinstance(one, dict) for one in given) else TEXTS


OneText = Annotated[str, Tag(TEXT)]
Parts = Annotated[list[Part], Tag(PARTS)]
Content = Annotated[OneText | Parts, Discriminator(lambda given: PARTS if isinstance(given, list) else TEXT)]
Texts = Annotated[list[str], Field(min_length=1), Tag(TEXTS)]


class Message(BaseModel):
    """A message of a chat, of which other fields are not read."""

    role: str
    content: Content | None = None


class Body(BaseModel):
    """A request: `input` or `messages`.

    Each text of `input` has a result, all parts of one have one. Of `messages`, the last of the role user and all of
    the user together are read, and the higher score counts. nearest: how many of the most similar prompts are named.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    input: Annotated[OneText | Texts | Parts, Discriminator(_form)] | None = None
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    model: str | None = None
    nearest: Annotated[int, Field(ge=0, le=MOST_NEAREST)] | None = None


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
    """What a request asks: texts, their names for errors, and how many of the nearest prompts it wants named.

    chat: whether all texts are of one chat, which has one result.
    """

    texts: tuple[str, ...]
    names: tuple[str, ...]
    nearest: int
    chat: bool = False


def number_of(header: str | None) -> str:
    """The number of a request, for logs: that of the header X-Request-ID if it is one, else a new one."""
    return header if header is not None and _NUMBER.fullmatch(header) else uuid.uuid4().hex


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
        raise Refusal(400, "the body is not JSON; send an object with 'input' or 'messages'") from None
    try:
        given = Body.model_validate(document)
    except ValidationError as error:
        raise _refusal(error.errors(include_input=False, include_url=False)[0]) from None
    if given.input is not None and given.messages is not None:
        raise Refusal(400, "messages: does not go with input; send two requests", "messages")
    if given.messages is not None:
        texts = _of_chat(given.messages)
    elif given.input is None:
        what = "give a text or a list of texts, or messages"
        raise Refusal(400, f"input: is missing; {what}", "input", "missing_required_parameter")
    elif isinstance(given.input, str) or isinstance(given.input[0], Part):
        texts = {"input": _joined(given.input)}
    else:
        texts = {f"input[{i}]": text for i, text in enumerate(given.input)}
    if len(texts) > limits.inputs:
        raise Refusal(400, f"input: has {len(texts)} texts, at most {limits.inputs} are taken", "input", "too_many")
    read = tuple(_text(text, name, limits) for name, text in texts.items())
    return Asked(read, tuple(texts), given.nearest or 0, chat=given.messages is not None)


def _of_chat(messages: list[Message]) -> dict[str, str]:
    """The last message of the user, and all messages of the user as one text, if there are several."""
    of_user = {i: _joined(one.content) for i, one in enumerate(messages) if one.role == "user"}
    if not of_user:
        raise Refusal(400, "messages: none is of the role 'user', whose messages are read", "messages")
    last = max(of_user)
    whole = {"messages": "\n".join(of_user.values())} if len(of_user) > 1 else {}
    return {f"messages[{last}].content": of_user[last], **whole}


def _joined(content: str | list[Part] | None) -> str:
    """The text of content. All parts of an input are one text, and have one result, as OpenAI's have."""
    return content if isinstance(content, str) else "\n".join(part.text for part in content or ())


def _refusal(error: Any) -> Refusal:
    """A refusal that names the field and what is wrong with it, and no text. error: one of pydantic's."""
    places = [place for place in error["loc"] if place not in (TEXT, TEXTS, PARTS)]
    name = "".join(f"[{place}]" if isinstance(place, int) else f".{place}" for place in places).removeprefix(".")
    if error["type"] == "extra_forbidden":
        fields = ", ".join(Body.model_fields)
        return Refusal(400, f"unknown field '{shown(name, 40)}'; give {fields}", code="unknown_parameter")
    if not name:
        return Refusal(400, "the body is not a JSON object; send one with 'input' or 'messages'")
    return Refusal(400, f"{name}: {FAULTS.get(error['type'], 'is not what is taken here')}", name)


def _text(given: str, name: str, limits: Limits) -> str:
    if len(given) > limits.characters:
        message = f"{name}: has {len(given)} characters, at most {limits.characters} are taken"
        raise Refusal(400, message, name, "string_above_max_length")
    if fault := text_fault(given):
        raise Refusal(400, f"{name}: {fault}", name)
    return given.strip()


def answer(
    request: Asked, found: Sequence[Verdict | Unscored], model: str, kind: str, threshold: float, number: str
) -> dict:
    """The answer to a request. found: of each text. kind: of the detector. number: of the request.

    Raises Refusal, naming the texts, if some can't be scored.
    """
    faults = {name: one.reason for name, one in zip(request.names, found, strict=True) if isinstance(one, Unscored)}
    if faults:
        message = "; ".join(f"{name}: {reason}" for name, reason in list(faults.items())[:NAMED])
        more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        raise Refusal(422, f"{message}{more}; leave out what can't be scored", next(iter(faults)), "cannot_be_scored")
    verdicts = [verdict for verdict in found if isinstance(verdict, Verdict)]
    if request.chat:
        verdicts = [_of_both(verdicts)]
    results = [_result(verdict, request.nearest, kind, threshold) for verdict in verdicts]
    return {"id": f"modr-{number}", "model": model, "results": results}


def _of_both(verdicts: list[Verdict]) -> Verdict:
    """What is said of a chat by its last message and the whole: that of the flagged one, or of the higher score."""
    best = max(verdicts, key=lambda verdict: (verdict.flagged, verdict.score))
    return replace(best, truncated=any(verdict.truncated for verdict in verdicts))


def _result(verdict: Verdict, nearest: int, kind: str, threshold: float) -> dict:
    # A text that is flagged as it is like an incident may have any score, as one that is allowed may, and clients flag
    # by the category's.
    flagging = verdict.score if verdict.matched is None else max(verdict.score, threshold)
    result = {
        "flagged": verdict.flagged,
        "categories": {"unsafe": verdict.flagged},
        "category_scores": {"unsafe": 0.0 if verdict.allowed else category_score(kind, flagging, threshold)},
        "category_applied_input_types": {"unsafe": ["text"]},
        "score": verdict.score,
        "threshold": threshold,
        "truncated": verdict.truncated,
        "unfamiliar": verdict.unfamiliar,
    }
    if verdict.matched is not None:
        result["matched"] = verdict.matched
    if verdict.allowed is not None:
        result["allowed"] = verdict.allowed
    if verdict.probability is not None:
        result["probability"] = verdict.probability
    if nearest:
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
