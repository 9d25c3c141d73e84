"""The connections of a server, which no client can keep for itself by making the server wait."""

import asyncio
import contextlib
import resource
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

# Seconds that the rest of a body has when the server ends.
ENDING = 2.0
# Connections that may wait to be accepted, that are accepted at a time at most, and files left for other things.
QUEUE, AT_A_TIME, SPARE = 2048, 128, 16


@dataclass(frozen=True)
class Crowd:
    """All connections of a server.

    most: of them at once. seconds: for a heading, and for reading an answer. waited_for: those whose client has a
    request or the rest of one to send, the one that has had that to do for longest first.
    """

    most: int
    seconds: float
    waited_for: dict["Connection", None] = field(default_factory=dict)


class Connection(H11Protocol):
    """A connection that ends if its client is late, or if the server has to wait for it while others have no place.

    uvicorn has a time for what comes between requests, and the application one for a body, but a heading has none.
    """

    def __init__(self, *arguments: Any, crowd: Crowd, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._crowd = crowd
        self._late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # pause_writing is called if anything at all is not taken
        self._watch()
        if len(self.connections) > self._crowd.most:
            first = next(iter(self._crowd.waited_for))  # at the latest this one
            del self._crowd.waited_for[first]
            first.transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self._crowd.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread = _stopped(self._unread)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._crowd.waited_for.pop(self, None)
        self._late, self._unread = _stopped(self._late), _stopped(self._unread)

    def shutdown(self) -> None:
        super().shutdown()
        if self in self._crowd.waited_for:
            self.loop.call_later(ENDING, self._end)

    def _end(self) -> None:
        if self in self._crowd.waited_for:
            self.transport.abort()

    def _watch(self) -> None:
        """Starts the time of the client when the server begins to wait for it, and stops it when it no longer does."""
        if self.transport.is_closing():
            return
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering:
            self._late = _stopped(self._late)
        elif self._late is None and self.timeout_keep_alive_task is None:
            self._late = self.loop.call_later(self._crowd.seconds, self.transport.abort)
        if answering and not self.cycle.more_body:
            self._crowd.waited_for.pop(self, None)
        else:
            self._crowd.waited_for.setdefault(self)


class Server(uvicorn.Server):
    """A server for which connections wait that it has not accepted yet.

    uvicorn and asyncio have one number for how many may wait and how many are accepted at a time. Clients whose
    connection may not wait try again after a second or more.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or ():
            listening.listen(QUEUE)


def _stopped(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """None, in place of a timer that is cancelled."""
    if timer is not None:
        timer.cancel()
    return None


def that_fit(most: int) -> tuple[int, int]:
    """How many connections may be open, at most `most`, and how many should be accepted at a time.

    Where fewer files may be open, asyncio would fail to accept the others, and write a traceback of each try. A
    connection that is given up stays open while others are accepted, up to four times. The limit of open files is
    raised as far as the system allows.
    """
    opened = len(list(Path("/dev/fd").iterdir())) + SPARE
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed, highest = (sys.maxsize if one == resource.RLIM_INFINITY else one for one in limits)
    wanted = min(opened + most + 4 * AT_A_TIME, highest)
    if allowed < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, limits[1]))
            allowed = wanted
    free = allowed - opened
    at_a_time = min(max(free // 16, 1), AT_A_TIME)
    return min(max(free - 4 * at_a_time, 1), most), at_a_time
