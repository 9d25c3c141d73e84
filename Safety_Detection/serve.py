"""Serves a saved detector over HTTP, in the format of OpenAI's moderation endpoint."""

import contextlib
import functools
import importlib.util
import json
import logging
import math
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast

from Safety_Detection.guardrail import saved, versions
from Safety_Detection.guardrail.guard import Guard
from Safety_Detection.guardrail.saved_detector import SavedDetector
from Safety_Detection.server.batching import Batcher
from Safety_Detection.server.hosts import Hosts, is_loopback
from Safety_Detection.server.moderations import Limits
from utils import cli, config
from utils.schema import InputError, one_line

if TYPE_CHECKING:
    import uvicorn

PACKAGES = ("fastapi", "fastapi_offline", "uvicorn", "prometheus_client")
LOGS = ("text", "json")
TOKEN = "SAFE_EMBED_SERVE_TOKEN"
# Characters of a message in a line of JSON, which must be whole.
LONGEST = 500
# Two threads that both find room for a line may find it gone.
_WRITING = threading.Lock()


@cli.command
def main(argv: Sequence[str] | None = None) -> int | None:
    """Serves a detector that `python -m Safety_Detection.fit` has saved: POST /v1/moderations in OpenAI's format."""
    most = Limits()
    flags = cli.Parser(prog="python -m Safety_Detection.serve", description=main.__doc__)
    saved.add_detector(flags)
    saved.add_threshold(flags)
    flags.add_argument("--threads", metavar="N", type=cli.whole(1), help=cli.THREADS)
    flags.add_argument("--host", metavar="HOST", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    flags.add_argument("--port", metavar="N", type=cli.whole(0), default=8000, help="0 for a free one (default 8000)")
    flags.add_argument(
        "--allow-host", metavar="NAMES", help="other names by which clients call it, separated by commas; * for any"
    )
    flags.add_argument("--no-token", action="store_true", help=f"let other machines in though {TOKEN} is not set")
    for name, least, default, what in (
        ("max-batch", 1, 256, "texts after which a batch takes no further request"),
        ("max-wait-ms", 0, 5, "milliseconds that a text waits for others at most"),
        ("queue", 1, 1024, "texts that wait at most; a request beyond that gets 503"),
        ("max-inputs", 1, most.inputs, "texts of a request at most"),
        ("max-characters", 1, most.characters, "characters of a text at most"),
        ("max-body", 1, most.body, "bytes of a request at most"),
        ("timeout", 1, f"{most.seconds:g}", "seconds until a request gets 504"),
        ("keep-alive", 1, most.keep_alive, "seconds that a connection waits for another request"),
        ("max-connections", 1, most.connections, "connections at most; a further one ends one that sends nothing"),
    ):
        flags.add_argument(
            f"--{name}", metavar="N", type=cli.whole(least), default=str(default), help=f"{what} (default {default})"
        )
    flags.add_argument(
        "--log", metavar="FORM", choices=LOGS, default=LOGS[0], help="of the log of requests: text (default) or json"
    )
    flags.add_argument("--quiet", action="store_true", help="no log of requests")

    arguments = flags.parse_args(argv)
    device, threshold, port, room = cli.device(arguments), arguments.threshold, arguments.port, arguments.queue
    limits = Limits(
        arguments.max_inputs,
        arguments.max_characters,
        arguments.max_body,
        arguments.timeout,
        arguments.max_connections,
        keep_alive=arguments.keep_alive,
    )
    if limits.inputs > room:
        raise InputError(f"--max-inputs {limits.inputs}: is more than --queue {room} holds; lower it or raise that")
    saved.threshold_of(arguments)
    if port > 65535:
        raise InputError(f"--port {port}: give a whole number of at most 65535")
    token = token_for(arguments.host, arguments.no_token)
    more = [name.strip() for name in (arguments.allow_host or "").split(",") if name.strip()]
    hosts = Hosts(arguments.host, more)
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"{missing[0]}, an extra that serving needs, is not installed: pip install -r requirements-serve.txt"
        )
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, _stop)
    folder = config.callers_path(arguments.detector)
    log = functools.partial(note, form=arguments.log)

    def load(number: int, before: Guard | None) -> Guard:
        where = folder, arguments.model, device, arguments.trust_remote_code
        detector = saved.load(*where, number=number)
        if detector.outdated:
            log(detector.outdated)
        if before is not None and threshold is not None and scale(detector) != scale(before.detector):
            raise InputError(
                f"--threshold {threshold:g}: version {number} is another kind of detector, whose scores are on "
                "another scale than the threshold that was given; start the server again"
            )
        chosen = saved.threshold_of(arguments, detector)
        low, high = detector.detector.range
        if chosen is not None and not low <= chosen <= high:
            raise InputError(
                f"--threshold {threshold:g}: no text has such a score; those of this detector are from {low:.4g} to "
                f"{high:.4g}, give one of its card"
            )
        return Guard(detector, chosen, base_rate=arguments.base_rate, threads=arguments.threads, before=before)

    with bound_to(arguments.host, port) as bound:
        wait, version = arguments.max_wait_ms / 1000, functools.partial(versions.current, folder)
        batcher = Batcher(load, arguments.max_batch, wait, room, version=version)
        server = server_of(batcher, limits, token, (lambda *_, **__: None) if arguments.quiet else log, hosts)
        listen(bound)
        try:
            server.run(sockets=[bound])
        finally:
            batcher.close(limits.seconds)
    return 0


