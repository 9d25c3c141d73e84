"""What can be seen in a text, and when two texts count as the same."""

import functools
import re
import unicodedata
from collections.abc import Callable

# The version of what `plain` does, which a detector keeps. A release of disarm that imitates other letters is another.
NORMALIZING = 2
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
# Scripts in which a letter may be a word: Chinese, Japanese and Korean.
_SYLLABLES = "\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7ff\U00020000-\U0003ffff"
# Four single letters in a row are of words that are spelled out.
_SPELLED = re.compile(rf"(?<!\w)[^\W\d_{_SYLLABLES}](?: +[^\W\d_{_SYLLABLES}]){{3}}(?!\w)")
# The space between two single letters or digits, or two single characters.
_BETWEEN_SPELLED = re.compile(
    rf"(?<=(?<!\w)[^\W_{_SYLLABLES}]) (?=[^\W_{_SYLLABLES}](?!\w))"
    rf"|(?<=(?<!\S)[^\s{_SYLLABLES}]) (?=[^\s{_SYLLABLES}](?!\S))"
)
# Letters and their marks: all but white space, the punctuation of ASCII, and the blocks of punctuation.
_WORD = re.compile("[^\\s!-/:-@\\[-`{-~\u2000-\u206f\u3000-\u303f]+")


def normalized(text: str) -> str:
    """The text with case folded and each run of white space replaced by one space."""
    return " ".join(text.casefold().split())


def composed(name: str) -> str:
    """A name in Unicode's form NFC: an accented letter is one character or two, by the program that wrote it."""
    return unicodedata.normalize("NFC", _with_few_marks(name))


def plain(text: str) -> str:
    """The text as a detector reads it: `plain_and_changes` without what that changed."""
    return plain_and_changes(text)[0]


def plain_and_changes(text: str) -> tuple[str, tuple[str, ...]]:
    """A text as a detector reads it, in which little is disguised, and the names of the CHANGES that this took.

    hidden characters: without those that show nothing, except line breaks and tabs. They are control and format
    characters, all that Unicode says may be ignored when a text is shown (zero-width characters, soft hyphens, marks of
    writing direction, fillers of Hangul, selectors of variants), blank letters, and of more than MOST_MARKS combining
    marks in a row the rest. So an emoji that is joined of several becomes those, and a Persian or Indic word loses its
    joiners.
    compatibility forms: Unicode's NFKC, in which full-width and other forms of letters are the letters.
    spaced letters: those of words that are spelled out are joined. look-alike letters: letters of other scripts that
    imitate Latin ones become those, see `_latin`. A text that this gives is left as it is.
    """
    changes: set[str] = set()
    if text.isascii() and text.isprintable() and not _SPELLED.search(text):
        return text, ()
    before = ""
    while text != before:  # what one change gives may need another: joined letters may be composed
        before = text
        for name, change in CHANGES.items():
            changed = change(text)
            if changed != text:
                changes.add(name)
            text = changed
    return text, tuple(name for name in CHANGES if name in changes)


def _without_hidden(text: str) -> str:
    return _with_few_marks(_SHOWS_NOTHING.sub("", text))


def _joined(text: str) -> str:
    """The text with the letters of words that are spelled out joined. A wider gap, between two words, stays."""
    return _BETWEEN_SPELLED.sub("", text) if _SPELLED.search(text) else text


def _latin(text: str) -> str:
    """The text with Latin letters in place of those of other scripts that imitate them.

    Only in a text with a word that has both. If the text has letters of other scripts that imitate none, it may be of
    two languages, and only such words are changed; else every word is.
    """
    imitated = {letter: _imitated(letter) for letter in set(text) if letter.isalpha()}
    latin = {letter for letter, other in imitated.items() if other is None}
    table = str.maketrans({letter: other for letter, other in imitated.items() if other})

    def is_mixed(word: str) -> bool:
        return not latin.isdisjoint(word) and word != word.translate(table)

    if not table or not any(map(is_mixed, _WORD.findall(text))):
        return text
    if "" not in imitated.values():
        return text.translate(table)
    return _WORD.sub(lambda word: word[0].translate(table) if is_mixed(word[0]) else word[0], text)


@functools.cache
def _imitated(letter: str) -> str | None:
    """The Latin letter, or several, that a letter of another script looks like; '' if none, None if it is of no other.

    By Unicode's confusables (Technical Standard 39) as disarm extends them, for which case counts.
    """
    if letter.isascii() or unicodedata.name(letter, "LATIN").startswith("LATIN"):
        return None
    import disarm

    latin = disarm.normalize_confusables(letter)
    return latin if latin.isascii() and latin.isalpha() else ""


# In this order: what shows nothing keeps letters apart, and a letter is in one form before it is compared.
CHANGES: dict[str, Callable[[str], str]] = {
    "hidden characters": _without_hidden,
    "compatibility forms": functools.partial(unicodedata.normalize, "NFKC"),
    "spaced letters": _joined,
    "look-alike letters": _latin,
}


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
