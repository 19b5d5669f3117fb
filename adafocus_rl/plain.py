"""Conversion of plain data from YAML, JSON and command lines to typed values, by annotation.

The annotation alone determines the result. A value is never interpreted as the name of a class, function or module, so
nothing is looked up, imported or called. Annotations that only code could satisfy (functions, classes, arbitrary
objects) accept no value.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from adafocus_rl.annotations import BLOCKS, LISTS, SCALARS, among, describe, is_readable, taken_apart
from adafocus_rl.errors import UserError
from adafocus_rl.options import OutOfRangeError, options_of
from adafocus_rl.suggestions import nearest
from adafocus_rl.yaml_text import check_text, parse_yaml

T = TypeVar("T")

INTEGER_LIMIT = 2**63
"""Bound of the magnitude of integers, as in int64 tensors."""

_DIGITS = re.compile(r"\s*[-+]?[0-9]{1,40}\s*")


def build(kind: type[T], values: Mapping[str, Any], key: str, *, whose: str = "") -> T:
    """Create an object from plain keyword arguments, each converted by its annotation.

    Args:
        kind: the class, for example a dataclass.
        values: plain data by name.
        key: dotted key of the values, for messages: ``data.embedded_options``.
        whose: owner of the options, for messages: ``moving_digits``; empty if there is none.

    Raises:
        UserError: a name is unknown or missing, a type is wrong, or the class refuses a value.
    """
    return made(kind, typed(kind, values, key, whose=whose), key)


def typed(kind: type[Any], values: Mapping[str, Any], key: str, *, whose: str = "") -> dict[str, Any]:
    """Convert plain keyword arguments of a class by their annotations; the arguments are those of ``build``.

    Raises:
        UserError: a name is unknown, or a type is wrong.
    """
    options = options_of(kind)
    arguments = {}
    for name, value in values.items():
        if name not in options:
            raise UserError(unknown(f"{key}.{name}", [f"{key}.{known}" for known in options], whose=whose))
        arguments[name] = convert(value, options[name].hint, f"{key}.{name}")
    return arguments


def made(kind: type[T], arguments: Mapping[str, Any], key: str) -> T:
    """Create an object from typed keyword arguments; errors name the dotted key of the option.

    Raises:
        UserError: an argument is missing, or the class refuses a value.
    """
    for name, option in options_of(kind).items():
        if option.default is dataclasses.MISSING and name not in arguments:
            raise UserError(f"{key} has no {name}; give it")
    try:
        return kind(**arguments)
    except OutOfRangeError as error:
        raise error.under(key) from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{key} cannot be used: {error}") from None


def convert(value: Any, hint: Any, key: str) -> Any:
    """Convert a plain value by an annotation: 1 to 1.0, ``"3"`` to 3, a list to a tuple, a name to an Enum's member.

    Args:
        value: plain data.
        hint: the annotation.
        key: dotted key of the value, for the message.

    Raises:
        UserError: the value does not match the annotation; the message says what is expected.
    """
    if not is_readable(hint):
        raise UserError(f"{key} takes {describe(hint)}, which no file and no option can give; leave it out")
    for lenient in (False, True):
        try:
            return _converted(value, hint, key, lenient=lenient)
        except _DoesNotFitError:
            continue
    if value is None:
        raise UserError(f"{key} is null; give a value, or leave the key out")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{key} is {value}; give a finite number")
    raise UserError(f"{key} is {value}; expected {describe(hint)}")


def convert_text(text: str, hint: Any, key: str) -> Any:
    """Convert a value from a command line by an annotation: parse it as YAML, but keep it if text is expected.

    Raises:
        UserError: as for ``convert``.
    """
    whole, origin, inner = taken_apart(hint)
    parts = inner if origin is Union else (whole,)
    others = [part for part in parts if not among(part, (str, Path))]
    spelled = any(get_origin(part) is Literal and text in get_args(part) for part in parts)
    if spelled or not others or not text.strip():
        return convert(text, hint, key)
    try:
        value = _parsed(text, key)
    except UserError:
        if len(others) == len(parts):
            raise
        return convert(text, hint, key)
    # Where text is accepted, ``null`` still means null, but 12 means the text "12".
    if len(others) < len(parts) and (isinstance(value, str) or not any(_fits(value, part, key) for part in others)):
        value = text
    return convert(value, hint, key)


def plain(value: Any) -> Any:
    """Convert a typed value to plain data: dataclasses to dicts, tuples to lists, Enums to names, paths to text.

    Raises:
        TypeError: a value has another type.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
    if isinstance(value, enum.Enum):
        return value.name
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    raise TypeError(f"{type(value).__name__} is no plain value")