def scale(detector: SavedDetector) -> tuple[str, str]:
    """What a threshold that was given for one version has to share with another."""
    return detector.detector.kind, detector.spec.fingerprint


def _stop(*_: object) -> None:
    raise SystemExit(0)


def token_for(host: str, without: bool) -> str:
    """The token that requests must send, '' for none.

    without: whether other machines may do without one. Raises InputError if they may not and there is none.
    """
    token = config.setting(TOKEN)
    if not (token.isascii() and token.isprintable()):
        raise InputError(
            f"{TOKEN}: has a character that is not ASCII or can't be seen; choose one of letters and digits"
        )
    if not token and not without and not is_loopback(host):
        raise InputError(
            f"--host {host}: other machines could use it; put {TOKEN}=... into .env, or allow that with --no-token"
        )
    return token


def bound_to(host: str, port: int) -> socket.socket:
    """A socket bound to an address, which does not listen yet. Raises InputError if it can't be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no such address"
        raise InputError(f"--host {host} --port {port}: can't be listened on ({why}); give another") from None
    return bound


def listen(bound: socket.socket) -> None:
    """Lets clients connect, and says where."""
    host, port = bound.getsockname()[:2]
    try:
        bound.listen(2048)
    except OSError as error:  # two processes may be bound to an address until one listens
        raise InputError(
            f"--host {host} --port {port}: can't be listened on ({error.strerror}); give another"
        ) from None
    print(f"serving at http://{f'[{host}]' if ':' in host else host}:{port}/v1", file=sys.stderr, flush=True)


def server_of(
    batcher: Batcher, limits: Limits, token: str, note: Callable[..., object], hosts: Hosts
) -> "uvicorn.Server":
    """A server that answers requests until the process is told to stop, then finishes what is under way."""
    import uvicorn

    from Safety_Detection.server.application import application
    from Safety_Detection.server.connections import Connection, Crowd, Server, that_fit

    # What is logged of an exception may hold a text. asyncio's first line says only what it could not do.
    for name, handler in (("uvicorn", logging.NullHandler()), ("asyncio", _FirstLine(note))):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
    most, at_a_time = that_fit(limits.connections)
    if most < limits.connections:
        print(f"only {most} connections fit; raise the limit of open files (ulimit -n)", file=sys.stderr, flush=True)
    return Server(
        uvicorn.Config(
            application(batcher, limits, token, note, hosts),
            log_config=None,
            access_log=False,
            server_header=False,
            loop="asyncio",
            http=cast(type[Connection], functools.partial(Connection, crowd=Crowd(most, limits.heading))),
            ws="none",
            lifespan="off",
            backlog=at_a_time,
            timeout_keep_alive=limits.keep_alive,
            timeout_graceful_shutdown=math.ceil(limits.seconds) + 1,
        )
    )


class _FirstLine(logging.Handler):
    def __init__(self, note: Callable[[str], object]) -> None:
        super().__init__()
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        self._note(record.getMessage().partition("\n")[0])


def note(line: str, form: str = LOGS[0], **fields: object) -> None:
    """Writes a line with the time to standard error. It is lost if that can't be written, or not without waiting.

    form: one of LOGS; in JSON, the line has the fields too. A pipe that nobody reads is full some day, and who writes
    to it then would wait for ever, answers and signals too.
    """
    now = datetime.now().astimezone().isoformat(timespec="milliseconds")
    said = f"{now} {one_line(line)}"
    if form == "json":
        said = json.dumps({"time": now, "message": one_line(line)[:LONGEST], **fields})
    content = said.encode(errors="replace")[: select.PIPE_BUF - 1] + b"\n"
    with _WRITING, contextlib.suppress(OSError, ValueError, AttributeError):  # no space left, no reader, or closed
        descriptor = sys.stderr.fileno()
        # As many bytes as PIPE_BUF go into a pipe at once when it is ready for any.
        if select.select([], [descriptor], [], 0)[1]:
            os.write(descriptor, content)


if __name__ == "__main__":
    sys.exit(main())
