"""A detector that is served: texts that come together are one batch, and each request gets its own answer."""

import asyncio
import contextlib
import dataclasses
import functools
import http.client
import importlib.util
import io
import json
import logging
import math
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from doubles import StandIn
from made_up_detector import bank_of

from Safety_Detection import serve
from Safety_Detection.detectors.kinds import Detector
from Safety_Detection.guardrail import saved, versions
from Safety_Detection.guardrail.guard import Guard, Unscored, Verdict
from Safety_Detection.server import moderations
from Safety_Detection.server.batching import Batcher
from Safety_Detection.server.hosts import Hosts, is_loopback
from Safety_Detection.server.moderations import Limits, Refusal
from utils import config
from utils.encoders import loading, registry
from utils.encoders.tfidf import Words
from utils.schema import InputError

EXTRA = all(importlib.util.find_spec(name) for name in serve.PACKAGES)
needs_extra = pytest.mark.skipif(not EXTRA, reason="FastAPI, an extra, is not installed")
SECONDS = 20  # after which a test that hangs fails

HEADING = b"POST /v1/moderations HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"


def vector(text):
    """A text such as "0.6 of a" is (0.6, 0.8), one without a number (0, 1)."""
    word = text.split()[0]
    cosine = float(word) if word.replace(".", "").isdigit() else 0.0
    return np.array([cosine, math.sqrt(1 - cosine**2)], dtype=np.float32)


class Encoder(StandIn):
    """batches: what it was given after the probe text. gate: what it waits for before it encodes."""

    dimension = 2

    def __init__(self):
        self.batches, self.gate, self.gone, self.begun = [], threading.Event(), False, threading.Event()
        self.gate.set()

    def encode(self, texts):
        if texts != [saved.PROBE]:
            self.batches.append(sorted(texts))
            self.begun.set()
            assert self.gate.wait(SECONDS)
        if self.gone:
            raise InputError("the server can't be reached")
        if "bug" in texts:
            raise TypeError("a message with secret words")
        if any("unreadable" in text for text in texts):
            return np.full((len(texts), 2), np.nan, dtype=np.float32)
        return np.stack([vector(text) for text in texts])


def detector_of(model="all-minilm-l6-v2", kind="logistic_regression", words=None, arrays=None, **about):
    """Ten times the cosine with (1, 0) is the score, 5 the threshold; the bank has (1, 0), unsafe, and (0, 1)."""
    rows = np.eye(2, dtype=np.float32)
    bank = bank_of(rows, (1, 0), familiar=0.9)
    arrays = {"direction": np.array([10.0, 0.0]), "bias": np.zeros(1)} if arrays is None else arrays
    spec = registry.resolve(model)
    probe = rows[1] if words is None else np.zeros(2, dtype=np.float32)
    return saved.SavedDetector(
        model, spec, words, Detector(kind, arrays), 5.0, probe, bank, {"card_sha256": "c" * 64, **about}
    )


@pytest.fixture
def encoder(monkeypatch):
    made = Encoder()
    monkeypatch.setattr(loading, "load", lambda spec: made)
    yield made
    made.gate.set()


@contextlib.contextmanager
def batching(most=64, wait=0.0, room=1024, detector=None):
    batcher = Batcher(lambda *_: Guard(detector or detector_of()), most, wait, room)
    try:
        yield batcher
    finally:
        batcher.close(SECONDS)
    assert not batcher._thread.is_alive()


def scores(future):
    return [one.reason if isinstance(one, Unscored) else round(one.score, 4) for one in future.result(SECONDS)[1]]


def submitted(batcher, *texts, nearest=0):
    return batcher.submit(texts, [f"input[{i}]" for i in range(len(texts))], nearest)


def busy(batcher, encoder):
    """Gives the thread a text that it can't finish until the gate is set."""
    encoder.gate.clear()
    encoder.begun.clear()
    future = submitted(batcher, "0 first")
    assert encoder.begun.wait(SECONDS)
    return future