def plain_options(options: Any) -> dict[str, Any]:
    """Convert the options of a dataclass to plain data, leaving out functions and other objects."""
    found = {}
    for name, option in options_of(type(options)).items():
        try:
            value = plain(getattr(options, name))
        except TypeError:
            continue
        if option.readable:
            found[name] = value
    return found


def unknown(key: str, known: Sequence[str], *, whose: str = "", otherwise: str = "") -> str:
    """Return the message for an unknown key, in one sentence.

    Args:
        key: the unknown key.
        known: the existing keys; the closest is suggested.
        whose: owner of the keys; empty if there is none.
        otherwise: advice if no key is close; by default, to choose one of them.
    """
    near = nearest(key, known)
    advice = otherwise or f"choose one of: {', '.join(known) or 'there is none'}"
    return f"unknown key {key!r}{f' of {whose}' if whose else ''}; {f'did you mean {near!r}?' if near else advice}"


class _DoesNotFitError(Exception):
    """The value does not match the annotation."""


def _parsed(text: str, key: str) -> Any:
    """Parse a single value; unlike in YAML, 010 is 10."""
    return int(text) if _DIGITS.fullmatch(text) else parse_yaml(text, key)


def _fits(value: Any, hint: Any, key: str) -> bool:
    try:
        _converted(value, hint, key, lenient=True)
    except (_DoesNotFitError, UserError):
        return False
    return True


def _converted(value: Any, hint: Any, key: str, *, lenient: bool) -> Any:
    """Convert the value if it matches the annotation; ``lenient`` also converts text to numbers."""
    hint, origin, inner = taken_apart(hint)
    if origin is Union:
        return _first(value, [part for part in inner if is_readable(part)], key, lenient=lenient)
    if hint is Any:
        return _plain_data(value, key)
    if origin is Literal:
        return _first_of(value, {choice: choice for choice in inner})
    if among(hint, SCALARS):
        return _scalar(value, hint, key, lenient=lenient)
    if hint is Path:
        return Path(_scalar(value, str, key, lenient=lenient))
    if origin is tuple or among(origin, LISTS):
        return _listed(value, origin, inner, key, lenient=lenient)
    if not isinstance(hint, type) or not issubclass(hint, enum.Enum):
        if not isinstance(value, Mapping):
            raise _DoesNotFitError
        if among(origin, BLOCKS):
            return {name: convert(entry, inner[1], f"{key}.{name}") for name, entry in value.items()}
        return build(hint, value, key)
    return _first_of(value, hint.__members__)


def _first(value: Any, hints: Sequence[Any], key: str, *, lenient: bool) -> Any:
    nearest: UserError | None = None
    for part in hints:
        try:
            return _converted(value, part, key, lenient=lenient)
        except _DoesNotFitError:
            continue
        except UserError as error:
            nearest = nearest or error
    raise nearest or _DoesNotFitError


def _first_of(value: Any, choices: Mapping[Any, Any]) -> Any:
    for name, choice in choices.items():
        # Types are compared too, because True == 1.
        if type(value) is type(name) and value == name:
            return choice
    raise _DoesNotFitError


def _listed(value: Any, origin: Any, inner: Sequence[Any], key: str, *, lenient: bool) -> Any:
    if not isinstance(value, (list, tuple)):
        raise _DoesNotFitError
    if any(isinstance(entry, float) and not math.isfinite(entry) for entry in value):
        raise UserError(f"{key} is {value}; give finite numbers")
    if origin is not tuple:
        return [convert(entry, inner[0], key) for entry in value]
    if len(inner) == 2 and inner[1] is ...:
        return tuple(convert(entry, inner[0], key) for entry in value)
    if len(value) != len(inner):
        raise _DoesNotFitError
    return tuple(convert(entry, part, key) for entry, part in zip(value, inner, strict=True))


def _scalar(value: Any, kind: Any, key: str, *, lenient: bool) -> Any:
    if kind is str and isinstance(value, str):
        return check_text(value, key)
    if lenient and isinstance(value, str) and kind is not str:
        value = _parsed(value, key) if value.strip() else value
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < INTEGER_LIMIT:
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _DoesNotFitError
    if isinstance(value, int) and not abs(value) < INTEGER_LIMIT:
        raise UserError(f"{key} is {value}; give a whole number between −2⁶³ and 2⁶³")
    if isinstance(value, float) and not math.isfinite(value):
        raise _DoesNotFitError
    return value


def _plain_data(value: Any, key: str) -> Any:
    """Copy plain data and check that its numbers are finite."""
    if isinstance(value, Mapping):
        return {name: _plain_data(entry, f"{key}.{name}") for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_data(entry, key) for entry in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return convert(value, kind, key)
    if value is not None:
        raise _DoesNotFitError
    return None
