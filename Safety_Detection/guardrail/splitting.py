"""What is read of a text, of which the highest score counts: the whole, or its sentences too."""

import re
from collections.abc import Sequence

from utils.data.text import has_text

# How a detector reads a text: the whole alone, or its sentences too.
READINGS = WHOLE, SENTENCES = "whole", "sentences"
# Line breaks, white space after a full stop and the like (a closing quote or bracket may be between), and the end of a
# Chinese or Japanese sentence, after which there is no white space.
_ENDS = re.compile(r"\n+|(?<=[.!?…])\s+|(?<=[.!?…][\"'”’)\]])\s+|(?<=[。！？])(?![。！？」』”’])|(?<=[。！？][」』”’])")


def sentences(text: str) -> list[str]:
    """The sentences of a text that have a visible character, each without white space around it.

    A sentence ends at a line break, and at `.`, `!`, `?` or `…` before white space; an abbreviation ends one too.
    """
    return [part.strip() for part in _ENDS.split(text) if has_text(part)]


def parts_of(texts: Sequence[str], reading: str) -> tuple[list[str], list[int]]:
    """What is read of texts beside each whole text: the parts, one text after the other, and the text that each is of.

    reading: one of READINGS. A text of one sentence has no parts.
    """
    if reading == WHOLE:
        return [], []
    found = [
        (part, i) for i, text in enumerate(texts) for part in dict.fromkeys(sentences(text)) if part != text.strip()
    ]
    return [part for part, _ in found], [i for _, i in found]
