"""A chat model's answer: the five safe edits in it, and what is wrong with them."""

import json
import re

from utils.data.text import normalized

EDITS = 5
# An edit may be at most this many times as long as its original; the longest in the paper's set is 3.0 times.
LONGEST = 4
_OPENING = re.compile(r"[{\[]")
_KEY = re.compile(r"prompt_#?(\d{1,3})")
_THINKING = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
# Beginnings of refusals: those by which GCG (arXiv 2307.15043) counts them, their forms with "can't", "won't" and
# "unable", and what often stands before them. What a person may say of themselves, as in "I can't sleep", is none.
_APOLOGY = r"i('m| am)( \w+)? sorry|i apologi[sz]e|(my )?apologies|sorry[,.!;]|sorry (but )?(i|we|this|that)\b"
_UNABLE = (
    r"(i|we) ?(\w+ly )?(can ?not|can't|could not|couldn't|won't|will not|shouldn't|should not|(am|'m|are|'re) "
    r"(unable|not able|not going) to)( \w+ly| in good conscience)?"
)
_TASK = (
    r"(help|assist|provide|answer|create|write|generate|support|discuss|engage|offer|produce|modify|rewrite|respond|"
    r"participate|edit|suggest|recommend|fulfill?|promote|encourage|describe|spread|give you)"
)
_REQUESTED = (
    r"\b(this|that|these|those|such|so|you|your|requests?|prompts?|content|information|questions?|harmful|illegal|"
    r"unethical|inappropriate|explicit|advice|instructions|guidance|assistance)\b"
)
_REFUSAL = re.compile(
    r"((unfortunately|regrettably|i('m| am) afraid|no|however|thanks?( you)?)\b[^.,!]{0,20}[,.!]? ?(but )?)?"
    rf"({_APOLOGY}|{_UNABLE} ({_TASK}([.!]?$|[.!] |[^.,;:?!]{{0,40}}{_REQUESTED})|do (this|that|so)([.,!;]|$)"
    r"|[^.,;:?!]{0,40}\b(this|that|your|such) (requests?|prompts?)\b|comply|condone|facilitate|endorse)"
    r"|(i|we)( \w+ly)?( must| have to)?( \w+ly)? (decline|refuse)([.,!]|$| (this|that|your|to (answer|help|assist)))"
    r"|i('m| am)( just| only)? (an ai( language model| assistant| model)?( and| so| that|,|\.|$)|a language model)"
    r"|i('m| am) not (programmed|designed|comfortable|allowed|permitted) |i (do not|don't) feel comfortable "
    r"|as an ai\b|as an artificial intelligence|as a (large )?language model|as an assistant,"
    r"|(it|this|that)( is|'s) (not (appropriate|ethical|acceptable)|inappropriate|unethical)\b"
    r"|(this|that|the|your)( original)? (request|prompt) (is|can|cannot|violates|goes|promotes|contains|asks|was)\b)"
)
# Words in the place of an edit, such as "modified prompt 1", "[safe version]" or "n/a".
_PLACEHOLDER = re.compile(
    r"\W*(((my|your|the|an?|first|second|third|fourth|fifth)[ _])?"
    r"((modified|edited|rewritten|revised|safer?|harmless|new|alternative|sample|example)[ _-])?"
    r"(prompt|edit|version|question|text|placeholder)s?( here)?[ _]?(number |no\. ?)?\W*"
    r"(\d+|[a-e]|one|two|three|four|five)?|n/?a|none|null|refused|declined|redacted|removed|withheld|todo|tbd)\W*"
)
_WORD = re.compile(r"\w{3,}")


def edits_of(content: str) -> list:
    """The items of the JSON in an answer, whatever text, thinking or fences surround it.

    The JSON is an object with keys `prompt_#1`, `prompt_#2`, ... (or a list, or an object with a list under its only
    key), and each item is a text or an object with one, as `modified_prompt`, `prompt` or `text`. If there are several,
    the last object with EDITS items is taken, or else the last list with as many, or else the last object, or else the
    last list.
    Raises ValueError, which says what is wrong, if there is no such JSON.
    """
    text = _THINKING.sub(" ", content)
    before, tag, after = text.rpartition("</think>")
    try:
        return _edits_in(after)
    except ValueError:
        if not tag:
            raise
        return _edits_in(before)


def _edits_in(text: str) -> list:
    found: list = []
    problem = "there is no JSON in it"
    at = _OPENING.search(text)
    while at is not None:
        end = at.end()
        try:
            document, length = json.JSONDecoder(strict=False).raw_decode(text[at.start() :])
        except RecursionError:
            problem = "its JSON is nested too deeply"
            break
        except ValueError:
            problem = "its JSON is broken" if problem == "there is no JSON in it" else problem
        else:
            items = _items(document)
            if items is None:
                problem = "its JSON has no key prompt_#1"
            else:
                # Five items rank above any other number, an object above a list, a later one above an earlier one.
                found.append(((len(items) == EDITS, isinstance(document, dict), len(found)), items))
                end = at.start() + length
        at = _OPENING.search(text, end)
    if not found:
        raise ValueError(problem)
    return max(found)[1]


def _items(document: dict | list) -> list | None:
    """The edits in a JSON value, None if it holds none."""
    if isinstance(document, dict) and len(document) == 1 and isinstance(next(iter(document.values())), list):
        document = next(iter(document.values()))
    if isinstance(document, dict):
        numbered = {int(m.group(1)): document[key] for key in document if (m := _KEY.fullmatch(key))}
        return [_edit_in(numbered[number]) for number in sorted(numbered)] or None
    items = [_edit_in(item) for item in document]
    return items if any(isinstance(item, str) for item in items) else None


