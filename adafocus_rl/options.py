"""Options of a class: a frozen, keyword-only dataclass that checks its own ranges.

A class that can be selected by name declares its options as ``Options``, a dataclass with a docstring under each field.
An option's name, type, default, meaning and range are defined there and nowhere else.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Sequence
from typing import Any, get_type_hints

from adafocus_rl.annotations import annotation_of, is_readable
from adafocus_rl.errors import UserError

MOST = 1_000_000
"""The largest number of epochs, videos or parts that an option takes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Options of a class without options."""


class OutOfRangeError(UserError):
    """A value outside its option's range.

    The message begins with the name of the option. Options do not know their place in a configuration, so the code that
    reads a configuration adds the rest of the key with ``under``.
    """

    def under(self, key: str) -> OutOfRangeError:
        """Return the same error for options under a dotted key; with an empty key, the message is unchanged."""
        return OutOfRangeError(f"{key}.{self}") if key else self


def require(options: object, name: str, valid: bool, wanted: str) -> None:
    """Check one option.

    Args:
        options: the dataclass.
        name: name of the option.
        valid: whether its value is in range.
        wanted: the range in words: "a number in [0, 1]".

    Raises:
        OutOfRangeError: the value is not valid.
    """
    if not valid:
        raise OutOfRangeError(f"{name} is {getattr(options, name)}; give {wanted}")


def require_range(options: object, *names: str, least: float, most: float = math.inf) -> None:
    """Check the range of numbers, and of the numbers in lists; None is accepted.

    Args:
        options: the dataclass.
        names: names of the options.
        least: the smallest valid number.
        most: the largest valid number; a larger one is a typing error, or exceeds the resources of any machine.

    Raises:
        OutOfRangeError: an option is out of range; the message names the first.
    """
    for name in names:
        value = getattr(options, name)
        for number in value if isinstance(value, list | tuple) else [value]:
            if number is not None:
                # Not ``number < least``: every comparison with NaN is false.
                require(options, name, number >= least, f"at least {least}")
                require(options, name, number <= most, f"at most {most}")


def require_finite(options: Any) -> None:
    """Check that no number of a dataclass is NaN or infinite.

    Raises:
        OutOfRangeError: a number is not finite; the message names the first option.
    """
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        require(options, field.name, not isinstance(value, float) or math.isfinite(value), "a finite number")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
    """One keyword argument of a class."""

    hint: Any
    """Its annotation; ``Any`` if there is none."""

    default: Any = dataclasses.MISSING
    """Its default; ``MISSING`` if the argument is required."""

    @property
    def readable(self) -> bool:
        """Whether plain data can satisfy the annotation."""
        return is_readable(self.hint)


def options_of(kind: type[Any], *, skip: Sequence[str] = ()) -> dict[str, Option]:
    """Return the keyword arguments of a class by name: a dataclass's fields, or the parameters of ``__init__``.

    If ``__init__`` takes ``**kwargs``, the options of the base class are included.

    Args:
        kind: the class.
        skip: names to leave out.
    """
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return {
            field.name: Option(hint=hints[field.name], default=_default(field))
            for field in dataclasses.fields(kind)
            if field.init and field.name not in skip
        }
    found: dict[str, Option] = {}
    for owner in kind.__mro__[:-1]:
        if "__init__" not in vars(owner):
            continue
        init = inspect.unwrap(vars(owner)["__init__"])
        parameters = list(inspect.signature(init).parameters.values())[1:]
        for parameter in parameters:
            named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if named and parameter.name not in skip and parameter.name not in found:
                default = dataclasses.MISSING if parameter.default is parameter.empty else parameter.default
                found[parameter.name] = Option(hint=annotation_of(init, parameter), default=default)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
