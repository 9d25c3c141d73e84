"""When two texts count as the same, and a text without what can't be seen in it."""

import unicodedata


def normalized(text: str) -> str:
    """The text with case folded and each run of white space replaced by one space."""
    return " ".join(text.casefold().split())


def composed(name: str) -> str:
    """A name in Unicode's form NFC: an accented letter is one character or two, by the program that wrote it."""
    return unicodedata.normalize("NFC", name)


def plain(text: str) -> str:
    """The text in Unicode's NFKC form, without format and control characters, except line breaks and tabs.

    Among the characters taken out are zero-width ones, soft hyphens and marks of writing direction; full-width and
    other compatibility forms of letters become the letters. Letters of other alphabets that look alike stay.
    """
    if text.isascii() and text.isprintable():
        return text
    kept = (c for c in unicodedata.normalize("NFKC", text) if c in "\n\t\r" or unicodedata.category(c) not in HIDDEN)
    return "".join(kept)


HIDDEN = ("Cc", "Cf")
