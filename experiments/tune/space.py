"""The space of a search: keys of the configuration, each with a range of numbers or a list of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.yaml_text import read_yaml


@dataclass(frozen=True, kw_only=True)
class Range:
    """A range of numbers: whole ones if both ends are."""

    key: str
    """Dotted key of the configuration; ``agent.OPTION`` for an option of the agent."""
    low: float
    """Lowest value."""
    high: float
    """Highest value."""
    log: bool = False
    """Whether values are drawn evenly on a logarithmic scale."""

    @property
    def values(self) -> tuple[float, float]:
        """Values with which to check the key."""
        return self.low, self.high

    def holds(self, value: Any) -> bool:
        """Return whether a value is in the space."""
        number = type(value) is int or (type(value) is float and isinstance(self.low, float))
        return number and self.low <= value <= self.high

    def suggest(self, trial: Any) -> float:
        """Return the value of a trial of optuna."""
        whole = isinstance(self.low, int)
        value: float = (trial.suggest_int if whole else trial.suggest_float)(
            self.key, self.low, self.high, log=self.log
        )
        return value


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A list of values without an order."""

    key: str
    """As in ``Range``."""
    values: tuple[Any, ...]
    """Numbers, text, true, false or null."""

    def holds(self, value: Any) -> bool:
        """Return whether a value is in the space."""
        return value in self.values

    def suggest(self, trial: Any) -> Any:
        """Return the value of a trial of optuna."""
        return trial.suggest_categorical(self.key, self.values)


Dimension = Range | Choice


def read_space(path: Path) -> list[Dimension]:
    """Read a space: a YAML mapping of dotted keys to ``{low, high, log}`` or to a list of values.

    Raises:
        UserError: if the file is no such mapping; the message names the key.
    """
    content = read_yaml(path, "space")
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{path} is not a space; give keys with {{low: …, high: …}} or a list of values each")
    return [_dimension(path, str(key), value) for key, value in content.items()]


def _dimension(path: Path, key: str, value: Any) -> Dimension:
    if isinstance(value, Sequence) and not isinstance(value, str):
        plain = all(entry is None or isinstance(entry, (bool, int, float, str)) for entry in value)
        if len(value) < 2 or not plain:
            raise UserError(f"{path}: {key} is {value!r}; give two or more numbers, texts, true, false or null")
        return Choice(key=key, values=tuple(value))
    if not isinstance(value, Mapping) or not {"low", "high"} <= {*value} <= {"low", "high", "log"}:
        raise UserError(f"{path}: {key} is {value!r}; give {{low: …, high: …}}, with `log: true` if wanted, or a list")
    low, high, log = value["low"], value["high"], value.get("log", False)
    numbers = all(type(end) in (int, float) for end in (low, high))
    if not numbers or not low < high or not isinstance(log, bool) or (log and low <= 0):
        raise UserError(f"{path}: {key} has low {low!r}, high {high!r}, log {log!r}; give numbers with low < high")
    if {type(low), type(high)} == {int, float}:
        low, high = float(low), float(high)
    return Range(key=key, low=low, high=high, log=log)
