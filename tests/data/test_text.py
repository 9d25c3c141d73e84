"""What can be seen in a text, by Unicode's own properties, and what is changed of one that is disguised, or is not."""

from unicodedata import category, normalize

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.data.text import CHANGES, has_text, plain, plain_and_changes

LETTERS = [chr(code) for code in range(0x110000) if category(chr(code)) not in ("Cn", "Co", "Cs")]
BLANK = [chr(code) for code in (0x2800, 0x1D159, 0x16FE4, 0x13441, 0x13442)]


def test_all_that_unicode_says_may_be_ignored_shows_nothing():
    pattern = regex.compile(r"\p{Default_Ignorable_Code_Point}")
    ignorable = [letter for letter in map(chr, range(0x110000)) if pattern.match(letter)]
    assert len(ignorable) == 4174  # the sum that DerivedCoreProperties.txt gives
    control = regex.compile(r"[\p{Cc}\p{Cf}]")
    hidden = {*ignorable, *BLANK, *filter(control.match, map(chr, range(0x110000)))} - {*"\n\t\r"}
    for letter in hidden:
        assert plain(f"ma{letter}ke") == "make" and not has_text(letter), hex(ord(letter))
    assert not has_text("\u3164 \u2800\u115f\n") and has_text("\u3164a")
    assert all(map(has_text, "¿漢🙂")) and not any(map(has_text, ("", " \t\n", "\xa0")))
    # What is removed does not keep a letter and its mark apart.
    assert plain("e\u034f\u0301") == "é"
    # All else comes out in its NFKC form, where that is not a word of two scripts, such as the sign of a microsecond.
    mixed = regex.compile(r"\p{Latin}.*[\p{L}--\p{Latin}]|[\p{L}--\p{Latin}].*\p{Latin}", regex.V1)
    letters = sorted({*LETTERS} - hidden - {"\n"})
    for letter, line in zip(letters, plain("\n".join(f"1{letter}2" for letter in letters)).split("\n"), strict=True):
        expected = normalize("NFKC", f"1{letter}2")
        assert line == expected or mixed.search(expected), hex(ord(letter))


HIDDEN, FORMS, SPACED, LOOK_ALIKES = CHANGES


@pytest.mark.parametrize(
    ("text", "expected", "changes"),
    [
        # Cyrillic a, c, e, o, p, k, m, and Greek o; a capital imitates a capital.
        ("m\u0430ke \u0430 \u0441\u0430ke", "make a cake", [LOOK_ALIKES]),
        ("\u0406s it p\u03bfssible", "Is it possible", [LOOK_ALIKES]),
        # The letters after that imitate no Latin one, so that only the word with Latin letters is changed.
        ("\u0430 s\u0430lt \u0441\u043e\u043b\u044c", "\u0430 salt \u0441\u043e\u043b\u044c", [LOOK_ALIKES]),
        ("b r e a d   a n d   2 0   e g g s ?", "bread   and   20   eggs?", [SPACED]),
        ("b r\u00a0e\u2003a d", "bread", [FORMS, SPACED]),
        ("\uff42 \u200br \u0435 a d!", "bread!", [HIDDEN, FORMS, SPACED, LOOK_ALIKES]),
        ("c a f e \u0301", "café", [FORMS, SPACED]),  # the accent is a character of its own
    ],
)
def test_a_disguise_by_hand_and_the_changes_that_undo_it(text, expected, changes):
    assert plain_and_changes(text) == (expected, tuple(changes))
    assert plain_and_changes(expected) == (expected, ())


ORDINARY = {
    "a sentence": "How do I bake bread at home? It's 20–30 “loaves”, naïve café style.",
    "a list": "Which is right: A, B, C or D? Options: A B C",
    "a formula": "Solve x + y = z, with f(x) = a x + b, α < β and σ = 0.",
    "code": "for i in x:\n\tif a [ i ] == b : c = d",
    "Russian": "Как испечь хлеб, а потом и суп?",
    "Greek": "Πώς να ψήσω ψωμί; Το ο",
    "Russian with English": "Как на iPhone и Android, а потом IT-отдел",
    "Turkish": "Nasıl kırmızı ısıtılır?",
    "Vietnamese": "Làm thế nào để nướng bánh mì",
    "Arabic": "كيف أخبز الخبز؟",
    "Korean, in which a word may be a letter": "이 두 개 중 더 큰 것",
    "Chinese with spaces": "我 爱 吃 面 包",
    "Japanese with Latin letters": "TシャツのSサイズは?",
    "Hindi": "रोटी कैसे बनाएं",
}


@pytest.mark.parametrize("text", ORDINARY.values(), ids=ORDINARY)
def test_an_ordinary_text_is_read_as_it_is(text):
    assert plain_and_changes(text) == (text, ())


# Latin letters, those that imitate them or none, marks, fillers, gaps, letters that are composed, other forms.
PIECES = [*"abI1?. \n", " a b c d ", *"аикο\u0301\u200b\u115f사Ａﬁ\u3000ʼﾞ", "\u0344" * 29]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES)).map("".join) | st.text())
def test_what_is_plain_stays_as_it_is(text):
    assert plain_and_changes(plain(text)) == (plain(text), ())
