"""Texts in, the parts of each out, and what a detector says of a text by its parts."""

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from Safety_Detection.guardrail.guard import Unscored, Verdict
from utils.data.text import has_text

SPLITS = ("sentences", "windows")
# Line breaks, white space after a full stop and the like (a closing quote or bracket may be between), and the end of a
# Chinese or Japanese sentence, after which there is no white space.
_ENDS = re.compile(r"\n+|(?<=[.!?…])\s+|(?<=[.!?…][\"'”’)\]])\s+|(?<=[。！？])(?![。！？」』”’])|(?<=[。！？][」』”’])")


def sentences(text: str) -> list[str]:
    """The sentences of a text that have a visible character, each without white space around it.

    A sentence ends at a line break, and at `.`, `!`, `?` or `…` before white space; an abbreviation ends one too.
    """
    return [part.strip() for part in _ENDS.split(text) if has_text(part)]


def windows(texts: Sequence[str], count: Callable, most: int | None) -> list[list[str]]:
    """The windows of each text, in any order, of `most` tokens at most and about the same length; together all of it.

    count: of texts, their tokens. most: None if there is no limit. A text is cut at white space, one without any
    between characters. A text within the limit is its only window.
    """
    if most is None:
        return [[text] for text in texts]
    found: list[list[str]] = [[] for _ in texts]
    pending = list(enumerate(texts))
    while pending:
        longer = []
        for (i, text), tokens in zip(pending, count([text for _, text in pending]), strict=True):
            if tokens <= most or len(text) == 1:
                found[i].append(text)
            else:
                # A little shorter than the limit, as each window has its own special tokens.
                longer += [(i, part) for part in _pieces(text, math.ceil(tokens / (0.9 * most)))]
        pending = longer
    return found


def _pieces(text: str, number: int) -> list[str]:
    ends = [found.span() for found in re.finditer(r"\S+", text)]
    if len(ends) == 1:
        ends = [(i, i + 1) for i in range(*ends[0])]
    size = math.ceil(len(ends) / max(2, number))
    return [text[ends[i][0] : ends[min(i + size, len(ends)) - 1][1]] for i in range(0, len(ends), size)]


def highest(parts: Sequence[Verdict | Unscored]) -> Verdict | Unscored:
    """What is said of a text by its parts: the highest score, flagged, matched or truncated if any part is.

    A text can't be scored if one of its parts can't be embedded, or if none has a word that the detector knows.
    """
    scored = [part for part in parts if isinstance(part, Verdict)]
    unread = [part for part in parts if isinstance(part, Unscored) and part.detail]
    if unread or not scored:
        return (unread or parts)[0]
    best = max(scored, key=lambda part: part.score)
    return replace(
        best,
        flagged=any(part.flagged for part in scored),
        truncated=any(part.truncated for part in scored),
        matched=next((part.matched for part in (best, *scored) if part.matched is not None), None),
    )


def grouped(items: Sequence, sizes: Sequence[int]) -> list[list]:
    """The items in groups of these sizes, in order."""
    rest = iter(items)
    return [list(itertools.islice(rest, size)) for size in sizes]
