"""Asks a chat model for five safe edits of each original, and pays once for each answer."""

import asyncio
import contextlib
import json
import re
import signal
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from Safety_Contrast import batch, outcome
from Safety_Contrast.answers import entry_of
from Safety_Contrast.journal import Journal
from Safety_Contrast.order import (
    TOKENS_ANSWERED,
    Order,
    Original,
    Template,
    cost,
    estimate,
    estimated_cost,
    folder_of,
    order_settings,
    price_of,
    request,
    takes_schema,
    tokens_in,
)
from utils import openai_api
from utils.data.sources import Found
from utils.files import shown_path
from utils.schema import InputError

# A run gives up after so many originals in a row without an answer; each request is tried again RETRIES times.
FAILURES_IN_A_ROW = 20
RETRIES = 8
SECONDS_TO_ANSWER = 90.0
TIMEOUTS = 3  # requests for one original that are not answered in time


class Run:
    """Asks for the edits of some originals, and keeps every answer.

    rows: the originals to ask for. everything: all that the set may hold, in order. note: called with each sentence a
    person should read.
    """

    def __init__(
        self,
        order: Order,
        rows: Sequence[Original],
        everything: Sequence[Original],
        found: Found,
        note: Callable[[str], None],
        show_progress: bool = False,
    ) -> None:
        self.order, self.rows, self.everything, self.note = order, rows, everything, note
        self.show_progress = show_progress
        self.template = Template()
        self.settings = order_settings(order, self.template, found)
        self.folder = folder_of(order, self.settings)
        self.price = price_of(order)
        self.schema = takes_schema(order)
        self.unanswered: dict[str, str] = {}
        self.spent = self.dearest = 0.0
        self.stop: BaseException | None = None

    def go(self) -> int:
        """Asks for what is missing, writes the set, and prints a summary. Returns the exit status."""
        if self.order.max_cost is not None and self.price is None:
            raise InputError(f"--max-cost: the price of {self.order.model} is unknown; give --price INPUT,OUTPUT")
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
            if sent is not None and not done and not self.order.batch:
                raise InputError(
                    "a batch was sent for this set and its answers are not fetched yet; add --batch to fetch them, or "
                    "give another --out to pay for them again"
                )
            start, missing = time.monotonic(), self.missing()
            if missing:
                self._check_cost(missing)
                self.note(f"{len(self.rows) - len(missing)} of {len(self.rows)} originals already have their answers")
                self.note(estimate(self.order, self.template, missing))
            try:
                if missing:
                    asyncio.run(self._ask_in_batches() if self.order.batch else self._ask_all(missing))
            finally:
                outcome.write_set(self.folder, self.everything, self.journal.answers())
            return outcome.summary(
                self.order, self.rows, self.journal, self.unanswered, time.monotonic() - start, self.note
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
        if self.order.max_cost is not None and dollars > self.order.max_cost:
            raise InputError(
                f"--max-cost {self.order.max_cost}: {len(missing)} calls would cost about ${dollars:.2f}; raise it, or "
                "ask for fewer with --limit or --categories"
            )

    def keep(self, row: Original, completion: dict, request_id: str | None) -> dict:
        """Appends an answer to the journal, and returns its entry."""
        entry = {
            "id": row.id,
            "attempt": len(self.journal.answers().get(row.id, [])) + 1,
            **entry_of(completion, row.text, request_id),
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        self.journal.append(entry)
        usage = entry["usage"]
        dollars = cost(self.price, usage["prompt_tokens"] or 0, usage["completion_tokens"] or 0)
        self.spent, self.dearest = self.spent + dollars, max(self.dearest, dollars)
        return entry

    async def _ask_all(self, missing: list[Original]) -> None:
        """Asks for all that is missing, `concurrency` originals at a time.

        After an error that every request would meet, at --max-cost, or on Ctrl-C, nothing more is sent, but the
        answers under way are waited for, as they are paid for anyway.
        """
        import openai
        from tqdm import tqdm

        waiting = list(reversed(missing))
        stopped_for_cost = False
        failures = under_way = 0
        largest = max(tokens_in(self.order, self.template, [row]) for row in missing)
        self.dearest = cost(self.price, largest, 2 * TOKENS_ANSWERED)

        async def worker(client, bar) -> None:
            nonlocal failures, under_way, stopped_for_cost
            while waiting and self.stop is None:
                if self._too_dear(self.dearest * (under_way + 1)):
                    stopped_for_cost = True
                    return
                row = waiting.pop()
                under_way += 1
                try:
                    await self._ask(client, row)
                    failures = 0
                except openai.APIStatusError as error:
                    self.stop = self.stop or self._fatal(error)
                    failures += 1
                    self.unanswered[row.id] = openai_api.refusal(error, self.order.model)
                except (openai.APIConnectionError, openai.APIResponseValidationError, ValueError) as error:
                    failures += 1
                    self.unanswered[row.id] = _reason(error)
                finally:
                    under_way -= 1
                if failures >= FAILURES_IN_A_ROW and self.stop is None:
                    self.stop = InputError(
                        f"{openai_api.host()}: {failures} requests in a row failed "
                        f"({self.unanswered[row.id]}); the answers are kept, run again to continue"
                    )
                bar.set_postfix_str("" if self.price is None else f"${self.spent:.2f}")
                bar.update(1)

        with (
            self._interruptible(),
            tqdm(total=len(missing), unit="prompt", disable=not self.show_progress, leave=False) as bar,
        ):
            async with openai_api.async_client(RETRIES, SECONDS_TO_ANSWER) as client:
                await asyncio.gather(*(worker(client, bar) for _ in range(min(self.order.concurrency, len(missing)))))
        if self.stop is not None:
            raise self.stop
        if stopped_for_cost:
            self.note(f"stopped at --max-cost {self.order.max_cost}: ${self.spent:.2f} spent; run again to continue")

    @contextlib.contextmanager
    def _interruptible(self):
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

    def _too_dear(self, reserved: float) -> bool:
        return self.order.max_cost is not None and self.spent + reserved > self.order.max_cost

    async def _ask(self, client, row: Original) -> None:
        """Asks for one original until it has five edits or its attempts are used up."""
        import openai

        given = list(self.journal.answers().get(row.id, []))
        unreadable, timeouts, without_schema = 0, 0, False
        while len(given) < self.order.attempts and not (given and self.stop is not None):
            schema = self.schema and not without_schema
            body = request(self.order, self.template, row, given, schema)
            try:
                raw = await client.chat.completions.with_raw_response.create(**body)
                completion = json.loads(raw.http_response.content)
                if not isinstance(completion, dict) or not completion.keys() & {"choices", "usage"}:
                    raise ValueError("no chat completion")
            except openai.APITimeoutError:
                timeouts += 1
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
            if without_schema:  # the server refused the schema, not this prompt
                self.schema = False
            entry = self.keep(row, completion, raw.headers.get("x-request-id"))
            if entry["problem"] is None:
                return
            given.append(entry)

    async def _ask_in_batches(self) -> None:
        """Asks for all that is missing through the Batch API, and again for what had no five edits."""
        import openai

        by_id = {row.id: row for row in self.everything}  # the batch may hold more than is asked for now
        async with openai_api.async_client(RETRIES, SECONDS_TO_ANSWER) as client:
            try:
                for _ in range(self.order.attempts + 1):
                    batch_id = await batch.open_batch(client, self.journal)
                    if batch_id is None:
                        missing, answers = self.missing(), self.journal.answers()
                        if not missing:
                            return
                        bodies = {
                            row.id: request(self.order, self.template, row, answers.get(row.id, []), self.schema)
                            for row in missing
                        }
                        batch_id = await batch.submit(client, self.journal, bodies)
                        self.note(
                            f"batch {batch_id}: {len(missing)} calls sent; this may take a day, and can be left and "
                            "run again"
                        )
                    await batch.fetch(client, self.journal, batch_id, by_id, self.keep, self.note)
            except openai.APIStatusError as error:
                raise self._fatal(error) or InputError(
                    f"--batch: {openai_api.refusal(error, self.order.model)}"
                ) from None
            except openai.APIConnectionError:
                raise InputError(
                    f"--batch: {openai_api.host()} can't be reached; the batch continues there, run again to fetch it"
                ) from None

    def _fatal(self, error) -> InputError | None:
        """What ends the run, for an error that every request would meet; None for any other."""
        name = f"--gpt-model {self.order.model}"
        if error.status_code in (401, 403, 404) or openai_api.error_code(error) == "insufficient_quota":
            return InputError(f"{name}: {openai_api.refusal(error, self.order.model)}")
        setting = _refused_setting(error)
        if setting:
            value = getattr(self.order, setting)
            return InputError(f"{name}: {openai_api.host()} refuses --{setting} {value:g}; give one that it accepts")
        return None


def _refused_setting(error) -> str | None:
    """The setting of ours that a request was refused for, or None."""
    if error.status_code not in (400, 422):
        return None
    named = re.search(r"['\"`](temperature|seed)['\"`]", error.message)
    return error.param if error.param in ("temperature", "seed") else named and named.group(1)


def _reason(error: Exception) -> str:
    import openai

    if isinstance(error, openai.APITimeoutError):
        return "no answer in time"
    if isinstance(error, openai.APIConnectionError):
        return "no connection"
    return "an answer that is no chat completion"
