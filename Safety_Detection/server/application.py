"""The web application that answers moderation requests."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from Safety_Detection.guardrail.guard import Guard, Unscored, Verdict
from Safety_Detection.server.batching import Batcher, Full
from Safety_Detection.server.hosts import Hosts
from Safety_Detection.server.moderations import Asked, Limits, Refusal, answer, asked, require_token
from utils.schema import InputError

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
# For how many seconds an answer of the encoder shows that it works.
FRESH = 10.0


def application(  # noqa: C901 (its routes are functions within it)
    batcher: Batcher, limits: Limits, token: str, note: Callable[[str], object], hosts: Hosts
) -> FastAPI:
    """The application, which submits texts to `batcher`.

    token: what a request must send, '' for nothing. note: called with each line of the log, none of which holds a text.
    """

    async def require_host(request: Request) -> None:
        hosts.require(request.headers.get("host"), request.headers.get("origin"))

    guarded = [Depends(require_host)]
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, dependencies=guarded)
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

    async def found(request: Request, asks: Asked) -> dict:
        try:
            submitted = batcher.submit(asks.texts, asks.names, asks.nearest)
            guard, verdicts = await _while_connected(request, submitted)
            return answer(asks, verdicts, name_of(guard), guard.detector.detector.kind, guard.threshold)
        except Full:
            raise Refusal(503, "too many texts wait; try again", code="overloaded", retry=True) from None
        except InputError as error:
            note(f"the encoder does not answer: {error}")
            raise Refusal(503, "the encoder does not answer; try again", code="unavailable", retry=True) from None

    @app.post("/v1/moderations")
    async def moderations(request: Request) -> Response:
        nonlocal under_way
        start, texts = time.perf_counter(), 0
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
                response = JSONResponse(await found(request, asks))
        except TimeoutError:
            response = _refused(late)
        except Refusal as refusal:
            response = _refused(refusal)
        except Exception as error:  # its message may hold a text
            note(f"internal error ({type(error).__name__})")
            response = _refused(Refusal(500, "internal error"))
        finally:
            under_way -= 1
        seconds = time.perf_counter() - start
        requests.labels(response.status_code).inc()
        latency.observe(seconds)
        note(f"POST /v1/moderations {response.status_code}, {texts} texts, {seconds * 1000:.0f} ms")
        return response

    @app.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> Response:
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

    @app.api_route("/metrics", methods=["GET", "HEAD"])
    async def metrics(request: Request) -> Response:
        require_token(request.headers.get("authorization"), token)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        note(f"{request.method} {request.scope['route'].path} {refusal.status}, {refusal}")
        return _refused(refusal)

    @app.exception_handler(HTTPException)
    async def elsewhere(request: Request, error: HTTPException) -> Response:
        known = "POST /v1/moderations, GET /health and GET /metrics"
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
