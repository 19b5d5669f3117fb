"""Options of a class: one frozen, keyword-only dataclass that checks its own ranges.

A class that can be chosen by name keeps its options as ``Options``, a dataclass with a docstring under each field. An
option's name, type, default, meaning and range stand there and nowhere else.
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
    """Options of a class that has none."""


class OutOfRangeError(UserError):
    """A value outside its option's range.

    The message begins with the name of the option. Options do not know where they stand in a configuration: whoever
    reads them from one names the whole key with ``under``.
    """

    def under(self, key: str) -> OutOfRangeError:
        """The same error for options that stand under a dotted key; an empty one leaves it as it is."""
        return OutOfRangeError(f"{key}.{self}") if key else self


def require(options: object, name: str, valid: bool, wanted: str) -> None:
    """Check one option.

    Args:
        options: the dataclass.
        name: of the option.
        valid: whether its value is in range.
        wanted: the range, in words: "a number in [0, 1]".

    Raises:
        OutOfRangeError: it is not valid.
    """
    if not valid:
        raise OutOfRangeError(f"{name} is {getattr(options, name)}; give {wanted}")


def require_range(options: object, *names: str, least: float, most: float = math.inf) -> None:
    """Check numbers, and the numbers in lists; None passes.

    Args:
        options: the dataclass.
        names: of the options.
        least: the smallest number that they take.
        most: the largest one; more is a slip of the keyboard, or more than any machine has.

    Raises:
        OutOfRangeError: naming the first one out of range.
    """
    for name in names:
        value = getattr(options, name)
        for number in value if isinstance(value, list) else [value]:
            if number is not None:
                # Not `number < least`: NaN is below nothing and above nothing.
                require(options, name, number >= least, f"at least {least}")
                require(options, name, number <= most, f"at most {most}")


def require_finite(options: Any) -> None:
    """Check that no number of a dataclass is NaN or infinite.

    Raises:
        OutOfRangeError: naming the first one.
    """
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        require(options, field.name, not isinstance(value, float) or math.isfinite(value), "a finite number")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
    """One keyword of a class."""

    hint: Any
    """Its annotation; ``Any`` where there is none."""

    default: Any = dataclasses.MISSING
    """The value when it is left out; ``MISSING`` when it must be given."""

    @property
    def readable(self) -> bool:
        """Whether plain data can satisfy the annotation."""
        return is_readable(self.hint)


def options_of(kind: type[Any], *, skip: Sequence[str] = ()) -> dict[str, Option]:
    """The keywords of a class, by name: a dataclass's fields, or what its ``__init__`` takes.

    Where that takes ``**kwargs``, the options of the class above are its own, too.

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