def until(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_waits_is_embedded_together_in_whole_requests_until_there_are_the_most(encoder):
    with batching(most=4) as batcher:
        first = busy(batcher, encoder)
        others = [submitted(batcher, *(f"0.{n} {i}" for i in range(n))) for n in (2, 3, 1)]
        assert batcher.waiting == 6
        encoder.gate.set()
        assert [scores(one) for one in (first, *others)] == [[0], [2, 2], [3, 3, 3], [1]]
    # 2 are less than 4, so that the 3 come with them.
    assert encoder.batches == [["0 first"], ["0.2 0", "0.2 1", "0.3 0", "0.3 1", "0.3 2"], ["0.1 0"]]
    assert batcher.waiting == 0


def test_a_text_waits_for_others_until_the_batch_is_full_or_its_time_is_over(encoder):
    with batching(most=3, wait=SECONDS * 2) as batcher:
        one = submitted(batcher, "0.1 a")
        assert not encoder.begun.wait(0.1)
        two = submitted(batcher, "0.2 b", "0.3 c")
        assert scores(one) == [1] and scores(two) == [2, 3]
    with batching(most=3, wait=0.3) as batcher:
        start = time.monotonic()
        assert scores(submitted(batcher, "0.4 d")) == [4]
        assert time.monotonic() - start >= 0.3
    assert encoder.batches == [["0.1 a", "0.2 b", "0.3 c"], ["0.4 d"]]


def test_a_text_that_cannot_be_scored_affects_neither_its_request_nor_its_batch(encoder):
    with batching() as batcher:
        busy(batcher, encoder)
        bad, good = submitted(batcher, "0.1 a", "unreadable", "0.2 b"), submitted(batcher, "0.5 e")
        encoder.gate.set()
        assert scores(bad) == [1, "can't be embedded", 2] and scores(good) == [5]
    words = Words(("stone", "river"), np.ones(2, dtype=np.float32))
    with batching(detector=detector_of("tfidf", words=words)) as batcher:
        assert scores(submitted(batcher, "Stone", "unheard")) == [10, "has no word that the detector knows"]


def test_an_encoder_that_is_gone_fails_the_batch_and_may_come_back(encoder):
    with batching(most=2) as batcher:
        busy(batcher, encoder)
        long, short = submitted(batcher, "0.1 a", "0.2 b", "0.3 c"), submitted(batcher, "0.5 e")
        encoder.gone = True
        encoder.gate.set()
        for future in (long, short):
            with pytest.raises(InputError, match="can't be reached"):
                future.result(SECONDS)
        assert batcher.answered == -math.inf and batcher.waiting == 0
        with pytest.raises(InputError):
            batcher.check(SECONDS).result(SECONDS)
        encoder.gone = False
        assert batcher.check(SECONDS).result(SECONDS) is None and time.monotonic() - batcher.answered < SECONDS
        assert scores(submitted(batcher, "0.6 f")) == [6]


def test_what_waits_is_scored_before_the_thread_ends(encoder):
    with batching(most=1) as batcher:
        busy(batcher, encoder)
        futures = [submitted(batcher, f"0.{i} x") for i in range(1, 5)]
        closing = threading.Thread(target=batcher.close)
        closing.start()
        encoder.gate.set()
        assert [scores(one) for one in futures] == [[1], [2], [3], [4]]
        closing.join(SECONDS)


# What is understood of a body.


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (b"\xff", None, "the body is not JSON"),
        (b"[" * 100_000, None, "the body is not JSON"),
        (b'["secret"]', None, "the body is not a JSON object"),
        ({"input": "secret", "inputs": 1}, None, "unknown field 'inputs'; give input, messages, model, nearest"),
        ({}, "input", "input: is missing"),
        ({"input": []}, "input", "input: is empty"),
        ({"input": {"secret": 1}}, "input", "input: is not a text"),
        ({"input": ["secret", 3]}, "input[1]", "input[1]: is not a text"),
        ({"input": ["secret", "\u200b \n"]}, "input[1]", "input[1]: has no text"),
        ({"input": ["secret", "\ud800"]}, "input[1]", "input[1]: holds half a character"),
        ({"input": "secret!!!"}, "input", "input: has 9 characters, at most 8 are taken"),
        ({"input": ["secret"] * 4}, "input", "input: has 4 texts, at most 3 are taken"),
        ({"input": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "secret"}}]},
         "input[1].type", "input[1].type: is not 'text', the only type that is taken"),
        ({"input": [{"type": "secret"}]}, "input[0].type", "input[0].type: is not 'text', the only type that is taken"),
        ({"input": [{"type": "text", "text": "a"}, "secret"]}, "input[1]", "input[1]: is not an object"),
        ({"input": "secret", "messages": [{"role": "user", "content": "secret"}]}, "messages",
         "messages: does not go with input; send two requests"),
        ({"messages": []}, "messages", "messages: is empty"),
        ({"messages": [{"role": "user"}, {"content": "secret"}]}, "messages[1].role", "messages[1].role: is missing"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type",
         "messages[0].content[0].type: is not 'text', the only type that is taken"),
        ({"messages": [{"role": "system", "content": "secret"}]}, "messages", "messages: none is of the role 'user'"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content",
         "messages[0].content: has no text"),
        ({"input": "secret", "model": 1}, "model", "model: is not a text"),
        *(({"input": "secret", "nearest": n}, "nearest", "nearest: is not a whole number from 0 to 100")
          for n in (-1, 101, 1.5, "1", True)),
    ],
)  # fmt: skip
def test_a_body_that_is_wrong_names_the_field_and_no_text(body, param, message):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Refusal) as refused:
        moderations.asked(content, Limits(inputs=3, characters=8))
    error = refused.value.document["error"]
    assert refused.value.status == 400 and error["type"] == "invalid_request_error" and error["param"] == param
    assert error["message"].startswith(message) and "secret" not in error["message"]


def test_a_body_that_is_right():
    limits = Limits(inputs=3, characters=8)
    many = moderations.asked(json.dumps({"input": [" a\n", "b"], "model": "x"}).encode(), limits)
    assert many == moderations.Asked(("a", "b"), ("input[0]", "input[1]"), 0)
    one = moderations.asked(b'{"input": "a 12345!", "nearest": 100, "model": null}', limits)
    assert one == moderations.Asked(("a 12345!",), ("input",), 100)
    # Four parts of one input, of which one is empty, though at most three texts are taken.
    parts = [{"type": "text", "text": text} for text in (" a", "b ", "", "c")]
    whole = moderations.asked(json.dumps({"input": parts}).encode(), limits)
    assert whole == moderations.Asked(("a\nb \n\nc",), ("input",), 0)
    # Of a chat the last message of the user, and all of the user's; other roles and fields are not read.
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "assistant"},
            {"role": "user", "content": parts[:2], "name": "x"}, {"role": "tool", "content": "t"}]  # fmt: skip
    both = moderations.asked(json.dumps({"messages": chat, "nearest": 1}).encode(), limits)
    assert both == moderations.Asked(("a\nb", "a\n a\nb"), ("messages[3].content", "messages"), 1, chat=True)
    assert moderations.asked(json.dumps({"messages": chat[:3]}).encode(), limits).texts == ("a",)


