"""What can be seen in a text, and when two texts count as the same."""

import re
import unicodedata

# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt, 17.0), which unicodedata lacks; control and other
# format characters, save line breaks and tabs; and characters that are blank by their names: those of braille, of a
# musical note, of Khitan and of Egyptian.
_SHOWS_NOTHING = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\ufff9-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001343f\u2800\U0001d159\U00016fe4\U00013441\U00013442]"
)
# The categories of white space, control characters, halves of a character and combining marks.
_INVISIBLE = {"Cc", "Cs", "Zs", "Zl", "Zp", "Mn"}
# Marks of half-width Japanese, which are letters, and combining marks in NFKC.
_HALF_WIDTH_MARKS = "\uff9e\uff9f"
# NFC and NFKC take the square of a run of marks. No language has so many (Stream-Safe Text Format, Unicode Annex 15).
MOST_MARKS = 30
_MAYBE_MARKS = re.compile(f"[\u0300-\U0010ffff]{{{MOST_MARKS + 1}}}")  # Latin letters come before all marks


def normalized(text: str) -> str:
    """The text with case folded and each run of white space replaced by one space."""
    return " ".join(text.casefold().split())


def composed(name: str) -> str:
    """A name in Unicode's form NFC: an accented letter is one character or two, by the program that wrote it."""
    return unicodedata.normalize("NFC", _with_few_marks(name))


def plain(text: str) -> str:
    """The text in Unicode's NFKC form, without characters that show nothing, except line breaks and tabs.

    These are control and format characters, all that Unicode says may be ignored when a text is shown (zero-width
    characters, soft hyphens, marks of writing direction, fillers of Hangul, selectors of variants) and blank letters.
    So an emoji that is joined of several becomes those, and a Persian or Indic word loses its joiners: a detector reads
    all texts like this, those that it is fitted on too. Full-width and other compatibility forms of letters become the
    letters. Of more than MOST_MARKS combining marks in a row the rest is left out. Letters of other alphabets that look
    alike stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return unicodedata.normalize("NFKC", _with_few_marks(_SHOWS_NOTHING.sub("", text)))


def _with_few_marks(text: str) -> str:
    """The text without the rest of each run of more than MOST_MARKS combining marks."""
    if not _MAYBE_MARKS.search(text):
        return text
    kept, marks = [], 0
    for letter in text:
        marks = marks + 1 if unicodedata.category(letter)[0] == "M" or letter in _HALF_WIDTH_MARKS else 0
        if marks <= MOST_MARKS:
            kept.append(letter)
    return "".join(kept)


def has_text(text: str) -> bool:
    """Whether a text has a visible character. White space, what `plain` removes and combining marks are not visible."""
    return any(unicodedata.category(letter) not in _INVISIBLE and not _SHOWS_NOTHING.match(letter) for letter in text)


def text_fault(value: object) -> str:
    """Why a value is not a text that can be embedded; '' if it is."""
    if not isinstance(value, str):
        return f"is not a text ({type(value).__name__})"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "holds half a character"
    return "" if has_text(value) else "has no text"
