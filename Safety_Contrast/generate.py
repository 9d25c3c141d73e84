"""Asks a chat model for five safe edits of each original, paying once for each answer."""

import asyncio
import contextlib
import hashlib
import json
import math
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from Safety_Contrast.answers import EDITS, edits_of, json_lines, parsed_row, problem_with
from Safety_Contrast.journal import Journal
from utils import config, files, openai_api
from utils.data import catalogue, loading, sources
from utils.data.reading import read_columns
from utils.files import write_whole
from utils.schema import InputError, shown

TEMPLATE_FILE = Path(__file__).with_name("template.yaml")
PRICES_FILE = Path(__file__).with_name("prices.yaml")
# Tokens that an answer has if it is like the paper's, which have 535 characters on average.
TOKENS_ANSWERED = 150
# After so many requests in a row that came to nothing, each tried again as often as RETRIES says, a run gives up.
FAILURES_IN_A_ROW = 20
RETRIES = 8
SECONDS_TO_ANSWER = 90.0
TIMEOUTS = 3  # requests for one original that are not answered in time
SECONDS_BETWEEN_LOOKS = 30.0  # at a batch
# Chat models without structured output; whatever else refuses it is asked without from then on.
WITHOUT_SCHEMA = ("gpt-4o-2024-05-13", "gpt-4-", "gpt-3.5-")
_ITEM = {
    "type": "object",
    "properties": {"modified_prompt": {"type": "string"}},
    "required": ["modified_prompt"],
    "additionalProperties": False,
}
_KEYS = [f"prompt_#{number}" for number in range(1, EDITS + 1)]
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "five_prompts",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": dict.fromkeys(_KEYS, _ITEM),
            "required": _KEYS,
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True)
class Original:
    """An unsafe prompt: its id and category as the data file has them, the category's short name, and its text."""

    id: str
    category: str
    shown: str
    text: str


@dataclass(frozen=True)
class Order:
    """What to ask for, and how."""

    model: str
    temperature: float
    seed: int
    concurrency: int
    attempts: int
    max_cost: float | None
    price: tuple[float, float] | None
    out: Path | None
    batch: bool = False


class Template:
    """The words of a request, from template.yaml."""

    def __init__(self) -> None:
        import yaml

        content = TEMPLATE_FILE.read_bytes()
        self.digest = hashlib.sha256(content).hexdigest()
        self._words = yaml.safe_load(content)

    def messages(self, original: Original, before: Sequence[dict]) -> list[dict]:
        """The conversation that asks for an original's edits; `before`: its answers so far, with what was wrong."""
        words = self._words
        known = words["explanations"].get(original.shown, f"it falls under {original.shown}")
        user = words["user"].format(category=original.shown, explanation=known, prompt=original.text)
        messages = [{"role": "system", "content": words["system"]}, {"role": "user", "content": user}]
        for entry in before[-1:]:
            messages += [
                {"role": "assistant", "content": entry["answer"] or "(nothing)"},
                {"role": "user", "content": words["again"].format(problem=entry["problem"])},
            ]
        return messages


def originals(data: str) -> tuple[list[Original], sources.Found]:
    """The prompts to ask for, in order: Do-Not-Answer (`auto`, `paper`), the sample, or a file; as they stand there."""
    fmt = catalogue.TAXONOMY_FORMAT
    dataset, found = loading.load(fmt, "paper" if data == "auto" else data)
    columns = read_columns(found.path, fmt.columns, fmt.readme)
    cells = zip(columns["id"], columns[fmt.group_column], dataset.groups, columns["question"], strict=True)
    return [Original(*row) for row in cells], found


def chosen(rows: Sequence[Original], categories: Sequence[str], limit: int | None) -> list[Original]:
    """Those of the categories named, short or long (all if none is), and of those the first `limit`.

    Raises InputError for a category that no row has.
    """
    known = {name for row in rows for name in (row.category, row.shown)}
    for name in categories:
        if name not in known:
            raise InputError(
                f"--categories {name}: no such category (there are: {', '.join(dict.fromkeys(r.shown for r in rows))})"
            )
    return [row for row in rows if not categories or {row.category, row.shown} & set(categories)][:limit]


