"""Requests sent through the Batch API: as one file, answered within a day at a lower price."""

import asyncio
import json
from collections.abc import Callable, Mapping

from Safety_Contrast.journal import Journal
from Safety_Contrast.order import Original
from utils import openai_api
from utils.schema import InputError

SECONDS_BETWEEN_LOOKS = 30.0


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


async def open_batch(client, journal: Journal) -> str | None:
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


async def submit(client, journal: Journal, bodies: Mapping[str, dict]) -> str:
    """The id of a new batch of the requests `bodies`, each under the id of its original."""
    lines = [
        {"custom_id": identifier, "method": "POST", "url": "/v1/chat/completions", "body": body}
        for identifier, body in bodies.items()
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    uploaded = await client.files.create(file=("contrast.jsonl", content), purpose="batch")
    journal.append({"batch_file": uploaded.id})
    # Never tried again by the client: a second batch would be paid for as well.
    batch = await client.with_options(max_retries=0).batches.create(
        input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    journal.append({"batch": batch.id, "file": uploaded.id})
    return batch.id


async def fetch(
    client,
    journal: Journal,
    batch_id: str,
    rows: Mapping[str, Original],
    keep: Callable[[Original, dict, str | None], object],
    note: Callable[[str], None],
) -> None:
    """Waits for a batch to end, and hands each of its answers that the journal does not have to `keep`.

    rows: the originals by id. keep: called with an original, the completion and the id of the request.
    Raises InputError if the server could not run the batch.
    """
    while True:
        batch = await client.batches.retrieve(batch_id)
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            break
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
    known = {entry["response_id"] for entries in journal.answers().values() for entry in entries} - {None}
    if batch.output_file_id:
        content = (await client.files.content(batch.output_file_id)).content
        for number, line in enumerate(content.splitlines(), 1):
            try:
                item = json.loads(line)
                response = item.get("response") or {}
                completion = response.get("body") or {}
                row, known_already = rows.get(item.get("custom_id")), completion.get("id") in known
            except (ValueError, RecursionError, AttributeError, TypeError):
                note(f"batch {batch_id}: line {number} of its answers can't be read; its prompt is asked for again")
                continue
            if row is not None and response.get("status_code") == 200 and not known_already:
                keep(row, completion, response.get("request_id"))
    journal.append({"batch_done": batch_id, "status": batch.status})
    if batch.status != "completed":
        note(f"batch {batch_id} ended as {batch.status}; its answers are kept")
        if batch.status == "failed":
            raise InputError(
                f"--batch: {openai_api.host()} could not run the batch; see it there, or leave --batch out"
            )
