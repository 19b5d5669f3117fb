"""Parts of a build that independent processes carry out, at the same time or one after another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from adafocus_rl.errors import UserError
from adafocus_rl.features.shards import StoredTable

MOST_PARTS = 4096
"""Largest number of parts."""


@dataclass(frozen=True)
class Part:
    """One of ``of`` parts of every table.

    The parts of a table are disjoint, and together they are the table. Each holds consecutive shards, so that parts of
    tables with different shards contain nearly the same videos, and few videos are decoded by two of them.

    Attributes:
        number: number of this part, from 1.
        of: number of parts.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """Return the part that a user names as ``3/16``.

        Raises:
            UserError: the text is not such a part.
        """
        numbers = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        part = cls(int(numbers[1]), int(numbers[2])) if numbers else cls(0, 0)
        if not 1 <= part.number <= part.of <= MOST_PARTS:
            raise UserError(
                f"the part is {text!r}; give K/N, such as 3/16, with K from 1 to N, and N at most {MOST_PARTS}"
            )
        return part

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def shards(self, count: int) -> range:
        """Return the numbers of this part's shards of a table with ``count`` shards; there may be none."""
        return range(-(-(self.number - 1) * count // self.of), -(-self.number * count // self.of))

    def owner(self, store: str) -> str:
        """Return the name under which this part writes unfinished files, given that of its store's owner."""
        return store if self == WHOLE else f"{store}{store and '_'}{self.number}of{self.of}"


WHOLE = Part(1, 1)
"""The only part of a build by one process."""


def parts_without(tables: Iterable[StoredTable], of: int) -> list[int]:
    """Return the numbers of those of ``of`` parts that lack a shard of some table."""
    tables = tuple(tables)
    return [
        number
        for number in range(1, of + 1)
        if not all(shard in table.marks for table in tables for shard in Part(number, of).shards(table.shards))
    ]


def spans(numbers: Sequence[int]) -> str:
    """Describe ascending numbers, such as 1, 2, 5, 6, 7, as "1, 2 and 5 to 7"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = [text for run in runs for text in ([f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run))]
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
