"""Scores the texts of requests that come together at once, in one thread."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from Safety_Detection.guardrail.guard import Guard, Unscored, Verdict
from utils.schema import InputError

# Seconds between two looks at which version counts.
LOOK = 1.0


class Full(Exception):
    """As many texts wait as there is room for."""


@dataclass(eq=False)
class _Request:
    """names: of the texts, for errors."""

    texts: Sequence[str]
    names: Sequence[str]
    nearest: int
    future: Future = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class Batcher:
    """A thread that loads a guard and is the only one to use it, and loads another when the version changes.

    load: makes the guard of a version, given the one that it replaces, None at first. What it raises then, `Batcher`
    raises; what it raises later is `fault`, and the guard before stays.
    most: texts from which on a batch takes no further request; no request is split. wait: seconds that a text may wait
    for others while the thread has nothing to do. room: texts that may wait for a batch.
    version: the number of the version that counts. It is looked at between two batches, at most every LOOK seconds.
    """

    def __init__(
        self,
        load: Callable[[int, Guard | None], Guard],
        most: int,
        wait: float,
        room: int,
        version: Callable[[], int] = lambda: 0,
    ) -> None:
        self.most, self.wait, self.room = most, wait, room
        # Called in the thread with a guard, the texts of a batch, and what it found of them.
        self.seen: Callable[[Guard, list[str], list[Verdict | Unscored]], object] = lambda guard, texts, found: None
        self.note: Callable[[str], object] = lambda line: None  # called in the thread with what a log should say
        self.fault = ""  # why the version that counts is not the one in use
        self._load, self._version = load, version
        self.waiting = 0
        self.answered = -math.inf  # when the encoder last did; never if it failed since
        self._began: float | None = None  # of the batch under way
        self._requests: deque[_Request] = deque()
        self._checks: list[Future] = []
        self._open = True
        self._change = threading.Condition()
        loaded: Future = Future()
        self._thread = threading.Thread(target=self._run, args=(loaded,), daemon=True)
        self._thread.start()
        self.guard: Guard = loaded.result()

    def submit(self, texts: Sequence[str], names: Sequence[str], nearest: int = 0) -> Future:
        """A future of a guard and what its `score_each` returns. If it is cancelled, texts that wait are dropped.

        Its exception is an InputError if the encoder accepts no text any more. Other verdicts of the same batch may be
        the reason that more prompts are nearest than were asked for, or that any are. Raises Full.
        """
        request = _Request(texts, names, nearest)
        with self._change:
            if self.waiting + len(texts) > self.room:
                raise Full
            self._requests.append(request)
            self.waiting += len(texts)
            self._change.notify()
        request.future.add_done_callback(lambda future: self._drop(request))
        return request.future

    def _drop(self, request: _Request) -> None:
        with self._change:
            if request in self._requests:  # it was cancelled
                self._requests.remove(request)
                self.waiting -= len(request.texts)

    def check(self, longest: float) -> Future:
        """A future of what `Guard.check` returns.

        A batch under way is not waited for. Its encoder is taken to work if it did before, for `longest` seconds.
        """
        future: Future = Future()
        with self._change:
            if self._began is None:
                self._checks.append(future)
                self._change.notify()
            elif self.answered == -math.inf or time.monotonic() - self._began > longest:
                future.set_exception(InputError("the encoder does not answer"))
            else:
                future.set_result(None)
        return future

    def close(self, seconds: float | None = None) -> None:
        """Ends the thread when it has scored what waits, and closes the guard. seconds: the longest wait for that."""
        with self._change:
            self._open = False
            self._change.notify()
        self._thread.join(seconds)

    def _run(self, loaded: Future) -> None:
        try:
            self.version = self._version()
            self._tried: int | None = self.version
            guard = self._load(self.version, None)
        except BaseException as error:
            loaded.set_exception(error)
            return
        self.answered = time.monotonic()  # a guard that is loaded has been tried
        looked = time.monotonic()
        loaded.set_result(guard)
        while (work := self._next()) is not None:
            checks, requests = work
            if checks:
                self._check(guard, checks)
            if requests:
                self._score(guard, requests)
            if time.monotonic() - looked >= LOOK:
                guard, looked = self._of_version(guard), time.monotonic()
        guard.close()

    def _of_version(self, guard: Guard) -> Guard:
        """The guard of the version that counts, or the one in use if that can't be loaded."""
        number = None  # while none can be read
        try:
            number = self._version()
            if number != self._tried:
                with self._change:
                    self._began = time.monotonic()  # as of a batch: a check does not wait for the end of it
                guard = self._load(number, guard)
                self.guard, self.version, self.fault = guard, number, ""
                self.note(f"version {number} is loaded")
        except Exception as error:
            fault = str(error) if isinstance(error, InputError) else f"internal error ({type(error).__name__})"
            if fault != self.fault:
                self.note(f"version {self.version} is used on: {fault}")
            self.fault = fault
        self._tried = number
        return guard

    def _next(self) -> tuple[list[Future], list[_Request]] | None:
        """The checks that are asked for and the requests of the next batch; None when all is done."""
        with self._change:
            self._began = None
            self._change.wait_for(lambda: self._requests or self._checks or not self._open, LOOK)
            if self._requests:
                longest = max(0, self._requests[0].arrived + self.wait - time.monotonic())
                self._change.wait_for(lambda: self.waiting >= self.most or self._checks or not self._open, longest)
            checks, self._checks = self._checks, []
            requests: list[_Request] = []
            while self._requests and sum(len(request.texts) for request in requests) < self.most:
                requests.append(self._requests.popleft())
                self.waiting -= len(requests[-1].texts)
            self._began = time.monotonic() if requests else None
            return (checks, requests) if requests or checks or self._open else None

    def _score(self, guard: Guard, requests: list[_Request]) -> None:
        texts = [text for request in requests for text in request.texts]
        names = [name for request in requests for name in request.names]
        nearest = max(request.nearest for request in requests)
        try:
            found = guard.score_each(texts, names, nearest, unfamiliar=True)
        except Exception as error:
            self._fail([request.future for request in requests], error)
            return
        self.answered = time.monotonic()
        self.seen(guard, texts, found)
        for request in requests:
            size = len(request.texts)
            _finish(request.future, (guard, found[:size]))
            found = found[size:]

    def _check(self, guard: Guard, checks: list[Future]) -> None:
        try:
            guard.check()
        except Exception as error:
            self._fail(checks, error)
            return
        self.answered = time.monotonic()
        for future in checks:
            _finish(future, None)

    def _fail(self, futures: list[Future], error: Exception) -> None:
        self.answered = -math.inf
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)


def _finish(future: Future, result: object) -> None:
    if future.set_running_or_notify_cancel():  # not cancelled
        future.set_result(result)