def _edit_in(item: object) -> object:
    """The text of an item that is an object, None if it is not clear which; any other item as it is."""
    if not isinstance(item, dict):
        return item
    for key in ("modified_prompt", "prompt", "text"):
        if key in item:
            return item[key]
    texts = [value for value in item.values() if isinstance(value, str)]
    return texts[0] if len(texts) == 1 else None


def problem_with(edits: list, original: str) -> str | None:
    """What is wrong with the items of an answer, in words for the model and for a person, or None."""
    if len(edits) != EDITS:
        return f"there are {len(edits)} prompts, {EDITS} are needed"
    for number, edit in enumerate(edits, 1):
        if not isinstance(edit, str) or not edit.strip():
            return f"prompt {number} has no text"
        if edit.encode(errors="replace").decode() != edit:
            return f"prompt {number} holds half a character"
        if normalized(edit) == normalized(original):
            return f"prompt {number} is the original"
        if _REFUSAL.match(_plain(edit)) and not _REFUSAL.match(_plain(original)):
            return f"prompt {number} is a refusal"
        if _PLACEHOLDER.fullmatch(_plain(edit)):
            return f"prompt {number} is only a placeholder"
        if len(edit) > LONGEST * max(len(original), 20):
            return f"prompt {number} is more than {LONGEST} times as long as the original"
    if len({normalized(edit) for edit in edits}) < EDITS:
        return "two prompts are the same"
    if _have_nothing_of(original, edits):
        return "the prompts begin alike and share no word with the original"
    return None


def _have_nothing_of(original: str, edits: list[str]) -> bool:
    """Whether five texts are rather refusals or placeholders of one form than edits: in the paper's set no five are."""
    openings = {_plain(edit).split()[0] for edit in edits}
    words = set(_WORD.findall(_plain(original)))
    return (
        len(openings) == 1
        and openings != {*_plain(original).split()[:1]}
        and not any(words & set(_WORD.findall(_plain(edit))) for edit in edits)
    )


def _plain(text: str) -> str:
    """The text normalized, with straight apostrophes."""
    return normalized(text).replace("\u2019", "'").replace("\u2018", "'").replace("\u02bc", "'")


def parsed_row(identifier: int | str, category: str, original: str, edits: list[str]) -> dict:
    """The row of contrast_parsed.jsonl for an original and its edits."""
    return {
        "id": identifier,
        "category": category,
        "original_prompt": original,
        **{f"prompt_#{number}": edit for number, edit in enumerate(edits, 1)},
    }


def as_written(identifier: str) -> int | str:
    """An id as the paper's files have it: a number if its text is that of one, so that `007` and `²` stay texts."""
    return int(identifier) if re.fullmatch("0|[1-9][0-9]{0,17}", identifier) else identifier


def json_lines(rows: list[dict]) -> str:
    """The rows as JSON lines, byte for byte as in the paper's files."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def entry_of(completion: dict, original: str, request_id: str | None) -> dict:
    """What the journal keeps of a chat completion, whatever its shape.

    Returns `problem` (None if the answer has five edits of `original` that will do), `answer` (its text), `refusal`,
    `finish_reason`, `model` (as the server reports it), `response_id`, `request_id` and `usage` (see usage_of).
    """
    choice = _first(completion.get("choices"))
    message = _fields(choice.get("message"))
    content = _text_of(message.get("content")) or _text_of(_arguments(message))
    problem: str | None
    if message.get("refusal"):
        problem = "it is a refusal"
    elif choice.get("finish_reason") == "content_filter":
        problem = "the server's filter stopped it"
    else:
        try:
            problem = problem_with(edits_of(content), original)
        except ValueError as error:
            cut = choice.get("finish_reason") == "length"
            problem = "it was cut off before its end" if cut else str(error)
    return {
        "problem": problem,
        "answer": content,
        "refusal": _text(message.get("refusal")),
        "finish_reason": _text(choice.get("finish_reason")),
        "model": _text(completion.get("model")),
        "response_id": _text(completion.get("id")),
        "request_id": _text(request_id),
        "usage": usage_of(completion),
    }


def usage_of(completion: dict) -> dict[str, int | None]:
    """How many tokens the server read and wrote, as it reports them; None where it reports no number."""
    usage = _fields(completion.get("usage"))
    return {key: _whole(usage.get(key)) for key in ("prompt_tokens", "completion_tokens")}


def _fields(value: object) -> dict:
    return value if isinstance(value, dict) else {}


def _first(values: object) -> dict:
    return _fields(values[0]) if isinstance(values, list) and values else {}


def _arguments(message: dict) -> object:
    """What a message calls its first tool with: some servers answer so when they are asked for a schema."""
    function = _first(message.get("tool_calls")).get("function") or message.get("function_call")
    return _fields(function).get("arguments")


def _whole(value: object) -> int | None:
    try:
        number = int(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None
    return number if number is not None and 0 <= number < 2**53 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _text_of(content: object) -> str:
    """The text of a message: its content, or the parts of it that are text and not thinking."""
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict) and str(part.get("type", "text")).endswith("text")]
        content = "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    # The next request may quote the answer, and half a character can't be written into a request.
    return content.encode(errors="replace").decode() if isinstance(content, str) else ""