def order_settings(order: Order, template: Template, found: sources.Found) -> dict:
    """What answers of one set have in common."""
    return {
        "model": order.model,
        "server": openai_api.host(),
        "temperature": order.temperature,
        "seed": order.seed,
        "template": template.digest,
        "originals": found.sha256,
    }


def folder_of(order: Order, settings: dict) -> Path:
    """Where a set goes: --out, else a folder of Safety_Contrast/data named for the model and a digest of `settings`."""
    if order.out is not None:
        return order.out
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:6]
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in order.model)
    return config.ROOT / "Safety_Contrast" / "data" / f"{name}-{digest}"


def prices(order: Order) -> tuple[float, float] | None:
    """Dollars for a million tokens in and out, None where unknown."""
    import yaml

    listed = yaml.safe_load(PRICES_FILE.read_text(encoding="utf-8"))
    price = order.price or listed["models"].get(order.model)
    if price is None:
        return None
    share = listed["batch"] if order.batch and order.price is None else 1.0
    return price[0] * share, price[1] * share


def request(order: Order, template: Template, original: Original, before: Sequence[dict], schema: bool) -> dict:
    """The body of a request for an original."""
    body = {
        "model": order.model,
        "messages": template.messages(original, before),
        "temperature": order.temperature,
        "seed": order.seed,
    }
    return body | {"response_format": SCHEMA} if schema else body


def tokens_in(bodies: Sequence[dict]) -> int:
    """About how many tokens the requests have: four bytes each, which English text rather stays below."""
    return sum(math.ceil(len(m["content"].encode()) / 4) + 4 for body in bodies for m in body["messages"])


