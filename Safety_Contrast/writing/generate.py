"""Asks a chat model for five safe edits of each original, and pays once for each answer."""

import asyncio
import contextlib
import json
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from Safety_Contrast.writing import batch, outcome
from Safety_Contrast.writing.answers import entry_of
from Safety_Contrast.writing.budget import Budget, TooDear
from Safety_Contrast.writing.journal import Journal
from Safety_Contrast.writing.order import (
    Order,
    cost,
    estimate,
    estimated_cost,
    folder_of,
    order_settings,
    price_of,
    request,
    takes_schema,
)
from Safety_Contrast.writing.template import Original, Template
from utils import openai_api
from utils.data.sources import Found
from utils.files import shown_path
from utils.schema import InputError

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI
    from tqdm import tqdm

# A run gives up after so many originals in a row without an answer; each request is tried again RETRIES times.
FAILURES_IN_A_ROW = 20
RETRIES = 8
SECONDS_TO_ANSWER = 90.0
TIMEOUTS = 3  # requests for one original that are not answered in time
LIMITS = ("max_completion_tokens", "max_tokens")
SETTINGS = ("temperature", "seed", *LIMITS)


class Run:
    """Asks for the edits of some originals, and keeps every answer.

    rows: the originals to ask for. everything: all that the set may hold, in order. note: called with each sentence a
    person should read.
    """

    def __init__(
        self,
        order: Order,
        template: Template,
        rows: Sequence[Original],
        everything: Sequence[Original],
        found: Found,
        note: Callable[[str], None],
        show_progress: bool = False,
    ) -> None:
        self.order, self.rows, self.everything, self.note = order, rows, everything, note
        self.show_progress = show_progress
        self.template = template
        self.settings = order_settings(order, self.template, found)
        self.folder = folder_of(order, self.settings)
        self.price = price_of(order)
        self.schema = takes_schema(order, template)
        self.unanswered: dict[str, str] = {}
        self.budget = Budget(order)
        self.stop: BaseException | None = None

    def _body(self, row: Original, schema: bool) -> dict:
        return request(self.order, self.template, row, self.journal.answers().get(row.id, []), schema)

    def _answered(self) -> int:
        return sum(map(len, self.journal.answers().values()))

    def first_request(self) -> dict:
        """The body of the first request of a run that has no answers yet."""
        body = request(self.order, self.template, self.rows[0], [], self.schema)
        self.budget.bounded(body, self.rows[0], 1 / (len(self.rows) if self.order.batch else self.order.concurrency))
        return body

    def go(self) -> int:
        """Asks for what is missing, writes the set, and prints a summary. Returns the exit status."""
        journal = self.folder / "contrast_answers.jsonl"
        for name in (outcome.PARSED, outcome.ORIGIN):
            if not journal.exists() and (self.folder / name).exists():
                raise InputError(
                    f"--out {shown_path(self.folder)}: has a {name} that no run of this program made; give another "
                    "folder"
                )
        self.journal = Journal(journal, self.settings)
        try:
            if self.journal.repaired:
                self.note("the last answer was half-written and is dropped; it may have been paid for")
            sent, _, done = batch.last_batch(self.journal)
            is_open = sent is not None and not done
            if is_open and not self.order.batch:
                raise InputError(
                    "a batch was sent for this set and its answers are not fetched yet; add --batch to fetch them, or "
                    "give another --out to pay for them again"
                )
            start, missing = time.monotonic(), self.missing()
            if missing:
                if not is_open:  # what was sent is paid for anyway
                    self._check_cost(missing)
                self.note(f"{len(self.rows) - len(missing)} of {len(self.rows)} originals already have their answers")
                self.note(estimate(self.order, self.template, missing))
            try:
                if missing:
                    asyncio.run(self._ask_in_batches() if self.order.batch else self._ask_all(missing))
            finally:
                outcome.write_set(self.folder, self.everything, self.journal.answers())
            return outcome.summary(
                self.order, self.template, self.rows, self.journal, self.unanswered, time.monotonic() - start, self.note
            )
        finally:
            self.journal.close()

    def missing(self) -> list[Original]:
        """The originals that have neither five edits nor used up their attempts."""
        answers = self.journal.answers()
        return [
            row
            for row in self.rows
            if not (given := answers.get(row.id, []))
            or (given[-1]["problem"] is not None and len(given) < self.order.attempts)
        ]

    def _check_cost(self, missing: list[Original]) -> None:
        dollars = estimated_cost(self.order, self.template, missing)
        if dollars is not None and self.order.max_cost is not None and dollars > self.order.max_cost:
            raise InputError(
                f"--max-cost {self.order.max_cost}: {len(missing)} calls would cost about ${dollars:.2f}; raise it, or "
                "ask for fewer with --limit or --categories"
            )

    def keep(self, row: Original, completion: dict, request_id: str | None, most: float) -> tuple[dict, float]:
        """Appends an answer to the journal, and returns its entry and its cost: `most` if the server tells none."""
        entry = {
            "id": row.id,
            "attempt": len(self.journal.answers().get(row.id, [])) + 1,
            **entry_of(completion, row.text, request_id),
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        self.journal.append(entry)
        read, written = entry["usage"]["prompt_tokens"], entry["usage"]["completion_tokens"]
        told = read is not None and written is not None
        return entry, cost(self.price, read, written) if told else most

    async def _ask_all(self, missing: list[Original]) -> None:
        """Asks for all that is missing, `concurrency` originals at a time.

        After an error that every request would meet, at --max-cost, or on Ctrl-C, nothing more is sent, but the
        answers under way are waited for, as they are paid for anyway.
        """
        import openai
        from tqdm import tqdm

        waiting = list(reversed(missing))
        failures = 0

        async def worker(client: "AsyncOpenAI", bar: "tqdm") -> None:
            nonlocal failures
            while waiting and self.stop is None and not self.budget.short:
                row = waiting.pop()
                try:
                    await self._ask(client, row)
                    failures = 0
                except TooDear:
                    self.unanswered[row.id] = self.budget.reached()
                    return
                except openai.APIStatusError as error:
                    self.stop = self.stop or self._fatal(error)
                    failures += 1
                    self.unanswered[row.id] = openai_api.refusal(error, self.order.model)
                except (openai.APIConnectionError, openai.APIResponseValidationError, ValueError) as error:
                    failures += 1
                    self.unanswered[row.id] = _reason(error)
                if failures >= FAILURES_IN_A_ROW and self.stop is None:
                    self.stop = InputError(
                        f"{openai_api.host()}: {failures} requests in a row failed "
                        f"({self.unanswered[row.id]}); the answers are kept, run again to continue"
                    )
                bar.set_postfix_str("" if self.price is None else f"${self.budget.spent:.2f}")
                bar.update(1)

        with (
            self._interruptible(),
            tqdm(total=len(missing), unit="prompt", disable=not self.show_progress, leave=False) as bar,
        ):
            async with openai_api.async_client(RETRIES, SECONDS_TO_ANSWER) as client:
                await asyncio.gather(*(worker(client, bar) for _ in range(min(self.order.concurrency, len(missing)))))
        if self.stop is not None:
            raise self.stop
        self._tell_if_short()

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C ends a run after the running requests; a second one ends it at once.

        On Windows, where asyncio handles no signals, and outside the main thread, the first one ends it at once, and
        what the running requests cost is lost.
        """
        loop = asyncio.get_running_loop()

        def interrupted() -> None:
            self.stop = self.stop or KeyboardInterrupt()
            loop.remove_signal_handler(signal.SIGINT)  # before the note: a signal sent on reading it must end the run
            self.note("interrupted; waiting for the answers under way (Ctrl-C again to lose them)")

        try:
            loop.add_signal_handler(signal.SIGINT, interrupted)
        except (NotImplementedError, ValueError):
            yield
            return
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    def _tell_if_short(self) -> None:
        if self.budget.short:
            self.note(f"{self.budget.reached()}; run again to spend as much again, or raise it")
            for row in self.missing():
                self.unanswered.setdefault(row.id, self.budget.reached())

    async def _ask(self, client: "AsyncOpenAI", row: Original) -> None:
        """Asks for one original until it has five edits or its attempts are used up."""
        import openai

        given = list(self.journal.answers().get(row.id, []))
        unreadable, timeouts, without_schema = 0, 0, False
        while len(given) < self.order.attempts and not (given and self.stop is not None):
            schema = self.schema and not without_schema
            body = self._body(row, schema)
            most, dollars = await self.budget.reserve(body, row), 0.0
            try:
                if self.stop is not None:  # since it began to wait
                    return
                raw = await client.chat.completions.with_raw_response.create(**body)
                dollars = most
                completion = json.loads(raw.http_response.content)
                if not isinstance(completion, dict) or not completion.keys() & {"choices", "usage"}:
                    raise ValueError("no chat completion")
                entry, dollars = self.keep(row, completion, raw.headers.get("x-request-id"), most)
            except openai.APITimeoutError:
                timeouts, dollars = timeouts + 1, most  # it may be answered, and paid for, all the same
                if timeouts == TIMEOUTS:
                    raise
                continue
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if not schema or _refused_setting(error):
                    raise
                without_schema = True
                continue
            except (ValueError, RecursionError):
                unreadable += 1
                if unreadable >= self.order.attempts:
                    raise ValueError("no chat completion") from None
                continue
            finally:
                await self.budget.settle(most, dollars)
            if without_schema:  # the server refused the schema, not this prompt
                self.schema = False
            if entry["problem"] is None:
                return
            given.append(entry)

    async def _ask_in_batches(self) -> None:
        """Asks for all that is missing through the Batch API, and again for what had no five edits."""
        import openai

        by_id = {row.id: row for row in self.everything}  # the batch may hold more than is asked for now
        most: dict[str, float] = {}
        sent: dict[str, dict] = {}

        def keep(row: Original, completion: dict, request_id: str | None) -> None:
            self.budget.charge(self.keep(row, completion, request_id, most.get(row.id, 0.0))[1])

        async with openai_api.async_client(RETRIES, SECONDS_TO_ANSWER) as client:
            batch_id = None
            try:
                while True:
                    batch_id = await batch.open_batch(client, self.journal)
                    if batch_id is None:
                        missing = [row for row in self.missing() if row.id not in self.unanswered]
                        if not missing:
                            return
                        bodies = [(row, self._body(row, self.schema)) for row in missing]
                        most = self.budget.affordable(bodies)
                        if not most:
                            return self._tell_if_short()
                        self.budget.short = 0.0
                        sent = {row.id: body for row, body in bodies if row.id in most}
                        batch_id = await batch.submit(client, self.journal, sent)
                        part = (
                            f" of {len(missing)}, the most that --max-cost can cover,"
                            if len(sent) < len(missing)
                            else ""
                        )
                        self.note(
                            f"batch {batch_id}: {len(sent)} calls{part} sent; this may take a day, and can be left and "
                            "run again"
                        )
                    before = self._answered()
                    refused = await batch.fetch(client, self.journal, batch_id, by_id, keep, self.note)
                    if sent and not refused and self._answered() == before:
                        raise InputError(f"--batch: batch {batch_id} brought no new answer; leave --batch out")
                    self.unanswered |= refused
            except openai.APIStatusError as error:
                raise (
                    batch.refusal(error, batch_id)
                    or self._fatal(error)
                    or InputError(f"--batch: {openai_api.refusal(error, self.order.model)}")
                ) from None
            except openai.APIConnectionError:
                raise InputError(
                    f"--batch: {openai_api.host()} can't be reached; the batch continues there, run again to fetch it"
                ) from None

    def _fatal(self, error: "APIStatusError") -> InputError | None:
        """What ends the run, for an error that every request would meet; None for any other."""
        name = f"--gpt-model {self.order.model}"
        if error.status_code in (401, 402, 403, 404) or openai_api.error_code(error) == "insufficient_quota":
            return InputError(f"{name}: {openai_api.refusal(error, self.order.model)}")
        setting = _refused_setting(error)
        if setting in LIMITS:
            return InputError(f"{name}: {openai_api.host()} refuses {setting}, which --max-cost needs; leave that out")
        if setting:
            value = getattr(self.order, setting)
            return InputError(f"{name}: {openai_api.host()} refuses --{setting} {value:g}; give one that it accepts")
        return None


def _refused_setting(error: "APIStatusError") -> str | None:
    """The setting of ours that a request was refused for, or None."""
    if error.status_code not in (400, 422):
        return None
    named = re.search(rf"['\"`]({'|'.join(SETTINGS)})['\"`]", error.message)
    if error.param in SETTINGS:
        return error.param
    return named.group(1) if named else None


def _reason(error: Exception) -> str:
    import openai

    if isinstance(error, openai.APITimeoutError):
        return "no answer in time"
    if isinstance(error, openai.APIConnectionError):
        return "no connection"
    return "an answer that is no chat completion"
