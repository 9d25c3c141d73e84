"""What is read of a text, of which the highest score counts: the whole, its sentences, and these without their end."""

import re
from collections.abc import Sequence

import numpy as np

from utils.data.text import has_text

# How a detector reads a text: the whole alone, its sentences too, or these without their last words besides.
READINGS = WHOLE, SENTENCES, ERASED = "whole", "sentences", "erased"
# How many of the last words of a sentence are erased, if LEFT are left. Erase-and-check (Kumar et al. 2023, arXiv
# 2309.02705) erases one to all, which costs as many texts.
LAST, LEFT = (3, 6, 9), 4
# Bytes in UTF-8, in which a letter counts for more where a language needs fewer of them. A sentence of fewer than ALONE
# says too little to be read by itself. One of fewer than JOINED is also read with the next. A longer one than MOST is
# read in pieces, none of which an encoder cuts off.
ALONE, JOINED, MOST = 20, 40, 250
# Line breaks, white space after a full stop and the like (a closing quote or bracket may be between), and the end of a
# Chinese or Japanese sentence, after which there is no white space.
_ENDS = re.compile(r"\n+|(?<=[.!?…])\s+|(?<=[.!?…][\"'”’)\]])\s+|(?<=[。！？])(?![。！？」』”’])|(?<=[。！？][」』”’])")
# What a frame is put around: between quotation marks, as in JSON, and after a label such as "user:" that begins a line.
_FRAMED = re.compile(r'"((?:[^"\\]|\\.)+)"|“([^”]+)”|«([^»]+)»|^[^\S\n]*\w+:[^\S\n]+(.+)$', re.MULTILINE)
_QUOTED = re.compile(r"""\s*["'“‘«](.+)["'”’»]\s*""", re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\/n])')


def sentences(text: str) -> list[str]:
    """The sentences of a text that have a visible character, each without white space around it.

    A sentence ends at a line break, and at `.`, `!`, `?` or `…` before white space; an abbreviation ends one too.
    """
    return [part.strip() for part in _ENDS.split(text) if has_text(part)]


def parts_of(texts: Sequence[str], reading: str) -> tuple[list[str], list[int]]:
    """What is read of texts beside each whole text: the parts, one text after the other, and the text that each is of.

    reading: one of READINGS. A part is a sentence, several short ones, or a piece of a long one, of the text or of what
    is between quotation marks or after a label in it; or such a part without its last words. A text of one short
    sentence has none, unless words are erased.
    """
    if reading == WHOLE:
        return [], []
    found = [(part, i) for i, text in enumerate(texts) for part in _parts(text, reading == ERASED)]
    return [part for part, _ in found], [i for _, i in found]


def _parts(text: str, erased: bool) -> list[str]:
    """The parts of a text, none twice and none the whole text."""
    passages = [text, *_framed(text)]
    found = dict.fromkeys(part for passage in passages for read in _read(passage) for part in _pieces(read))
    if erased:
        found |= dict.fromkeys(part for sentence in list(found) for part in _erased(sentence))
    return [part for part in found if "".join(part.split()) != "".join(text.split())]


def _framed(text: str) -> list[str]:
    """What frames in a text are put around, if it is long enough to be read by itself."""
    found = ("".join(groups).strip() for groups in _FRAMED.findall(text))
    bare = (_ESCAPED.sub(lambda one: "\n" if one[1] == "n" else one[1], passage) for passage in found)
    quoted = _QUOTED.fullmatch(text)
    return [passage for passage in (quoted[1] if quoted else "", *bare) if _size(passage) >= ALONE]


def _read(passage: str) -> list[str]:
    """The sentences of a passage, short ones joined, and those that are long enough by themselves too."""
    joined: list[str] = []
    for sentence in (each := sentences(passage)):
        if joined and _size(joined[-1]) < JOINED:
            joined[-1] += f" {sentence}"
        else:
            joined.append(sentence)
    if len(joined) > 1 and _size(joined[-1]) < JOINED:
        last = joined.pop()
        joined[-1] += f" {last}"
    return [*joined, *(sentence for sentence in each if _size(sentence) >= ALONE)]


def _pieces(sentence: str) -> list[str]:
    """A sentence halved until no piece is longer than MOST, at white space, or anywhere in a word."""
    if _size(sentence) <= MOST:
        return [sentence]
    if len(words := sentence.split()) == 1:
        middle = len(sentence) // 2
        return [*_pieces(sentence[:middle]), *_pieces(sentence[middle:])]
    ends = np.cumsum([_size(word) + 1 for word in words])
    middle = max(1, int(np.searchsorted(ends, ends[-1] / 2)))
    return [piece for half in (words[:middle], words[middle:]) for piece in _pieces(" ".join(half))]


def _erased(sentence: str) -> list[str]:
    """A sentence without its last words."""
    words = sentence.split()
    return [" ".join(words[:-number]) for number in LAST if len(words) - number >= LEFT]


def _size(text: str) -> int:
    return len(text.encode())