def test_a_chat_has_one_result_by_what_is_flagged_or_scores_higher():
    request = moderations.Asked(("a", "b"), ("messages[2].content", "messages"), 0, chat=True)
    last, whole = Verdict(2.0, True, False, matched="incidents:1"), Verdict(3.0, False, True, allowed="mine:1")
    for found in ([last, whole], [whole, last]):
        (result,) = moderations.answer(request, found, "m", "logistic_regression", 4.0, "n")["results"]
        named = [result[name] for name in ("score", "flagged", "truncated", "matched")]
        assert named == [2.0, True, True, "incidents:1"] and "allowed" not in result
    both = [Verdict(1.0, False, False), Verdict(3.0, False, False)]
    assert moderations.answer(request, both, "m", "nearest_unsafe", 4.0, "n")["results"][0]["score"] == 3.0


@pytest.mark.parametrize(
    ("kind", "score", "threshold", "how", "expected"),
    [
        ("knn_vote", 0.3, 0.9, {}, 0.3),
        ("knn_vote", 1.0000001, 0.9, {}, 1.0),  # rounding of a weighted share
        ("logistic_regression", 5.0, 4.0, {}, 0.7310585786300049),  # 1 / (1 + e^-1)
        ("nearest_unsafe", 0.5, 0.75, {}, 0.43782349911420193),  # 1 / (1 + e^0.25)
        ("logistic_regression", 1e9, 0.0, {}, 1.0),
        # A text that is matched has at least what a score at the threshold has, and one that is allowed nothing.
        ("logistic_regression", 1.0, 5.0, {"matched": "incidents:3"}, 0.5),
        ("logistic_regression", 6.0, 5.0, {"matched": "incidents:3"}, 0.7310585786300049),
        ("knn_vote", 0.1, 0.8, {"matched": "incidents:3"}, 0.8),
        ("knn_vote", 0.9, 0.8, {"allowed": "mine:1"}, 0.0),
    ],
)
def test_category_scores_by_hand(kind, score, threshold, how, expected):
    request, verdict = moderations.Asked(("a",), ("input",), 0), Verdict(score, True, False, **how)
    (result,) = moderations.answer(request, [verdict], "m", kind, threshold, "n")["results"]
    assert result["category_scores"]["unsafe"] == pytest.approx(expected, abs=1e-15)
    assert result["score"] == score and how.items() <= result.items()


def test_texts_that_cannot_be_scored_are_all_named_and_none_counts_as_safe():
    found = [Unscored("can't be embedded", "a detail")] * 12
    request = moderations.Asked(("a",) * 12, tuple(f"input[{i}]" for i in range(12)), 0)
    with pytest.raises(Refusal) as refused:
        moderations.answer(request, found, "m", "nearest_unsafe", 0.5, "n")
    error = refused.value.document["error"]
    assert refused.value.status == 422 and error["param"] == "input[0]" and error["code"] == "cannot_be_scored"
    assert error["message"].startswith("input[0]: can't be embedded; input[1]: can't be embedded; ")
    # 12 are wrong and 10 are named.
    assert error["message"].endswith("input[9]: can't be embedded; and 2 more; leave out what can't be scored")


@pytest.mark.parametrize(
    ("header", "allowed"),
    [("Bearer right", True), ("bearer right", True), ("Bearer  right ", True), ("Bearer wrong", False),
     ("Basic right", False), ("right", False), ("", False), (None, False), ("Bearer rightright", False),
     ("Bearer \xff", False)],
)  # fmt: skip
def test_the_token(header, allowed):
    moderations.require_token(header, "")  # nothing is asked for
    with (
        contextlib.nullcontext() if allowed else pytest.raises(Refusal, match="the token is missing or wrong") as found
    ):
        moderations.require_token(header, "right")
    assert allowed or found.value.status == 401


@pytest.mark.parametrize(
    ("bound", "more", "host", "origin", "status"),
    [
        ("127.0.0.1", [], "127.0.0.1:8000", None, None),
        ("127.0.0.1", [], "LocalHost", "http://127.0.0.1:3000", None),
        ("127.0.0.1", [], None, None, None),  # of HTTP/1.0, which no browser speaks
        ("127.0.0.1", [], "evil.example:8000", None, 421),
        ("127.0.0.1", [], "localhost.evil.example", None, 421),
        ("127.0.0.1", [], "192.168.0.7:8000", None, 421),
        ("127.0.0.1", ["guard.example"], "a.guard.example", None, 421),
        ("127.0.0.1", [], "localhost:8000", "http://evil.example", 403),
        ("127.0.0.1", [], "localhost:8000", "null", 403),
        ("127.0.0.1", ["Guard.example"], "guard.example", "https://guard.example", None),
        ("127.0.0.1", ["*"], "evil.example", "null", None),
        ("Guard.example", [], "guard.example:80", None, None),
        # A page's own name can point at any address; an address can't.
        ("0.0.0.0", [], "192.168.0.7:8000", None, None),
        ("0.0.0.0", [], "evil.example", "http://evil.example", 421),
        ("0.0.0.0", [], "192.168.0.7:8000", "http://203.0.113.5", 403),
        ("0.0.0.0", [], "192.168.0.7:8000", "http://192.168.0.7:3000", 403),
    ],
)
def test_only_names_of_the_server_are_answered(bound, more, host, origin, status):
    with contextlib.nullcontext() if status is None else pytest.raises(Refusal, match="--allow-host NAME") as found:
        Hosts(bound, more).require(host, origin)
    assert status is None or found.value.status == status


# The command line, without the extra.


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.8.9.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("example.org", False), ("", False)],
)
def test_other_machines_need_a_token_unless_that_is_waived(monkeypatch, host, loopback):
    assert is_loopback(host) is loopback
    if loopback:
        assert serve.token_for(host, False) == ""
    else:
        with pytest.raises(
            InputError, match=r"put SAFE_EMBED_SERVE_TOKEN=\.\.\. into .env, or allow that with --no-tok"
        ):
            serve.token_for(host, False)
    assert serve.token_for(host, True) == ""
    monkeypatch.setenv("SAFE_EMBED_SERVE_TOKEN", "right")
    assert serve.token_for(host, False) == "right" == serve.token_for(host, True)