class Run:
    """One set in the making.

    rows: the originals to ask for. everything: all that the set may hold, in order. note: called with each sentence a
    person should read.
    """

    def __init__(
        self,
        order: Order,
        rows: Sequence[Original],
        everything: Sequence[Original],
        found: sources.Found,
        note: Callable[[str], None],
        show_progress: bool = False,
    ) -> None:
        self.order, self.rows, self.everything, self.note = order, rows, everything, note
        self.show_progress = show_progress
        self.template = Template()
        self.settings = order_settings(order, self.template, found)
        self.folder = folder_of(order, self.settings)
        self.price = prices(order)
        self.schema = not order.model.startswith(WITHOUT_SCHEMA)
        self.unanswered: dict[str, str] = {}
        self.spent = self.dearest = 0.0
        self.retries = 0

    # --- before

    def preview(self) -> str:
        """The first request as it would be sent, and what all of them come to."""
        first = request(self.order, self.template, self.rows[0], [], self.schema)
        return f"POST {openai_api.host()}/chat/completions\n{json.dumps(first, indent=1)}\n\n{self.estimate(self.rows)}"

    def estimate(self, rows: Sequence[Original]) -> str:
        """How many calls, tokens and dollars it takes to ask for `rows` once each."""
        tokens = tokens_in([request(self.order, self.template, row, [], False) for row in rows])
        cost = self.estimated_cost(rows)
        money = "price unknown (give --price INPUT,OUTPUT)" if cost is None else f"about ${cost:.2f}"
        written = len(rows) * TOKENS_ANSWERED
        return f"{len(rows)} calls of {self.order.model}: about {tokens} tokens in, {written} out, {money}"

    def estimated_cost(self, rows: Sequence[Original]) -> float | None:
        """Dollars for asking for `rows` once each, None where the price is unknown."""
        if self.price is None:
            return None
        tokens = tokens_in([request(self.order, self.template, row, [], False) for row in rows])
        return self.cost(tokens, len(rows) * TOKENS_ANSWERED)

    def cost(self, tokens_read: int, tokens_written: int) -> float:
        """Dollars for so many tokens; 0 where the price is unknown."""
        return 0.0 if self.price is None else (tokens_read * self.price[0] + tokens_written * self.price[1]) / 1e6

    # --- the run

    def go(self) -> int:
        """Asks for what is missing, writes the set, and says how it went. Returns the exit status."""
        if self.order.max_cost is not None and self.price is None:
            raise InputError(f"--max-cost: the price of {self.order.model} is unknown; give --price INPUT,OUTPUT")
        journal = self.folder / "contrast_answers.jsonl"
        for name in ("contrast_parsed.jsonl", "contrast_origin.jsonl"):
            if not journal.exists() and (self.folder / name).exists():
                raise InputError(
                    f"--out {files.shown_path(self.folder)}: has a {name} that no run of this program made; give "
                    "another folder"
                )
        self.journal = Journal(journal, self.settings)
        try:
            if self.journal.repaired:
                self.note("the last answer was half-written, and paid for if it had come; its line was dropped")
            sent, _, done = self._last_batch()
            if sent is not None and not done and not self.order.batch:
                raise InputError(
                    "a batch was sent for this set and its answers are not fetched yet; add --batch to fetch them, or "
                    "give another --out to pay anew"
                )
            start, kept = time.monotonic(), self.journal.answers()
            self.before = sum(map(len, kept.values()))
            missing = self.missing()
            if missing:
                cost = self.estimated_cost(missing)
                if self.order.max_cost is not None and cost > self.order.max_cost:
                    raise InputError(
                        f"--max-cost {self.order.max_cost}: {len(missing)} calls would cost about ${cost:.2f}; "
                        "raise it, or ask for fewer with --limit or --categories"
                    )
                self.note(f"{len(self.rows) - len(missing)} of {len(self.rows)} originals are answered already")
                self.note(self.estimate(missing))
                try:
                    asyncio.run(self._batches(missing) if self.order.batch else self._ask_all(missing))
                finally:
                    self.write()
            else:
                self.write()
            return self.summary(time.monotonic() - start)
        finally:
            self.journal.close()

    def missing(self) -> list[Original]:
        """Originals without an answer that will do, and with attempts left."""
        answers = self.journal.answers()
        return [
            row
            for row in self.rows
            if not (given := answers.get(row.id, []))
            or (given[-1]["problem"] is not None and len(given) < self.order.attempts)
        ]

    def keep(self, row: Original, completion: dict, request_id: str | None) -> dict:
        """Appends an answer to the journal, and returns its entry."""
        choice = _first_choice(completion)
        message = choice.get("message") if isinstance(choice.get("message"), dict) else {}
        usage = _usage(completion)
        content = _text_of(message.get("content"))
        if message.get("refusal"):
            problem = "it is a refusal"
        elif choice.get("finish_reason") == "content_filter":
            problem = "the server's filter stopped it"
        else:
            try:
                problem = problem_with(edits_of(content), row.text)
            except ValueError as error:
                cut = choice.get("finish_reason") == "length"
                problem = "it was cut off before its end" if cut else str(error)
        entry = {
            "id": row.id,
            "attempt": len(self.journal.answers().get(row.id, [])) + 1,
            "problem": problem,
            "answer": content,
            "refusal": _text(message.get("refusal")),
            "finish_reason": _text(choice.get("finish_reason")),
            "model": _text(completion.get("model")),
            "response_id": _text(completion.get("id")),
            "request_id": _text(request_id),
            "usage": usage,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        self.journal.append(entry)
        cost = self.cost(usage["prompt_tokens"] or 0, usage["completion_tokens"] or 0)
        self.spent, self.dearest = self.spent + cost, max(self.dearest, cost)
        return entry

    async def _ask_all(self, missing: list[Original]) -> None:
        """Asks for all that is missing, so many at a time.

        After an error that all would meet, at --max-cost, or on Ctrl-C, nothing more is sent, but what is under way is
        waited for: it will be paid for.
        """
        import openai
        from tqdm import tqdm

        waiting = list(reversed(missing))
        self.stop: BaseException | None = None
        self.stopped_for_cost = False
        failures = under_way = 0
        largest = max(tokens_in([request(self.order, self.template, row, [], False)]) for row in missing)
        self.dearest = self.cost(largest, 2 * TOKENS_ANSWERED)

        async def worker(client, bar) -> None:
            nonlocal failures, under_way
            while waiting and self.stop is None:
                if self._too_dear(self.dearest * (under_way + 1)):
                    self.stopped_for_cost = True
                    return
                row = waiting.pop()
                under_way += 1
                try:
                    await self._ask(client, row)
                    failures = 0
                except openai.APIStatusError as error:
                    self.stop = self.stop or self._fatal(error)
                    failures += 1
                    self.unanswered[row.id] = openai_api.refusal(error, self.order.model, RETRIES)
                except (openai.APIConnectionError, openai.APIResponseValidationError, ValueError) as error:
                    failures += 1
                    self.unanswered[row.id] = _reason(error)
                finally:
                    under_way -= 1
                if failures >= FAILURES_IN_A_ROW and self.stop is None:
                    self.stop = InputError(
                        f"{openai_api.host()}: {failures} requests in a row came to nothing "
                        f"({self.unanswered[row.id]}); answers are kept, run again to go on"
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
        if self.stopped_for_cost:
            self.note(f"stopped at --max-cost {self.order.max_cost}: ${self.spent:.2f} spent; run again to go on")

    @contextlib.contextmanager
    def _interruptible(self):
        """Ctrl-C ends a run after the requests under way; a second one ends it at once."""
        loop = asyncio.get_running_loop()

        def interrupted() -> None:
            self.note("interrupted; waiting for the answers under way (Ctrl-C again to lose them)")
            self.stop = self.stop or KeyboardInterrupt()
            loop.remove_signal_handler(signal.SIGINT)

        try:
            loop.add_signal_handler(signal.SIGINT, interrupted)
        except (NotImplementedError, ValueError):  # Windows, or not in the main thread
            yield
            return
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    def _too_dear(self, reserved: float) -> bool:
        return self.order.max_cost is not None and self.spent + reserved > self.order.max_cost

    async def _ask(self, client, row: Original) -> None:
        """Asks for one original until an answer will do or its attempts are used up."""
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
                if not schema or self._refused_setting(error):
                    raise
                without_schema = True
                continue
            except (ValueError, RecursionError):
                unreadable += 1
                if unreadable >= self.order.attempts:
                    raise ValueError("no chat completion") from None
                continue
            if without_schema:  # it was the schema that the server refused, not this prompt
                self.schema = False
            entry = self.keep(row, completion, raw.headers.get("x-request-id"))
            if entry["problem"] is None:
                return
            self.retries += 1
            given.append(entry)

    def _fatal(self, error) -> InputError | None:
        """The end of a run for an error that every request would meet, None for others."""
        name = f"--gpt-model {self.order.model}"
        if error.status_code in (401, 403, 404) or openai_api.error_code(error) == "insufficient_quota":
            return InputError(f"{name}: {openai_api.refusal(error, self.order.model, RETRIES)}")
        setting = self._refused_setting(error)
        if setting:
            value = getattr(self.order, setting)
            return InputError(f"{name}: {openai_api.host()} refuses --{setting} {value:g}; give the one that it takes")
        return None

    @staticmethod
    def _refused_setting(error) -> str | None:
        """The setting of ours that a request was refused for, if any."""
        if error.status_code not in (400, 422):
            return None
        named = re.search(r"['\"`](temperature|seed)['\"`]", error.message)
        return error.param if error.param in ("temperature", "seed") else named and named.group(1)

    # --- the Batch API

    async def _batches(self, missing: list[Original]) -> None:
        import openai

        by_id = {row.id: row for row in self.everything}  # a batch may have been sent for more than is asked for now
        async with openai_api.async_client(RETRIES, SECONDS_TO_ANSWER) as client:
            try:
                for _ in range(self.order.attempts + 1):
                    batch_id = await self._open_batch(client)
                    if batch_id is None:
                        missing = self.missing()
                        if not missing:
                            return
                        batch_id = await self._submit(client, missing)
                    await self._finish(client, batch_id, by_id)
            except openai.APIStatusError as error:
                raise self._fatal(error) or InputError(
                    f"--batch: {openai_api.refusal(error, self.order.model, RETRIES)}"
                ) from None
            except openai.APIConnectionError:
                raise InputError(
                    f"--batch: {openai_api.host()} can't be reached; the batch goes on there, run again to fetch it"
                ) from None

    async def _open_batch(self, client) -> str | None:
        """The batch that was sent and not yet fetched, if any; where its id never came, it is looked up."""
        sent, batch_id, done = self._last_batch()
        if sent is None or done:
            return None
        if batch_id is None:
            async for batch in client.batches.list():
                if batch.input_file_id == sent:
                    self.journal.append({"batch": batch.id, "file": sent})
                    return batch.id
        return batch_id

    def _last_batch(self) -> tuple[str | None, str | None, bool]:
        """The file that was last sent as a batch, the batch's id if it came, and whether its answers were fetched."""
        sent, batch_id, done = None, None, False
        for entry in self.journal.entries:
            if "batch_file" in entry:
                sent, batch_id, done = entry["batch_file"], None, False
            elif "batch" in entry:
                batch_id = entry["batch"]
            elif "batch_done" in entry:
                done = True
        return sent, batch_id, done

    async def _submit(self, client, missing: list[Original]) -> str:
        answers = self.journal.answers()
        lines = [
            {
                "custom_id": row.id,
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": request(self.order, self.template, row, answers.get(row.id, []), self.schema),
            }
            for row in missing
        ]
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        uploaded = await client.files.create(file=("contrast.jsonl", content), purpose="batch")
        self.journal.append({"batch_file": uploaded.id})
        batch = await client.with_options(max_retries=0).batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        self.journal.append({"batch": batch.id, "file": uploaded.id})
        self.note(f"batch {batch.id}: {len(missing)} calls sent; this may take a day, and can be left and run again")
        return batch.id

    async def _finish(self, client, batch_id: str, by_id: dict[str, Original]) -> None:
        """Waits for a batch and keeps what it gave, each answer once."""
        while True:
            batch = await client.batches.retrieve(batch_id)
            if batch.status in ("completed", "failed", "expired", "cancelled"):
                break
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        known = {entry["response_id"] for entries in self.journal.answers().values() for entry in entries} - {None}
        if batch.output_file_id:
            content = (await client.files.content(batch.output_file_id)).content
            for number, line in enumerate(content.splitlines(), 1):
                try:
                    item = json.loads(line)
                    response = item.get("response") or {}
                    completion = response.get("body") or {}
                    row, known_already = by_id.get(item.get("custom_id")), completion.get("id") in known
                except (ValueError, RecursionError, AttributeError, TypeError):
                    self.note(f"batch {batch_id}: line {number} of its answers can't be read; it is asked for again")
                    continue
                if row is None or response.get("status_code") != 200 or known_already:
                    continue
                entry = self.keep(row, completion, response.get("request_id"))
                self.retries += entry["problem"] is not None
        self.journal.append({"batch_done": batch_id, "status": batch.status})
        if batch.status != "completed":
            self.note(f"batch {batch_id} ended as {batch.status}; what it gave is kept")
            if batch.status == "failed":
                raise InputError(
                    f"--batch: {openai_api.host()} could not run the batch; see it there, or leave --batch out"
                )

    # --- after

    def write(self) -> None:
        """Writes both files of the set from the journal, each whole or not at all, in the order of the originals."""
        answers = self.journal.answers()
        raw, parsed = [], []
        for row in self.everything:
            last = answers.get(row.id, [{"problem": "not asked"}])[-1]
            if last["problem"] is None:
                identifier = int(row.id) if row.id.isdigit() else row.id
                raw.append(
                    {"id": identifier, "category": row.category, "question": row.text, "contrasts": last["answer"]}
                )
                parsed.append(parsed_row(identifier, row.category, row.text, edits_of(last["answer"])))
        if not answers:
            return
        write_whole(self.folder / "contrast_origin.jsonl", json_lines(raw))
        write_whole(self.folder / "contrast_parsed.jsonl", json_lines(parsed))

    def summary(self, seconds: float) -> int:
        """Prints how it went; 0 if every original asked for has its edits, else 3."""
        answers = self.journal.answers()
        asked = [row for row in self.rows if row.id in answers]
        good = sum(answers[row.id][-1]["problem"] is None for row in asked)
        entries = [entry for given in answers.values() for entry in given]
        usages = [_usage(entry) for entry in entries]
        read = sum(usage["prompt_tokens"] or 0 for usage in usages)
        written = sum(usage["completion_tokens"] or 0 for usage in usages)
        money = "price unknown" if self.price is None else f"${self.cost(read, written):.4f} ({self._as_of()})"
        served = sorted({str(entry["model"]) for entry in entries})
        models = ", ".join(map(shown, served)) or "-"
        if len(served) > 1:
            self.note(f"the answers are of {len(served)} models, as the server says: {models}")
        print(f"Safety-Contrast set: {good} of {len(self.rows)} originals have five edits")
        print(f"  file     {files.shown_path(self.folder / 'contrast_parsed.jsonl')}")
        print(f"  model    {models}, as the server says")
        print(f"  answers  {len(entries)} ({len(entries) - self.before} in this run, {self.retries} of them no good)")
        print(f"  tokens   {read} in, {written} out, {money}")
        print(f"  seconds  {seconds:.1f}")
        lacking = [
            (row.id, answers[row.id][-1]["problem"] if row.id in answers else self.unanswered.get(row.id, "not asked"))
            for row in self.rows
            if row.id not in answers or answers[row.id][-1]["problem"] is not None
        ]
        if lacking:
            write_whole(
                self.folder / "contrast_failed.jsonl",
                json_lines([{"id": identifier, "problem": problem} for identifier, problem in lacking]),
            )
            for identifier, problem in lacking[:5]:
                print(f"  missing  id {identifier}: {problem}")
            if len(lacking) > 5:
                print(f"  missing  {len(lacking) - 5} more, in contrast_failed.jsonl")
            print("  next     the same command asks again; --attempts 5 also for answers that were no good")
            return 3
        (self.folder / "contrast_failed.jsonl").unlink(missing_ok=True)
        print(f"next: DATA={files.shown_path(self.folder / 'contrast_parsed.jsonl')} source scripts/safety_contrast.sh")
        return 0

    def _as_of(self) -> str:
        import yaml

        if self.order.price is not None:
            return "at the price given"
        return f"at the prices of {yaml.safe_load(PRICES_FILE.read_text(encoding='utf-8'))['as_of']}"


def _first_choice(completion: dict) -> dict:
    choices = completion.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def _usage(completion: dict) -> dict[str, int | None]:
    """How many tokens the server says it read and wrote, None where it says no number."""
    usage = completion.get("usage") if isinstance(completion.get("usage"), dict) else {}
    return {key: _whole(usage.get(key)) for key in ("prompt_tokens", "completion_tokens")}


def _whole(value: object) -> int | None:
    try:
        number = int(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None
    return number if number is not None and 0 <= number < 2**53 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _text_of(content: object) -> str:
    """The text of a message: its content, or the parts of it that are text and no thinking."""
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict) and str(part.get("type", "text")).endswith("text")]
        content = "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    # An answer is asked about again in the next request, which half a character can't be written into.
    return content.encode(errors="replace").decode() if isinstance(content, str) else ""


def _reason(error: Exception) -> str:
    import openai

    if isinstance(error, openai.APITimeoutError):
        return "no answer in time"
    if isinstance(error, openai.APIConnectionError):
        return "no connection"
    return "an answer that is no chat completion"
