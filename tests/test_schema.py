"""What a message may show of a person's data."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import cli
from utils.schema import InputError, one_line, printable, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hate Speech (über 50 %)", "Hate Speech (über 50 %)"),
        ("仇恨言论", "仇恨言论"),
        ("a" * 80, "a" * 80),
        ("a" * 81, "a" * 79 + "…"),
        ("\x1b[31mred\x07\nline\u2028", "\\x1b[31mred\\x07\\nline\\u2028"),
        # Text that a terminal would show from right to left, and half of a character.
        ("\u202egnp.exe \ud83d", "\\u202egnp.exe \\ud83d"),
        # 78 letters and an escape of 4 characters are 82: 79 of them and the dots.
        ("a" * 78 + "\x1b", "a" * 78 + "\\…"),
        (None, "None"),
    ],
)
def test_what_is_shown(text, expected):
    assert shown(text) == expected


@given(st.text(), st.integers(1, 30))
def test_it_is_one_line_that_a_terminal_does_not_act_on(text, limit):
    line = shown(text, limit)
    assert len(line) <= limit and len(line.splitlines()) <= 1
    assert not [c for c in line if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def test_an_error_is_one_line_that_a_terminal_does_not_act_on(capsys):
    def work():
        raise InputError("--model \x1b]0;owned\x07" + "x" * 1_000_000 + "; name one of these")

    assert cli.run(work) == 2
    line = capsys.readouterr().err
    # Of the name, which begins with 14 characters of escapes and "0", 79 characters and dots are left.
    assert line.startswith("error: --model \\x1b]0;") and line.endswith("xxx…; name one of these\n")
    assert len(line) < 200


def test_of_a_message_that_is_too_long_both_ends_are_left():
    line = one_line("wrong\n" + "word " * 1000 + "; right")
    # 250 characters of either end, and " ... " between.
    assert len(line) == 505 and line.startswith("wrong word word ") and line.endswith(" word ; right")
    assert one_line("x/" * 100) == "x/" * 100, "a path of common length is left whole"


def test_printable_text_keeps_its_lines():
    assert printable("a\x1b[1m\n\tb\n") == "a\\x1b[1m\n\\tb\n"