@pytest.fixture
def as_a_program(monkeypatch):
    """The command runs in this process, as if the extra was installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--port", "70000"], "--port 70000: give a whole number of at most 65535"),
        (["--queue", "5"], "--max-inputs 256: is more than --queue 5 holds; lower it or raise that"),
        (["--host", "0.0.0.0"], "--host 0.0.0.0: other machines could use it; put SAFE_EMBED_SERVE_TOKEN=... into"),
        (
            ["--allow-host", "a.example,https://b"],
            "--allow-host https://b: is no name; leave out http://, the port and",
        ),
    ],
)
def test_bad_flags_are_one_line(as_a_program, capsys, flags, message):
    assert serve.main(["--detector", "d", "--port", "0", *flags]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message}") and said.count("\n") == 1


def test_an_address_that_is_taken_is_one_line(as_a_program, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert serve.main(["--detector", "d", "--port", port]) == 2
    assert f"--port {port}: can't be listened on (Address already in use); give another" in capsys.readouterr().err


def test_a_token_that_no_header_can_hold_is_refused(monkeypatch):
    monkeypatch.setenv("SAFE_EMBED_SERVE_TOKEN", "a–b")
    with pytest.raises(InputError, match="SAFE_EMBED_SERVE_TOKEN: has a character that is not ASCII") as found:
        serve.token_for("127.0.0.1", False)
    assert "–" not in str(found.value)


def test_without_the_extra_it_is_named(capsys, monkeypatch):
    for name in serve.PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)
    assert serve.main(["--detector", "d"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "error: fastapi, an extra that serving needs, is not installed: pip install -r requirements-serve.txt\n"
    )


# Over HTTP.


@contextlib.contextmanager
def running(server):
    """The port on loopback of a server in a thread."""
    with serve.bound_to("127.0.0.1", 0) as bound:
        bound.listen(64)
        port = bound.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        try:
            yield port
        finally:
            server.should_exit = True
            thread.join(SECONDS)
        assert not thread.is_alive()


@contextlib.contextmanager
def served(limits=None, token="", hosts=None, **how):
    """A server in a thread: its port, its batcher, and the lines that it logs and their fields."""
    lines, fields, limits, hosts = [], [], limits or Limits(seconds=SECONDS), hosts or Hosts("127.0.0.1")

    def note(line, **said):
        lines.append(line)
        fields.append(said)

    with (
        batching(**how) as batcher,
        running(serve.server_of(batcher, limits, token, note, hosts)) as port,
    ):
        yield SimpleNamespace(port=port, batcher=batcher, lines=lines, fields=fields)


def request(server, method="POST", path="/v1/moderations", body=None, headers=None):
    """Status, headers, and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    with contextlib.closing(connection):
        connection.request(method, path, content, headers or {})
        answer = connection.getresponse()
        text = answer.read()
    kind = answer.headers.get("Content-Type", "")
    return (
        answer.status,
        answer.headers,
        json.loads(text) if kind == "application/json" and text else text.decode(errors="replace"),
    )


@needs_extra
def test_an_answer_has_the_fields_of_openai_and_the_scores_of_the_guard(encoder):
    # The probability is of log-odds of 0.5 * 6 - 2 = 1, by chance those of the category score.
    line = {"slope": 0.5, "intercept": -2.0, "base_rate": 0.5}
    with served(detector=detector_of(calibration=line)) as server:
        status, _, document = request(server, body={"input": ["0.6 of a", "0 of b"], "nearest": 5})
        assert status == 200 and document["id"].startswith("modr-")
        assert document["model"] == "logistic_regression-all-minilm-l6-v2@cccccccccccc"
        # Scores 10 * 0.6 and 0, threshold 5; 1 / (1 + e^-1) and 1 / (1 + e^5); (0.6, 0.8) . (0, 1) is 0.8.
        near = [{"id": "a:2", "label": 0, "similarity": 0.8}, {"id": "a:1", "label": 1, "similarity": 0.6}]
        expected = {
            "flagged": True, "categories": {"unsafe": True}, "category_scores": {"unsafe": 0.7310585},
            "category_applied_input_types": {"unsafe": ["text"]}, "score": 6.0, "threshold": 5.0, "truncated": False,
            "unfamiliar": True, "nearest": near,
        }  # fmt: skip
        first, second = document["results"]
        assert first.pop("nearest") == [pytest.approx(one, abs=1e-6) for one in expected.pop("nearest")]
        assert first.pop("category_scores") == pytest.approx(expected.pop("category_scores"), abs=1e-6)
        assert first.pop("probability") == pytest.approx(1 / (1 + math.exp(-1)))
        assert first.pop("score") == pytest.approx(expected.pop("score"), abs=1e-6) and first == expected
        assert not second["flagged"] and second["category_scores"]["unsafe"] == pytest.approx(0.0066928509)
        assert second["unfamiliar"] is False, "its nearest is (0, 1) itself"
        _, _, document = request(server, body={"input": "0.6 \u200bof \u0430n"})
        assert "nearest" not in document["results"][0] and document["results"][0]["unfamiliar"] is True
        counted = request(server, "GET", "/metrics")[2]
    for change in ("hidden characters", "look-alike letters"):
        assert f'safe_embed_texts_normalized_total{{change="{change}"}} 1.0' in counted
    assert encoder.batches[-1] == ["0.6 of an"]


