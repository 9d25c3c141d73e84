"""Requests sent through the Batch API: as one file, answered within a day at a lower price."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from Safety_Contrast.writing.journal import Journal
from Safety_Contrast.writing.template import Original
from utils import openai_api
from utils.schema import InputError

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI
    from openai.types import Batch

SECONDS_BETWEEN_LOOKS = 30.0
EXPIRED = "batch_expired"  # the code of a request that a batch had no time for


def last_batch(journal: Journal) -> tuple[str | None, str | None, bool]:
    """The file that was last sent as a batch, the batch's id if it came, and whether its answers were fetched."""
    sent, batch_id, done = None, None, False
    for entry in journal.entries:
        if "batch_file" in entry:
            sent, batch_id, done = entry["batch_file"], None, False
        elif "batch" in entry:
            batch_id = entry["batch"]
        elif "batch_done" in entry:
            done = True
    return sent, batch_id, done


async def open_batch(client: "AsyncOpenAI", journal: Journal) -> str | None:
    """The id of the batch that was sent and not yet fetched, or None; an id that never came is looked up."""
    sent, batch_id, done = last_batch(journal)
    if sent is None or done:
        return None
    if batch_id is None:
        async for batch in client.batches.list():
            if batch.input_file_id == sent:
                journal.append({"batch": batch.id, "file": sent})
                return batch.id
    return batch_id


async def submit(client: "AsyncOpenAI", journal: Journal, bodies: Mapping[str, dict]) -> str:
    """The id of a new batch of the requests `bodies`, each under the id of its original."""
    lines = [
        {"custom_id": identifier, "method": "POST", "url": "/v1/chat/completions", "body": body}
        for identifier, body in bodies.items()
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    uploaded = await client.files.create(file=("contrast.jsonl", content), purpose="batch")
    journal.append({"batch_file": uploaded.id})
    import openai

    try:
        # Never tried again by the client: a second batch would be paid for as well.
        batch = await client.with_options(max_retries=0).batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    except openai.APIStatusError as error:
        if error.status_code < 500:  # there is no batch to look for later
            journal.append({"batch_done": None, "status": "refused"})
        raise
    journal.append({"batch": batch.id, "file": uploaded.id})
    return batch.id


async def fetch(
    client: "AsyncOpenAI",
    journal: Journal,
    batch_id: str,
    rows: Mapping[str, Original],
    keep: Callable[[Original, dict, str | None], object],
    note: Callable[[str], None],
) -> dict[str, str]:
    """Waits for a batch to end, and hands each of its answers that the journal does not have to `keep`.

    rows: the originals by id. keep: called with an original, the completion and the id of the request.
    Returns why the server refused the requests that it did, by the ids of their originals.
    Raises InputError if the server could not run the batch, or if nothing would change if it were sent again.
    """
    while True:
        batch = await client.batches.retrieve(batch_id)
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            break
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
    known = {entry["response_id"] for entries in journal.answers().values() for entry in entries} - {None}
    answered, sent, refused = 0, 0, {}
    for file in filter(None, (batch.output_file_id, batch.error_file_id)):
        for number, line in enumerate((await client.files.content(file)).content.splitlines(), 1):
            try:
                item = json.loads(line)
                response = item.get("response") or {}
                completion = response.get("body") or {}
                row, known_already = rows.get(item.get("custom_id")), completion.get("id") in known
                problem = _problem(item, response, completion)
            except (ValueError, RecursionError, AttributeError, TypeError):
                note(f"batch {batch_id}: line {number} of its answers can't be read; its prompt is asked for again")
                continue
            sent += 1
            if row is None or problem == EXPIRED:
                continue
            if problem is not None:
                refused[row.id] = problem
                continue
            answered += 1
            if not known_already:
                keep(row, completion, response.get("request_id"))
    journal.append({"batch_done": batch_id, "status": batch.status})
    came = f"{answered} of its answers came and are kept" if answered else "without an answer"
    if batch.status == "failed":
        raise InputError(
            f"--batch: {openai_api.host()} could not run batch {batch_id} ({_reasons(batch)}); see it there, or leave "
            "--batch out"
        )
    if batch.status == "cancelled":
        raise InputError(f"--batch: batch {batch_id} was cancelled, {came}; run again to send the rest")
    if not answered and not refused:
        raise InputError(f"--batch: batch {batch_id} ended as {batch.status}, {came}; run again to send it again")
    if batch.status != "completed":
        note(f"batch {batch_id} ended as {batch.status}, {came}; the rest is sent again")
    return refused


def _problem(item: dict, response: dict, body: dict) -> str | None:
    """Why a request of a batch was not answered, in the server's codes; None if it was."""
    error = item.get("error") or body.get("error") or {}
    code, status = openai_api.code_in(error.get("code")), response.get("status_code")
    if code == EXPIRED or (status == 200 and not error):
        return code if code == EXPIRED else None
    told = ", ".join(part for part in (f"status {status}" if isinstance(status, int) else None, code) if part)
    return f"{openai_api.host()} refused a request ({told or 'it gives no reason'})"


def _reasons(batch: "Batch") -> str:
    """Why a server could not run a batch, in its codes; its own words may quote a prompt."""
    errors = getattr(getattr(batch, "errors", None), "data", None) or []
    told = [
        f"{openai_api.code_in(getattr(error, 'code', None)) or 'no code'}"
        f"{f', line {error.line}' if isinstance(getattr(error, 'line', None), int) else ''}"
        for error in errors
    ]
    return "; ".join(dict.fromkeys(told[:3])) or "it gives no reason"


def refusal(error: "APIStatusError", batch_id: str | None) -> InputError | None:
    """What the lack of a Batch API, or of the batch that was sent, means; None for any other error."""
    if error.status_code not in (404, 405, 501):
        return None
    told = f"--batch: {openai_api.host()} has no"
    if batch_id is None:
        return InputError(f"{told} Batch API (status {error.status_code}); leave --batch out")
    return InputError(
        f"{told} batch {batch_id}, or not for this key; give the key that sent it, or a different --out to pay again"
    )
