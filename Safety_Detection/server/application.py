"""The web application that answers moderation requests."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from Safety_Detection.guardrail.guard import Guard, Unscored, Verdict
from Safety_Detection.server.batching import Batcher, Full
from Safety_Detection.server.hosts import Hosts
from Safety_Detection.server.moderations import Asked, Body, Limits, Refusal, answer, asked, number_of, require_token
from utils.schema import InputError

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
ABOUT = "Flags prompts that are like known unsafe ones. Errors have OpenAI's format, and never hold a text."
# The body is read by the application itself, as far as --max-body allows.
PLACE = "#/paths/~1v1~1moderations/post/requestBody/content/application~1json/schema/$defs/{model}"
SCHEMA = Body.model_json_schema(ref_template=PLACE)
BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": SCHEMA}}}}
# For how many seconds an answer of the encoder shows that it works.
FRESH = 10.0


def application(  # noqa: C901 (its routes are functions within it)
    batcher: Batcher, limits: Limits, token: str, note: Callable[..., object], hosts: Hosts
) -> FastAPI:
    """The application, which submits texts to `batcher`.

    token: what a request must send, '' for nothing. note: called with each line of the log, none of which holds a text,
    and, of a request, with what it says as keywords.
    """

    async def require_host(request: Request) -> None:
        hosts.require(request.headers.get("host"), request.headers.get("origin"))

    guarded = [Depends(require_host)]
    about = {"title": "Safe-Embed guardrail", "version": "1", "description": ABOUT}
    app = FastAPIOffline(redoc_url=None, redirect_slashes=False, dependencies=guarded, **about)
    registry = CollectorRegistry()
    requests = Counter("safe_embed_requests", "Moderation requests.", ["status"], registry=registry)
    latency = Histogram("safe_embed_request_seconds", "Time to an answer.", buckets=SECONDS, registry=registry)
    sizes = Histogram("safe_embed_batch_texts", "Texts embedded together.", buckets=TEXTS, registry=registry)
    scored = Counter("safe_embed_texts_scored", "Texts scored.", registry=registry)
    flagged = Counter("safe_embed_texts_flagged", "Texts scored that reach the threshold.", registry=registry)
    unscored = Counter("safe_embed_texts_unscored", "Texts that could not be scored.", registry=registry)
    changed = "Texts in which normalizing changed something."
    normalized = Counter("safe_embed_texts_normalized", changed, ["change"], registry=registry)
    waiting = Gauge("safe_embed_queue_texts", "Texts that wait for a batch.", registry=registry)
    waiting.set_function(lambda: batcher.waiting)
    under_way = 0

    def seen(guard: Guard, texts: Sequence[str], found: Sequence[Verdict | Unscored]) -> None:
        verdicts = [one for one in found if not isinstance(one, Unscored)]
        sizes.observe(len(found))
        scored.inc(len(verdicts))
        flagged.inc(sum(one.flagged for one in verdicts))
        unscored.inc(len(found) - len(verdicts))
        for text in texts:
            for change in guard.detector.normalized(text)[1]:
                normalized.labels(change).inc()
        for one in found:
            if isinstance(one, Unscored) and one.detail:
                note(one.detail)

    batcher.seen, batcher.note = seen, note

    async def found(request: Request, asks: Asked, number: str) -> dict:
        try:
            submitted = batcher.submit(asks.texts, asks.names, asks.nearest)
            guard, verdicts = await _while_connected(request, submitted)
            return answer(asks, verdicts, name_of(guard), guard.detector.detector.kind, guard.threshold, number)
        except Full:
            raise Refusal(503, "too many texts wait; try again", code="overloaded", retry=True) from None
        except InputError as error:
            note(f"the encoder does not answer: {error}")
            raise Refusal(503, "the encoder does not answer; try again", code="unavailable", retry=True) from None

    @app.post("/v1/moderations", openapi_extra=BODY)
    async def moderations(request: Request) -> Response:
        """Says of each text, or of a chat, whether it is unsafe, in the format of OpenAI's moderation endpoint."""
        nonlocal under_way
        start, texts, number = time.perf_counter(), 0, number_of(request.headers.get("x-request-id"))
        under_way += 1
        try:
            require_token(request.headers.get("authorization"), token)
            if under_way > batcher.room + batcher.most:  # more than could wait, even with one text each
                raise Refusal(503, "too many requests at once; try again", code="overloaded", retry=True)
            late = Refusal(408, f"the body did not come in {limits.seconds:g} s", code="timeout")
            async with asyncio.timeout(limits.seconds):
                asks = asked(await _body(request, limits.body), limits)
                late = Refusal(504, f"not scored in {limits.seconds:g} s; try again with fewer texts", code="timeout")
                texts = len(asks.texts)
                response = JSONResponse(await found(request, asks, number))
        except TimeoutError:
            response = _refused(late)
        except Refusal as refusal:
            response = _refused(refusal)
        except Exception as error:  # its message may hold a text
            note(f"internal error ({type(error).__name__})", id=number)
            response = _refused(Refusal(500, "internal error"))
        finally:
            under_way -= 1
        seconds = time.perf_counter() - start
        requests.labels(response.status_code).inc()
        latency.observe(seconds)
        response.headers["X-Request-ID"] = number
        note(
            f"POST /v1/moderations {response.status_code}, {texts} texts, {seconds * 1000:.0f} ms",
            id=number,
            status=response.status_code,
            texts=texts,
            milliseconds=round(seconds * 1000, 1),
        )
        return response

    @app.head("/health", include_in_schema=False)
    @app.get("/health")
    async def health() -> Response:
        """Whether the encoder answers, and which version of the detector is in use."""
        try:
            if time.monotonic() - batcher.answered > FRESH:
                async with asyncio.timeout(limits.seconds):
                    await asyncio.wrap_future(batcher.check(limits.seconds))
        except Exception:  # also TimeoutError
            raise Refusal(503, "the encoder does not answer", code="unavailable") from None
        health = {"status": "ok", "model": name_of(batcher.guard), "version": batcher.version}
        if fault := batcher.fault:  # texts are scored all the same, so this is no error
            # What an error begins with is a flag and maybe a path of this machine, which concerns no client.
            health |= {"status": "outdated", "detail": fault.partition(": ")[2] or fault}
        return JSONResponse(health)

    @app.head("/ready", include_in_schema=False)
    @app.get("/ready")
    async def ready() -> Response:
        """Whether a request would be taken now: 503 if the encoder failed last, or if the queue is full."""
        if batcher.answered == -math.inf:
            raise Refusal(503, "the encoder did not answer", code="unavailable", retry=True)
        if batcher.waiting >= batcher.room:
            raise Refusal(503, "too many texts wait", code="overloaded", retry=True)
        return JSONResponse({"status": "ready"})

    @app.head("/metrics", include_in_schema=False)
    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        """Counts for Prometheus."""
        require_token(request.headers.get("authorization"), token)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        path = request.scope["route"].path
        note(f"{request.method} {path} {refusal.status}, {refusal}", path=path, status=refusal.status)
        return _refused(refusal)

    @app.exception_handler(HTTPException)
    async def elsewhere(request: Request, error: HTTPException) -> Response:
        known = "POST /v1/moderations, GET /health, /ready, /metrics and /docs"
        return _refused(Refusal(error.status_code, f"{error.detail}; there are {known}"))

    return app


def name_of(guard: Guard) -> str:
    """The name of a guard's detector, as that of a model: another for each version."""
    detector = guard.detector
    return f"{detector.detector.kind}-{detector.spec.name}@{detector.about['card_sha256'][:12]}"


def _refused(refusal: Refusal) -> JSONResponse:
    return JSONResponse(refusal.document, refusal.status, refusal.headers)


async def _body(request: Request, most: int) -> bytes:
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > most:
                raise Refusal(413, f"the body has more than {most} bytes", code="body_too_large")
    except ClientDisconnect:
        raise Refusal(400, "the body was cut off") from None
    return bytes(body)


async def _while_connected(request: Request, submitted: Future) -> Any:
    """What the future gives. Cancels it if that is no longer awaited, and raises Refusal if the client has gone."""
    future = asyncio.wrap_future(submitted)
    gone = asyncio.ensure_future(request.receive())  # after a whole body, nothing else comes
    try:
        await asyncio.wait({future, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            raise Refusal(499, "the client has gone")
        return future.result()
    finally:
        gone.cancel()
        submitted.cancel()  # itself: asyncio's would cancel it after the answer, when a batch may have taken its texts
        future.cancel()