@needs_extra
def test_the_clients_of_one_batch_get_what_each_asked_for(encoder):
    with served(wait=SECONDS, most=3) as server, ThreadPoolExecutor(3) as pool:
        bodies = {"input": "0.6 a", "nearest": 1}, {"input": "0.7 b"}, {"input": "0.8 c", "nearest": 2}
        found = [answer[2]["results"][0] for answer in pool.map(lambda body: request(server, body=body), bodies)]
    assert encoder.batches == [["0.6 a", "0.7 b", "0.8 c"]]
    # 0.8 with (1, 0) and 0.6 with (0, 1), which is nearer to (0.6, 0.8).
    near = [[one["id"] for one in result.get("nearest", [])] for result in found]
    assert near == [["a:2"], [], ["a:1", "a:2"]]
    assert [round(one["score"], 4) for one in found] == [6, 7, 8]


@needs_extra
def test_the_openai_client(encoder):
    import openai

    with served() as server:
        http_client = openai.DefaultHttpxClient(trust_env=False)
        settings = {"api_key": "any", "timeout": SECONDS, "max_retries": 0, "http_client": http_client}
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", **settings)
        answer = client.moderations.create(input=["0.6 of a", "0 of b"], model="omni-moderation-latest")
        assert [(one.flagged, one.categories.unsafe) for one in answer.results] == [(True, True), (False, False)]
        assert answer.results[0].category_scores.unsafe == pytest.approx(0.7310585)
        parts = [{"type": "text", "text": "0.6 of a"}, {"type": "text", "text": "0 of b"}]
        [result] = client.moderations.create(input=parts, extra_body={"nearest": 1}).results
        assert result.score == pytest.approx(6) and result.nearest[0]["id"] == "a:2"
        with pytest.raises(openai.UnprocessableEntityError, match=r"input\[1\]: can't be embedded") as found:
            client.moderations.create(input=["0.6 of a", "unreadable"])
        assert (found.value.param, found.value.code) == ("input[1]", "cannot_be_scored")
        http_client.close()


@needs_extra
def test_only_health_is_told_to_those_without_the_token(encoder):
    with served(token="right") as server:
        assert request(server, "GET", "/health")[0] == 200
        for method, path in (("POST", "/v1/moderations"), ("GET", "/metrics")):
            status, _, document = request(server, method, path, {"input": "0.6 of a"} if method == "POST" else None)
            assert status == 401 and document["error"]["code"] == "invalid_api_key"
        right = {"Authorization": "Bearer right"}
        assert request(server, "GET", "/metrics", headers=right)[0] == 200
        assert request(server, body={"input": "0.6 of a"}, headers=right)[0] == 200
    assert encoder.batches == [["0.6 of a"]]


@needs_extra
def test_pages_of_others_get_nothing(encoder):
    with served() as server:
        asks = ("POST", "/v1/moderations"), ("GET", "/health"), ("HEAD", "/health"), ("GET", "/metrics")
        for headers, status in (({"Host": "evil.example"}, 421), ({"Origin": "http://evil.example"}, 403)):
            body = {"input": "0.1 a"}
            assert [request(server, *ask, body, headers)[0] for ask in asks] == [status] * 4
        _, _, document = request(server, body=body, headers=headers)
        assert document["error"]["message"].startswith("pages of this Origin may not ask; start the server with")
    assert encoder.batches == []
    assert server.lines[0].startswith("POST /v1/moderations 421, ") and "evil" not in "".join(server.lines)


@needs_extra
def test_a_request_has_a_number_in_its_answer_and_its_log(encoder):
    with served() as server:
        for given, kept in (("job-7.a_B", True), ("a" * 65, False), ("secret words", False)):
            status, headers, document = request(server, body={"input": "0.6 a"}, headers={"X-Request-ID": given})
            number = headers["X-Request-ID"]
            assert status == 200 and document["id"] == f"modr-{number}" and (number == given) is kept
            assert server.fields[-1] == {"id": number, "status": 200, "texts": 1} | {
                "milliseconds": server.fields[-1]["milliseconds"]
            }
        assert request(server, body={}, headers={"X-Request-ID": "bad"})[1]["X-Request-ID"] == "bad"


