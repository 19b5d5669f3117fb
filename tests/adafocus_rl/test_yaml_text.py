"""YAML as plain data: what is read, and every way in which a document is refused."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adafocus_rl.errors import UserError
from adafocus_rl.yaml_text import DEPTH_LIMIT, SIZE_LIMIT, dump_yaml, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("# nothing", None), ("~", None), ("a", "a"), ("3", 3), ("0x10", 16), ("1_000", 1000),
        ("yes", True),
        ("3e-4", 3e-4), ("1E3", 1000.0), (".5", 0.5), ("-.5e1", -5.0), ("5.", 5.0), ("1e5", 1e5), ("'3'", "3"),
        ("2024-01-01", "2024-01-01"), ("2024-01-01 10:00:00", "2024-01-01 10:00:00"), ("=", "="), ("!!str 3", "3"),
        ("!!float 3", 3.0), ("! x", "x"), ("[1, [a], {b: null}]", [1, ["a"], {"b": None}]),
        ("a: &x {p: 1}\nb: *x\nc: [*x, *x]", {"a": {"p": 1}, "b": {"p": 1}, "c": [{"p": 1}, {"p": 1}]}),
        ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}", {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}}),
        ("b: {q: 3, <<: [{q: 1, r: 1}, {r: 2}]}", {"b": {"r": 1, "q": 3}}),
        ("---\na: 1\n...\n", {"a": 1}), ("\ufeffa: 1", {"a": 1}), ("a: |\n  b\n  c\n", {"a": "b\nc\n"}),
    ],
)  # fmt: skip
def test_plain_values(text: str, value: Any) -> None:
    found = parse_yaml(text, "x")
    assert found == value
    assert type(found) is type(value)


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{outer}: &{outer} [{', '.join([f'*{inner}'] * 10)}]\n"
    for inner, outer in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "x is not valid YAML: .*line 1"),
        ("a: b: c", "x is not valid YAML"),
        ("\x07", "x is not valid YAML"),
        ("a: 1\na: 2", r"x has the key 'a' twice \(line 2\)"),
        ("s: {b: {k: 1, k: 1}}", "x has the key 'k' twice"),
        ("1: 2", "x has a key '1', which is no text"),
        ("yes: 2", "x has a key 'yes', which is no text"),
        ("? [a]\n: 2", "x has a key that is a list or a block"),
        ("? {a: 1}\n: 2", "x has a key that is a list or a block"),
        (LAUGHS, "x has more than 20000 values, anchors unfolded"),
        ("&a [*a]", "the anchor 'a' holds itself"),
        ("a: &a {b: *a}", "the anchor 'a' holds itself"),
        ("*a", "x is not valid YAML: there is no anchor 'a'"),
        ("<<: 3", "x has a `<<` that is no block"),
        ("<<: [{a: 1}, 3]", "x has a `<<` that is no block"),
        ("[" * 5000, "x is nested too deeply"),
        ("{a: " * 5000, "x is nested too deeply"),
        ("- " * 5000, "x is nested too deeply"),
        ("".join(f"{' ' * i}a:\n" for i in range(200)), "x is nested too deeply"),
        ("? " * 5000, "x is nested too deeply"),
        ("seed: " + "9" * 5000, "x has a number of 5000 characters"),
        ("seed: 0x" + "f" * 5000, "x has a number of 5002 characters"),
        ("seed: " + ":".join(["1"] * 5000), "x has a number of 9999 characters"),
        ("!!int abc", "x: 'abc' is no int"),
        ("!!int ''", "x: '' is no int"),
        ("0x_", "x: '0x_' is no int"),
        ("!!float abc", "x: 'abc' is no float"),
        ("!!bool perhaps", "x: 'perhaps' is no bool"),
        ("!!timestamp 2024-01-01", "x has the tag !!timestamp"),
        ("!!binary aGk=", "x has the tag !!binary"),
        ("!!set {a, b}", "x has the tag !!set"),
        ("!!omap [a: 1]", "x has the tag !!omap"),
        ("!!pairs [a: 1]", "x has the tag !!pairs"),
        ("!!map 3", "x has the tag !!map"),
        ("!!python/object/apply:os.system [id]", "x has the tag !!python/object/apply:os.system"),
        ("!!python/name:os.system", "x has the tag !!python/name:os.system"),
        ("a: !mine {b: 1}", "x has the tag !mine"),
        ("a: 1\n---\nb: 2", "x is not valid YAML: it holds several documents"),
        ('"\\ud800"', "x holds a character that is no text"),
        ('"\\0"', "x holds a character that is no text"),
        ('{"\\0": 1}', "x holds a character that is no text"),
        ("a" * (SIZE_LIMIT + 1), f"x has {SIZE_LIMIT + 1} characters"),
        (f"[{'a, ' * 30000}]", "x has more than 20000 values"),
        ("%YAML 9.9\n---\na", "x is not valid YAML"),
    ],
    ids=lambda value: value[:20],
)
def test_what_is_refused(text: str, message: str) -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=message) as caught:
        parse_yaml(text, "x")
    assert len(str(caught.value)) < 500
    assert time.monotonic() - start < 20


def test_depth() -> None:
    assert parse_yaml("[" * DEPTH_LIMIT + "]" * DEPTH_LIMIT, "x")
    with pytest.raises(UserError, match="nested too deeply"):
        parse_yaml("[" * (DEPTH_LIMIT + 2) + "]" * (DEPTH_LIMIT + 2), "x")


scalars = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(st.recursive(scalars | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20))
def test_what_was_dumped_is_read_back(value: Any) -> None:
    assert parse_yaml(dump_yaml(value), "x") == value


@pytest.mark.parametrize(
    "text", ["1e3", "2024-01-01", "null", "yes", "0x1", "1:30", "\x85", "\ufeff", "\x1b", "=", "<<", ""]
)
def test_texts_that_look_like_something_else(text: str) -> None:
    assert parse_yaml(dump_yaml([text, {text: text}]), "x") == [text, {text: text}]


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(UserError):
        parse_yaml(text, "x")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for content, message in (
        ("a: 1".encode("utf-16"), "is not a text file"),
        (b"\xff", "is not a text file"),
        (b"a: " + b"1" * SIZE_LIMIT, "more than"),
        (b"a: \x00", "not valid YAML"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_yaml(path, "configuration file")
    path.write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_yaml(path, "configuration file") == {"a": 1}
    for place in (tmp_path, tmp_path / "nowhere.yaml"):
        with pytest.raises(UserError, match=r"no regular file|there is no|cannot be read"):
            read_yaml(place, "configuration file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    raised: list[Exception] = []

    def read() -> None:
        try:
            read_yaml(tmp_path / "pipe.yaml", "configuration file")
        except UserError as error:
            raised.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(20)
    assert raised
