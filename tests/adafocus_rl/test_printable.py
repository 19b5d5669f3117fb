"""Nothing hidden reaches a terminal, and nothing that is read is changed."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adafocus_rl.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("clips/juggling 01.mp4", "clips/juggling 01.mp4"),
        ("ein Café, 猫, кошка, گربه‌ها, 👩‍👧, λ × π′", "ein Café, 猫, кошка, گربه‌ها, 👩‍👧, λ × π′"),
        (r"C:\videos\new.mp4", r"C:\videos\new.mp4"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x9b31mred", r"\x9b31mred"),
        ("a\nb\rc\td\x00\x07\x7f", r"a\nb\rc\td\x00\x07\x7f"),
        ("gpj\u202e.mp4", r"gpj\u202e.mp4"),
        ("one\u2028two\ufeff", r"one\u2028two\ufeff"),
        ("no \udcff text", r"no \udcff text"),
        ("tag \U000e0041", r"tag \U000e0041"),
    ],
)
def test_examples(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


@given(st.text(st.characters(exclude_categories=())), st.integers(10, 50))
def test_whatever_it_is(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert {unicodedata.category(letter) for letter in shown} & {"Cc", "Cs", "Zl", "Zp"} == set()
    shown.encode("utf-8")


def test_the_middle_is_left_out() -> None:
    assert printable("begin" + "x" * 3_000_000 + "end", 20) == "beginxxxxxxx … xxend"
    assert printable("x" * 1000) == "x" * 1000
    assert printable("x" * 5000, None) == "x" * 5000
    assert len(printable("\x1b" * 3_000_000)) == 1000
