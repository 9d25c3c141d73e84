"""What a run leaves: the files of the set, and a summary."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from Safety_Contrast.writing.answers import as_written, edits_of, json_lines, parsed_row, usage_of
from Safety_Contrast.writing.journal import Journal
from Safety_Contrast.writing.order import Order, cost, price_of, price_source
from Safety_Contrast.writing.template import Original, Template
from utils import openai_api
from utils.files import shown_path, write_whole
from utils.schema import shown
from utils.tables import markdown_text

ORIGIN, PARSED, FAILED = "contrast_origin.jsonl", "contrast_parsed.jsonl", "contrast_failed.jsonl"
CARD = "contrast_card.md"


def write_set(folder: Path, originals: Sequence[Original], answers: Mapping[str, Sequence[dict]]) -> None:
    """Writes both files of the set, each whole or not at all, in the order of the originals; none without answers.

    answers: the journal's entries for each original, by its id.
    """
    if not answers:
        return
    raw, parsed = [], []
    for row in originals:
        last = answers.get(row.id, [{"problem": "not asked"}])[-1]
        if last["problem"] is None:
            identifier = as_written(row.id)
            raw.append({"id": identifier, "category": row.category, "question": row.text, "contrasts": last["answer"]})
            parsed.append(parsed_row(identifier, row.category, row.text, edits_of(last["answer"])))
    write_whole(folder / ORIGIN, json_lines(raw))
    write_whole(folder / PARSED, json_lines(parsed))


def missing_edits(
    rows: Sequence[Original], answers: Mapping[str, Sequence[dict]], unanswered: Mapping[str, str]
) -> dict[str, str]:
    """Why each original without five edits has none, by its id; `unanswered`: the errors of requests, by id."""
    problems = {
        row.id: answers[row.id][-1]["problem"] if row.id in answers else unanswered.get(row.id, "not asked")
        for row in rows
    }
    return {identifier: problem for identifier, problem in problems.items() if problem is not None}


def summary(
    order: Order,
    template: Template,
    rows: Sequence[Original],
    journal: Journal,
    unanswered: Mapping[str, str],
    seconds: float,
    note: Callable[[str], None],
) -> int:
    """Prints how a run went, and writes contrast_failed.jsonl, or removes it.

    rows: the originals asked for. unanswered: as in missing_edits.
    Returns the exit status: 0 if every original has its edits, else 3.
    """
    folder, missing = journal.path.parent, missing_edits(rows, journal.answers(), unanswered)
    entries = [entry for entry in journal.entries if "answer" in entry]
    new = entries[journal.answers_before :]
    unusable = sum(entry["problem"] is not None for entry in new)
    usages = [usage_of(entry) for entry in entries]
    read = sum(usage["prompt_tokens"] or 0 for usage in usages)
    written = sum(usage["completion_tokens"] or 0 for usage in usages)
    price = price_of(order)
    money = "price unknown" if price is None else f"${cost(price, read, written):.4f} ({price_source(order)})"
    served = sorted({str(entry["model"]) for entry in entries})
    models = ", ".join(map(shown, served)) or "-"
    if len(served) > 1:
        note(f"the answers come from {len(served)} models, as the server reports: {models}")
    print(f"Safety-Contrast set: {len(rows) - len(missing)} of {len(rows)} originals have five edits")
    print(f"  file     {shown_path(folder / PARSED)}")
    write_whole(folder / CARD, _card(order, template, entries, models, len(rows) - len(missing)))
    print(f"  model    {models}, as the server reports")
    print(f"  words    {template.description}")
    print(f"  answers  {len(entries)} ({len(new)} in this run, {unusable} of them unusable)")
    print(f"  tokens   {read} in, {written} out, {money}")
    print(f"  seconds  {seconds:.1f}")
    if not missing:
        (folder / FAILED).unlink(missing_ok=True)
        print(f"next: DATA={shown_path(folder / PARSED)} source scripts/safety_contrast.sh")
        return 0
    failed = [{"id": identifier, "problem": problem} for identifier, problem in missing.items()]
    write_whole(folder / FAILED, json_lines(failed))
    for one in failed[:5]:
        print(f"  missing  id {shown(one['id'])}: {one['problem']}")
    if len(failed) > 5:
        print(f"  missing  {len(failed) - 5} more, in {FAILED}")
    print("  next     the same command asks again; --attempts 5 also replaces answers that are unusable")
    return 3


def _card(order: Order, template: Template, entries: Sequence[dict], models: str, originals: int) -> str:
    """The card of a set, in Markdown: what wrote it, and in whose words it was asked for."""
    times = sorted(entry["time"][:10] for entry in entries) or ["-"]
    lines = {
        "originals with five safe edits": originals,
        "asked for in the words of": f"{template.description}, SHA-256 {template.digest}",
        "model": f"{order.model}; as the server reports: {models}",
        "server": openai_api.host(),
        "temperature": f"{order.temperature:g}",
        "seed": "none" if order.seed is None else order.seed,
        "answers": f"{len(entries)}, {times[0]} to {times[-1]}",
    }
    rows = "".join(f"| {name} | {markdown_text(str(value))} |\n" for name, value in lines.items())
    return f"# A Safety-Contrast set\n\nThe originals are unsafe prompts.\n\n| | |\n|---|---|\n{rows}"
