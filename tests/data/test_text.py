"""What can be seen in a text, by Unicode's own properties."""

import random
import time
from unicodedata import category, combining, normalize

import regex

from utils.data.text import MOST_MARKS, composed, has_text, plain

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
    # What is removed does not keep a letter and its mark apart.
    assert plain("e\u034f\u0301") == "é"
    # All else comes out in its NFKC form.
    for letter in {*LETTERS} - hidden:
        assert plain(f"a{letter}b") == normalize("NFKC", f"a{letter}b"), hex(ord(letter))


def test_runs_of_marks_are_bounded_and_those_of_languages_stay():
    marks = [letter for letter in LETTERS if combining(normalize("NFKD", letter)[0]) and letter != "\u034f"]
    assert {"\u0301", "\u0f73", "\uff9e"} < {*marks}
    for mark in marks:  # each is at most two others in NFKD
        assert len(normalize("NFKD", plain("a" + f"{mark}\u0316" * MOST_MARKS))) <= 1 + 2 * MOST_MARKS, hex(ord(mark))
    drawn = random.Random(0)
    for length in (1, 2, 7, MOST_MARKS):
        text = "".join(f"o{''.join(drawn.choices(marks, k=length))}" for _ in range(50))
        assert plain(text) == normalize("NFKC", text)
    start = time.perf_counter()
    for form in (plain, composed):
        form("a" + "\u0301\u0316" * 100_000)  # NFC and NFKC alone take more than a minute
    assert time.perf_counter() - start < 10
