"""Plain data to typed values: what each annotation takes, and what none of them lets through."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional, Union

import pytest

from adafocus_rl.annotations import describe, is_readable
from adafocus_rl.errors import UserError
from adafocus_rl.options import options_of
from adafocus_rl.plain import build, convert, convert_text, plain

# Written the old way, as other packages do.
OPTIONAL: Any = Optional[int]  # noqa: UP045
UNION: Any = Union[int, list[int]]  # noqa: UP007


class Color(enum.Enum):
    """Two."""

    red = 1
    blue = "b"


@dataclass(frozen=True, kw_only=True)
class Inner:
    number: int = 3
    """A number."""
    pair: tuple[float, float] = (0.0, 1.0)
    """Two."""


@dataclass(frozen=True, kw_only=True)
class Outer:
    needed: str
    inner: Inner = field(default_factory=Inner)
    colors: list[Color] = field(default_factory=list)
    call: Callable[[], None] | None = None


@pytest.mark.parametrize(
    ("value", "hint", "wanted"),
    [
        (3, int, 3), ("3", int, 3), ("0x10", int, 16), (1, float, 1.0), ("1e-3", float, 1e-3), (True, bool, True),
        ("yes", bool, True), ("a", str, "a"), (None, OPTIONAL, None), (3, int | str, 3), ("3", int | str, "3"),
        ("3", int | None, 3), ("b", Literal["a", "b"], "b"), (2, Literal[1, 2], 2), ("red", Color, Color.red),
        ([1, 2.5], list[float], [1.0, 2.5]), ((1, 2), tuple[int, ...], (1, 2)), ([1, 2], tuple[int, float], (1, 2.0)),
        ([1], Sequence[int], [1]), ([1, "a"], list, [1, "a"]), ({"a": 1}, dict[str, float], {"a": 1.0}),
        ({"a": [1]}, Mapping[str, Any], {"a": [1]}), ({"a": 1}, dict, {"a": 1}), ("x/y", Path, Path("x/y")),
        ({"class_path": "os.system"}, Any, {"class_path": "os.system"}), (3, Annotated[int, "any"], 3),
        (3, NewType("Count", int), 3), ({"number": "4"}, Inner, Inner(number=4)), ([3], UNION, [3]),
        ([["a"]], list[list[int]] | list[list[str]], [["a"]]), (None, Callable[[], int] | None, None),
    ],
)  # fmt: skip
def test_what_fits(value: Any, hint: Any, wanted: Any) -> None:
    found = convert(value, hint, "key")
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1.5, int, "key is 1.5; expected a whole number"),
        (True, int, "key is True; expected a whole number"),
        (True, float, "key is True; expected a number"),
        (1, bool, "key is 1; expected true or false"),
        (3, str, "key is 3; expected text"),
        (None, int, "key is null; give a value"),
        (2**63, int, "key is 9223372036854775808; give a whole number between"),
        (2**63, float, "expected a number"),
        (float("nan"), float, "key is nan; give a finite number"),
        (float("inf"), float | None, "key is inf; give a finite number"),
        (".inf", float, "expected a number"),
        ([1.0, float("nan")], list[float], "give finite numbers"),
        ({"a": {"b": float("inf")}}, Any, r"key\.a\.b is inf; give a finite number"),
        ("c", Literal["a", "b"], "key is c; expected one of 'a', 'b'"),
        (True, Literal[1], "key is True"),
        ("green", Color, "expected one of 'red', 'blue'"),
        ("__class__", Color, "expected one of 'red', 'blue'"),
        ([1], tuple[int, int], "expected a list of 2, each a whole number"),
        ({"a": 1}, list[int], "expected a list"),
        ("abc", list[str], "expected a list"),
        ({"numbr": 3}, Inner, r"unknown key 'key\.numbr'; did you mean 'key\.number'"),
        ("/etc/passwd", Inner, "key is /etc/passwd; expected a block"),
        ("a\0", str, "no text"),
        ("\ud800", Path, "no text"),
        ("os.system", Callable[..., Any], "key takes Callable.*which no file and no option can give"),
        ("os.system", type[int], "which no file and no option can give"),
        ("antigravity.x", type, "which no file and no option can give"),
        ({"class_path": "os.system"}, os.PathLike, "which no file and no option can give"),
        ({"class_path": "os.system"}, object, "which no file and no option can give"),
        ("os.system", Callable[[], int] | None, "key is os.system; expected null"),
        ([{"class_path": "os.system"}], list[Callable[[], int]], "which no file and no option can give"),
        ({"a": "os.system"}, dict[str, Callable[[], int]], "which no file and no option can give"),
    ],
)
def test_what_does_not_fit(value: Any, hint: Any, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        convert(value, hint, "key")


@pytest.mark.parametrize(
    ("text", "hint", "wanted"),
    [
        ("3", int, 3), ("010", int, 10), (" 3 ", int, 3), ("3", str, "3"), ("null", str, "null"),
        ("3", str | None, "3"),
        ("null", str | None, None), ("~", str | None, None), ("", str | None, ""), ("[a]", str | None, "[a]"),
        ("a: b: c", str | None, "a: b: c"), ("null", int | None, None), ("none", Literal["none", "all"], "none"),
        ("[1, 2]", list[float], [1.0, 2.0]), ("{a: 1}", dict[str, Any], {"a": 1}), ("off", bool, False),
        ("[1]", str | list[int], [1]), ("a", Any, "a"), ("x y", Path | None, Path("x y")), ("3", int | str, 3),
    ],
)  # fmt: skip
def test_texts_of_a_command_line(text: str, hint: Any, wanted: Any) -> None:
    found = convert_text(text, hint, "key")
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("text", "hint"), [("", int), ("[", list[int]), ("!!int abc", int), ("a: b", float), ("3", list)]
)
def test_texts_that_do_not_fit(text: str, hint: Any) -> None:
    with pytest.raises(UserError, match="key"):
        convert_text(text, hint, "key")


def test_objects_are_built_and_taken_apart() -> None:
    values = {"needed": "x", "inner": {"number": 4, "pair": [1, 2]}, "colors": ["red"], "call": None}
    made = build(Outer, values, "key")
    assert made == Outer(needed="x", inner=Inner(number=4, pair=(1.0, 2.0)), colors=[Color.red])
    assert plain(made) == values
    with pytest.raises(UserError, match="key has no needed"):
        build(Outer, {}, "key")
    with pytest.raises(UserError, match=r"key\.call is os.system; expected null"):
        build(Outer, {"needed": "x", "call": "os.system"}, "key")
    with pytest.raises(TypeError, match="function"):
        plain({"a": [describe]})


class Base:
    def __init__(self, env: Unknown, *, seed: int = 0, share: float = 0.5, kept: int) -> None:  # type: ignore[name-defined]  # noqa: F821
        pass


class Derived(Base):
    def __init__(self, env: Any, *args: int, call: Callable[[], int] = print, free=None, **rest: Any) -> None:  # type: ignore[no-untyped-def, assignment]
        super().__init__(env, **rest)


def test_the_options_of_a_class() -> None:
    options = options_of(Derived, skip=("env", "seed"))
    assert list(options) == ["call", "free", "share", "kept"]
    assert not options["call"].readable
    assert options["free"].hint is Any
    assert options["share"].default == 0.5
    assert not is_readable(options_of(Base)["env"].hint)  # a name for type checkers only
