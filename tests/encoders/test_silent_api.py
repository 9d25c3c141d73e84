"""Ctrl-C while an API takes requests and answers none: the first says what is awaited, the second ends the program."""

import signal
import subprocess
import sys
import threading
import time

from utils import config
from utils.encoders.registry import resolve
from utils.store import embeddings as store

# Ample on a busy machine, and less than the 240 s after which the program gives up by itself.
SECONDS = 120


def answer_first(server, n):
    """From now on the server answers `n` batches and all single texts, and takes other batches without a word."""
    server.requests.clear()

    def misbehave(number, inputs, handler):
        earlier = [one for one in server.requests[:number] if len(one["input"]) > 1]
        silent = len(inputs) > 1 and len(earlier) > n
        if silent:
            time.sleep(2 * SECONDS)
        return silent

    server.misbehave = misbehave


def batches(server):
    return [one["input"] for one in server.requests if len(one["input"]) > 1]


def interrupt_twice(server, n, module, *flags):
    """Sends a command Ctrl-C when `n` requests are answered and others are under way, and again when it has replied.

    Returns what it wrote to standard error.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *flags],
        cwd=config.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job, as the tests may be, starts with the signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    limit = threading.Timer(SECONDS, process.kill)
    limit.start()
    while process.poll() is None and len(server.requests) <= n:
        time.sleep(0.05)
    time.sleep(0.5)  # for the answers to arrive
    process.send_signal(signal.SIGINT)
    said = ""
    for line in process.stderr:
        said += line
        if "Ctrl-C again" in line:
            process.send_signal(signal.SIGINT)
            break
    said += process.stderr.read()
    assert process.wait() == 130, said
    limit.cancel()
    assert "interrupted; waiting for" in said and said.splitlines()[-1].startswith("interrupted; ")
    assert "Traceback" not in said and "Exception" not in said
    return said


def test_an_evaluation_is_stopped_and_keeps_the_answers_that_came(server, tmp_path):
    # The sample's 143 originals and 715 edits are sent in four requests of at most 256 texts.
    flags = ["--data", "sample", "--out", str(tmp_path / "out"), "--model", "openai:some-model"]
    answer_first(server, 2)
    said = interrupt_twice(server, 2, "Safety_Contrast.evaluate", *flags)
    assert "waiting for 2 requests under way" in said
    assert "text/s" not in said, "no bar where there is no terminal"
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()], "no half-written result"
    answered = [text for batch in batches(server)[:2] for text in batch]
    kept = store.EmbeddingStore(store.default_path())
    assert set(kept.get(resolve("openai:some-model").fingerprint, server.texts)) == set(answered)