@needs_extra
def test_its_page_names_every_request_and_loads_nothing_from_elsewhere(encoder):
    with served(token="right") as server:
        _, _, schema = request(server, "GET", "/openapi.json")
        assert set(schema["paths"]) == {"/v1/moderations", "/health", "/ready", "/metrics"}
        body = schema["paths"]["/v1/moderations"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert set(body["properties"]) == {"input", "messages", "model", "nearest"}
        status, _, page = request(server, "GET", "/docs")
        assert status == 200 and not re.search(r"(src|href)=\"(https?:)?//", page)
        for name in re.findall(r'(?:src|href)="([^"]+)"', page):
            assert request(server, "GET", name)[0] == 200
        assert request(server, "GET", "/docs", headers={"Host": "evil.example"})[0] == 421


@needs_extra
def test_errors_outside_of_bodies(encoder):
    with served(Limits(body=100, seconds=SECONDS)) as server:
        for body, expected in ((b"x" * 100, 400), (b"x" * 101, 413), (b"x" * 5_000_000, 413)):
            status, _, document = request(server, body=body)
            assert status == expected and document["error"]["type"] == "invalid_request_error"
        # Without a length, in chunks.
        assert request(server, body=b"%x\r\n%s\r\n0\r\n\r\n" % (101, b"x" * 101),
                       headers={"Transfer-Encoding": "chunked"})[0] == 413  # fmt: skip
        for method, path, expected in (
            ("GET", "/v1/moderations", 405),
            ("POST", "/v1/chat", 404),
        ):
            status, _, document = request(server, method, path)
            assert status == expected and "there are POST /v1/moderations" in document["error"]["message"]
    assert encoder.batches == []


@needs_extra
def test_what_takes_too_long_is_given_up(encoder):
    with served(Limits(seconds=0.5)) as server:
        encoder.gate.clear()
        status, _, document = request(server, body={"input": "0.1 a"})
        assert status == 504 and document["error"]["code"] == "timeout"
        assert request(server, body={"input": "0.2 b"})[0] == 504, "it waited for the first"
        encoder.gate.set()
        assert request(server, body={"input": "0.3 c"})[0] == 200
        with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as slow:
            slow.sendall(HEADING % 50 + b"{")
            assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert encoder.batches == [["0.1 a"], ["0.3 c"]]


@needs_extra
def test_every_request_of_an_overload_is_answered_or_told_to_come_again(encoder):
    with served(most=4, room=8) as server, ThreadPoolExecutor(60) as pool:
        encoder.gate.clear()

        def ask(i):
            time.sleep(i / 1000)
            return i, *request(server, body={"input": [f"0.{i:02} a", f"0.{i:02} b"]})

        asked = [pool.submit(ask, i) for i in range(1, 60)]
        deadline = time.monotonic() + SECONDS
        # The first batch has 2 or 4 texts and 8 wait: 5 or 6 requests are taken.
        while sum(one.done() for one in asked) < 53 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert sum(one.done() for one in asked) >= 53
        encoder.gate.set()
        answers = [one.result(SECONDS) for one in asked]
        good = [(i, document) for i, status, _, document in answers if status == 200]
        full = [(headers, document) for _, status, headers, document in answers if status == 503]
        assert len(good) + len(full) == 59 and len(good) in (5, 6)
        for i, document in good:
            assert [one["score"] for one in document["results"]] == pytest.approx([i / 10] * 2, abs=1e-5)
        assert {headers["Retry-After"] for headers, _ in full} == {"1"}
        assert {document["error"]["code"] for _, document in full} == {"overloaded"}
        assert request(server, body={"input": "0.6 a"})[0] == 200
        text = request(server, "GET", "/metrics")[2]
    counted = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert float(counted['safe_embed_requests_total{status="200"}']) == len(good) + 1
    assert float(counted['safe_embed_requests_total{status="503"}']) == len(full)
    assert float(counted["safe_embed_texts_scored_total"]) == 2 * len(good) + 1
    # Those of 0.50 or more have a score of at least 5, and the one at the end.
    assert float(counted["safe_embed_texts_flagged_total"]) == 1 + 2 * sum(i >= 50 for i, _ in good)
    assert float(counted["safe_embed_request_seconds_count"]) == 60 and float(counted["safe_embed_queue_texts"]) == 0


@needs_extra
def test_health_is_that_of_the_encoder_and_it_is_ready_while_it_would_take_a_request(encoder):
    def told(*ask, **body):
        status, headers, document = request(server, *ask, **body)
        return status, headers["Retry-After"], document["error"]["code"]

    with served(most=1, room=1) as server:
        assert request(server, "GET", "/ready")[2] == {"status": "ready"}
        assert request(server, "GET", "/health")[2]["status"] == "ok"
        busy(server.batcher, encoder)
        waits = submitted(server.batcher, "0.1 a")
        assert told("GET", "/ready") == (503, "1", "overloaded")
        encoder.gone = True
        encoder.gate.set()
        assert isinstance(waits.exception(SECONDS), InputError)
        assert told(body={"input": "0.6 a"}) == told("GET", "/ready") == (503, "1", "unavailable")
        status, _, document = request(server, "GET", "/health")
        assert status == 503 and document["error"]["message"] == "the encoder does not answer"
        encoder.gone = False
        assert request(server, "GET", "/health")[0] == request(server, body={"input": "0.6 a"})[0] == 200


@needs_extra
def test_texts_of_clients_that_have_gone_are_dropped(encoder):
    with served(most=2) as server:
        first = busy(server.batcher, encoder)
        for _ in range(2):
            body = json.dumps({"input": ["0.1 a", "0.2 b", "0.3 c"]}).encode()
            with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as client:
                client.sendall(HEADING % len(body) + body)
                until(lambda: server.batcher.waiting == 3)
            until(lambda: server.batcher.waiting == 0)
        encoder.gate.set()
        assert scores(first) == [0] and request(server, body={"input": "0.5 e"})[0] == 200
    assert encoder.batches == [["0 first"], ["0.5 e"]]
    assert [line.rpartition(",")[0] for line in server.lines] == [
        "POST /v1/moderations 499, 3 texts", "POST /v1/moderations 499, 3 texts", "POST /v1/moderations 200, 1 texts",
    ]  # fmt: skip


@needs_extra
def test_no_text_is_logged(encoder, capfd):
    with served() as server:
        for body in ({"input": ["0.6 secret", "0 secret"]}, {"input": ["0.6 secret", "unreadable secret"]},
                     {"secret": 1}, b"secret", {"input": "bug"}):  # fmt: skip
            request(server, path="/v1/moderations?secret", body=body)
        request(server, "GET", "/secret")
        for content in (b"secret\r\n\r\n", b"POST /v1/moderations HTTP/1.1\r\nHost: localhost\r\nsecret\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as raw:
                raw.sendall(content)
                assert b"400" in raw.recv(1000)
    said = "".join(f"{line}\n" for line in server.lines)
    assert "secret" not in said + "".join(capfd.readouterr())
    assert [line.rpartition(",")[0] for line in server.lines if line.startswith("POST")] == [
        "POST /v1/moderations 200, 2 texts", "POST /v1/moderations 422, 2 texts", "POST /v1/moderations 400, 0 texts",
        "POST /v1/moderations 400, 0 texts", "POST /v1/moderations 500, 1 texts",
    ]  # fmt: skip
    assert "gave NaN or infinity for input[1]" in said and "internal error (TypeError)" in said


@pytest.mark.parametrize(
    ("kind", "arrays", "expected"),
    [
        ("logistic_regression", {"direction": np.array([3.0, -4.0]), "bias": np.array([1.0])}, (-4, 6)),
        ("centroid_difference", {"direction": np.array([0.6, 0.8])}, (-1, 1)),
        ("nearest_unsafe", {"unsafe": np.eye(2)}, (-1, 1)),
        ("knn_vote", {}, (0, 1)),
    ],
)
def test_the_range_of_scores_by_hand(kind, arrays, expected):
    detector = Detector(kind, arrays)
    assert detector.range == pytest.approx(expected)
    if "direction" in arrays:  # the vectors along it have the lowest and the highest score
        along = arrays["direction"] / np.linalg.norm(arrays["direction"])
        assert detector.scores(np.stack([-along, along])) == pytest.approx(expected)


def test_a_log_that_cannot_be_written_stops_nothing(monkeypatch):
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as log, os.fdopen(writer, "w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        # With the time a line has 34 bytes, so that 5,000 are more than the 64 KiB that a pipe holds.
        writing = threading.Thread(target=lambda: [serve.note(f"{i:04}") for i in range(5000)], daemon=True)
        writing.start()
        writing.join(SECONDS)
        stuck = writing.is_alive()
        os.set_blocking(reader, False)
        lines = log.read().decode().splitlines()
        assert not stuck and 100 <= len(lines) < 5000
        assert [line.split()[1] for line in lines] == [f"{i:04}" for i in range(len(lines))], "the last ones are lost"
        monkeypatch.setattr(select, "PIPE_BUF", 50)
        serve.note("y" * 60)
        assert len(log.read()) == 50, "there is room again, but not for more than goes in at once"
        monkeypatch.setattr(select, "PIPE_BUF", 4096)
        serve.note("POST /x 200\n" + "y" * 5000, form="json", id="a", texts=2)
        whole = json.loads(log.read())
        assert whole.pop("message").startswith("POST /x 200 yyy") and whole.pop("time")[:2] == "20"
        assert whole == {"id": "a", "texts": 2}, "a line in JSON is whole"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        for broken in (stream, None, io.StringIO()):  # nobody reads, it is closed, it is no file
            monkeypatch.setattr("sys.stderr", broken)
            serve.note("a line")


GET, HALF = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HTTP/1.1\r\nHost: local"

SLOW = b"POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"


@contextlib.contextmanager
def crowded(most=20):
    """A server of connections that have 0.3 s, whose application answers /slow when the gate is set, else at once."""
    import uvicorn

    from Safety_Detection.server.connections import Connection, Crowd

    gate = threading.Event()

    async def answer(scope, receive, send):
        if scope["path"] == "/slow":
            while (await receive()).get("more_body"):
                pass
            while not gate.is_set():
                await asyncio.sleep(0.01)
        body = b"x" * 2**24 if scope["path"] == "/large" else b"ok"  # more than the sockets hold
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    protocol = functools.partial(Connection, crowd=Crowd(most, 0.3))
    settings = {"http": protocol, "ws": "none", "lifespan": "off", "log_config": None, "timeout_keep_alive": SECONDS}
    server = uvicorn.Server(uvicorn.Config(answer, **settings))
    with running(server) as port, contextlib.ExitStack() as clients:

        def client(content=b""):
            made = clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=SECONDS))
            made.sendall(content)
            until(lambda: made.getsockname()[1] in open_ports())
            return made

        def open_ports():
            return {one.client[1] for one in list(server.server_state.connections) if one.client}

        yield SimpleNamespace(client=client, open_ports=open_ports, gate=gate)
        gate.set()


def is_answered(client):
    content = b" "
    while not content.endswith(b"ok") and (part := client.recv(10_000)):
        content += part
    return content.endswith(b"ok")


def is_ended(client):
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@needs_extra
def test_a_client_that_keeps_the_server_waiting_loses_its_connection():
    with crowded() as server:
        polite, uploading = server.client(GET % b""), server.client(SLOW + b"1")
        assert is_answered(polite)
        dripped = {
            "nothing": server.client(),
            "half a heading": server.client(HALF),
            "a heading byte by byte": server.client(HALF),
            "half a heading after an answer": server.client(GET % b"" + HALF),
            "a body after its answer": server.client(SLOW.replace(b"/slow", b"/").replace(b" 2", b" 9999")),
            "does not read": server.client(GET % b"large"),
        }
        names, start = {client.getsockname()[1]: name for name, client in dripped.items()}, time.monotonic()
        while left := {names[port] for port in server.open_ports() & names.keys()}:
            assert time.monotonic() - start < 3, left
            for name in left & {"a heading byte by byte", "half a heading after an answer", "a body after its answer"}:
                with contextlib.suppress(OSError):
                    dripped[name].sendall(b"x")
            time.sleep(0.05)
        # A body has the application's time, and what comes between requests uvicorn's.
        polite.sendall(GET % b"")
        assert is_answered(polite)
        server.gate.set()
        uploading.sendall(b"2")
        assert is_answered(uploading)


@needs_extra
def test_when_there_are_too_many_connections_the_one_ends_that_was_longest_waited_for():
    with crowded(most=3) as server:
        heading, body, idle = server.client(HALF), server.client(SLOW + b"1"), server.client(GET % b"")
        assert is_answered(idle)
        asking = [server.client(SLOW + b"12") for _ in range(2)]
        assert is_ended(heading) and is_ended(body)
        idle.sendall(GET % b"")
        assert is_answered(idle)
        asking.append(server.client(SLOW + b"12"))
        assert is_ended(idle)
        with contextlib.closing(socket.create_connection(asking[0].getpeername(), timeout=SECONDS)) as further:
            assert is_ended(further), "the others are being answered"
        server.gate.set()
        assert all(map(is_answered, asking))


@needs_extra
@pytest.mark.parametrize("allowed", [128, 512])
def test_as_many_connections_fit_as_files_may_be_open(allowed):
    code = (
        "import os, resource; from Safety_Detection.server.connections import that_fit;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (64, {allowed}));"
        "print(*that_fit(2048), *that_fit(3), len(os.listdir('/dev/fd')))"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=config.ROOT, capture_output=True, text=True, check=True)
    most, at_a_time, few, _, opened = map(int, said.stdout.split())
    # Connections that are given up stay open while four more lots are accepted.
    assert allowed / 2 < most + 4 * at_a_time + opened <= allowed, "the limit is raised as far as the system allows"
    assert few == 3


@needs_extra
def test_what_the_event_loop_logs_is_one_line_without_a_traceback(encoder):
    with served() as server:
        try:
            raise OSError("secret")
        except OSError:
            logging.getLogger("asyncio").exception("socket.accept() out of system resource\nsecret")
    assert server.lines == ["socket.accept() out of system resource"]


# The whole command.


def write_version(folder, **changes):
    with versions.writing(folder, "--out") as place:
        place.point(place.write(saved.files_of(dataclasses.replace(detector_of(), **changes))))


@needs_extra
@pytest.mark.parametrize("flags", [(), ("--threshold", "4")])
def test_a_server_goes_over_to_the_version_that_counts_or_says_why_not(
    tmp_path, encoder, as_a_program, monkeypatch, flags
):
    made = {}

    def keep(make):
        def keeping(*arguments):
            made[make.__name__] = make(*arguments)
            return made[make.__name__]

        monkeypatch.setattr(serve, make.__name__, keeping)

    keep(serve.server_of)
    keep(serve.bound_to)
    write_version(tmp_path)
    command = threading.Thread(
        target=serve.main, args=[["--detector", str(tmp_path), "--port", "0", "--quiet", *flags]], daemon=True
    )
    command.start()
    until(lambda: "server_of" in made and made["server_of"].started)
    server = SimpleNamespace(port=made["bound_to"].getsockname()[1])

    def asked(*health):
        """The threshold, once /health has these values."""
        until(lambda: tuple(map(request(server, "GET", "/health")[2].get, ("version", "status", "detail"))) == health)
        return request(server, body={"input": "0.6 a"})[2]["results"][0]["threshold"]

    assert asked(1, "ok", None) == (4 if flags else 5)
    before = request(server, "GET", "/health")[2]["model"]
    write_version(tmp_path, threshold=6.0)
    assert asked(2, "ok", None) == (4 if flags else 6)
    assert request(server, body={"input": "0.6 a"})[2]["model"] != before, "the digest of its card"
    write_version(tmp_path, detector=Detector("nearest_unsafe", {"unsafe": np.eye(2, dtype=np.float32)[:1]}))
    if flags:
        why = "version 3 is another kind of detector, whose scores are on another scale than the threshold that "
        assert asked(2, "outdated", f"{why}was given; start the server again") == 4
    else:
        assert asked(3, "ok", None) == 5
    (tmp_path / "current").write_text("4")  # as it may name one that was deleted
    why = "versions/4/detector.json can't be read (No such file or directory); give a folder that fit wrote"
    asked(2 if flags else 3, "outdated", why)
    (tmp_path / "current").write_text("1")
    assert asked(1, "ok", None) == (4 if flags else 5)
    made["server_of"].should_exit = True
    command.join(SECONDS)
    assert not command.is_alive()


def run_server(folder):
    """Runs the command with an encoder that takes a second, and says when it begins."""

    class Slow(Encoder):
        def encode(self, texts):
            if texts != [saved.PROBE]:
                print("encoding", file=sys.stderr, flush=True)
                time.sleep(1)
            return super().encode(texts)

    loading.load = lambda spec: Slow()
    sys.exit(serve.main(["--detector", folder, "--port", "0"]))


@needs_extra
def test_a_signal_lets_what_is_under_way_finish(tmp_path):
    """The server runs from what the Dockerfile copies, and nothing else of the repository."""
    image, here = tmp_path / "image", Path(__file__).parent
    for source, to in re.findall(r"^COPY (\w+) (\w+)$", (config.ROOT / "docs/serving/Dockerfile").read_text(), re.M):
        shutil.copytree(config.ROOT / source, image / to, ignore=shutil.ignore_patterns("__pycache__"))
    assert sorted(path.name for path in image.iterdir()) == ["Safety_Detection", "utils"]
    write_version(tmp_path)
    path = os.pathsep.join(map(str, (image, here, here.parent)))
    command = [sys.executable, "-c", f"import test_serve; test_serve.run_server({str(tmp_path)!r})"]
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=image) as process:
        timer = threading.Timer(3 * SECONDS, process.kill)
        timer.start()
        said = next(line for line in process.stderr if line.startswith("serving"))
        server = SimpleNamespace(port=int(said.rpartition(":")[2].removesuffix("/v1\n")))
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(request, server, body={"input": "0.6 secret"})
            assert next(process.stderr) == "encoding\n"
            process.send_signal(signal.SIGTERM)
            with pytest.raises(OSError):  # from the moment that it no longer listens
                while not asked.done():
                    socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS).close()
                    time.sleep(0.02)
            status, _, document = asked.result(SECONDS)
        assert status == 200 and document["results"][0]["flagged"]
        rest = process.stderr.read()
        timer.cancel()
    assert process.returncode == 0 and "Traceback" not in rest and "secret" not in rest
