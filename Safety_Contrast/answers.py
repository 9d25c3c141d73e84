"""A chat model's answer to five safe edits, and whether they will do."""

import json
import re

EDITS = 5
# An edit may be so many times as long as its original; the longest in the paper's set is 3.0 times.
LONGEST = 4
_REFUSAL = re.compile(r"(i['’]?m sorry|i am sorry|sorry[,.]|i can(no|['’])?t |i am unable|i['’]?m unable|as an ai )")


def edits_of(content: str) -> list:
    """The items of an answer, whatever they are: JSON, fenced or not, with text before or after it.

    Accepted are an object with keys `prompt_#1`, `prompt_#2`, ... (or a list under a single key, or a list), each item
    a text or an object with `modified_prompt`. Raises ValueError, saying what is wrong, if there is no such JSON.
    """
    fenced = re.search(r"```(?:\w+)?\s*(.*?)```", content, re.DOTALL)
    text = fenced.group(1) if fenced else content
    start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=-1)
    if start < 0:
        raise ValueError("there is no JSON in it")
    try:
        document, _ = json.JSONDecoder(strict=False).raw_decode(text[start:])
    except ValueError:
        raise ValueError("its JSON is broken") from None
    if isinstance(document, dict) and len(document) == 1 and isinstance(next(iter(document.values())), list):
        document = next(iter(document.values()))
    if isinstance(document, dict):
        numbered = {int(m.group(1)): document[key] for key in document if (m := re.fullmatch(r"prompt_#?(\d+)", key))}
        if not numbered:
            raise ValueError("its JSON has no key prompt_#1")
        document = [numbered[number] for number in sorted(numbered)]
    return [item.get("modified_prompt") if isinstance(item, dict) else item for item in document]


def problem_with(edits: list, original: str) -> str | None:
    """What is wrong with an answer's items, in words for the model and for a person, or None if nothing is."""
    if len(edits) != EDITS:
        return f"there are {len(edits)} prompts, {EDITS} are needed"
    for number, edit in enumerate(edits, 1):
        if not isinstance(edit, str) or not edit.strip():
            return f"prompt {number} has no text"
        if normalised(edit) == normalised(original):
            return f"prompt {number} is the original"
        if _REFUSAL.match(normalised(edit)) and not _REFUSAL.match(normalised(original)):
            return f"prompt {number} is a refusal"
        if len(edit) > LONGEST * max(len(original), 20):
            return f"prompt {number} is more than {LONGEST} times as long as the original"
    if len({normalised(edit) for edit in edits}) < EDITS:
        return "two prompts are the same"
    return None


def normalised(text: str) -> str:
    """The text without differences of case and space."""
    return " ".join(text.casefold().split())


def parsed_row(identifier: int | str, category: str, original: str, edits: list[str]) -> dict:
    """A row of contrast_parsed.jsonl."""
    return {
        "id": identifier,
        "category": category,
        "original_prompt": original,
        **{f"prompt_#{number}": edit for number, edit in enumerate(edits, 1)},
    }


def json_lines(rows: list[dict]) -> str:
    """Rows as JSON lines, byte for byte as the paper's files are written."""
    return "".join(json.dumps(row) + "\n" for row in rows)
