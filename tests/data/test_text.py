"""What can be seen in a text, by Unicode's own properties."""

from unicodedata import category, normalize

import regex

from utils.data.text import has_text, plain

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
