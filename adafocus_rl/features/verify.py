"""Verification of the whole content of tables: checksums, and numbers that are NaN or infinite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from adafocus_rl.errors import UserError
from adafocus_rl.features.arrays import not_finite, verify_checksum
from adafocus_rl.features.parts import WHOLE, Part
from adafocus_rl.features.shards import StoredTable
from adafocus_rl.features.specs import CLIPS


def verify_tables(
    tables: Iterable[StoredTable],
    *,
    paths: Sequence[str] | None = None,
    part: Part = WHOLE,
    progress: Callable[[int, int], None] | None = None,
) -> list[int]:
    """Verify the finished shards of tables, in constant memory.

    Args:
        tables: tables of one set of clips.
        paths: paths of the index's videos, for the message; None names rows only.
        part: verify only this part of each table.
        progress: called with (shards verified, total shards); shards of the same number count as one.

    Returns:
        The numbers of the shards without checksums, which an earlier version has written.

    Raises:
        UserError: a file is not what was written, or contains a feature that is NaN or infinite; the message names
            the file, and thereby the table and the shard.
    """
    shards: dict[int, list[StoredTable]] = {}
    for table in tables:
        own = part.shards(table.shards)
        for number in table.marks:
            if number in own:
                shards.setdefault(number, []).append(table)
    numbers = sorted(shards)
    without = []
    for done, number in enumerate(numbers, start=1):
        for table in shards[number]:
            _verify_shard(table, number, paths)
        if any("checksums" not in table.marks[number] for table in shards[number]):
            without.append(number)
        if progress:
            progress(done, len(numbers))
    return without


def _verify_shard(table: StoredTable, number: int, paths: Sequence[str] | None) -> None:
    for name in table.array_names:
        path = table.file(number, name)
        verify_checksum(path, table.marks[number])
        row = None if table.name == CLIPS else not_finite(table.array(number, name))
        if row is not None:
            video = number * table.shard_videos + row
            named = f" ({paths[video]})" if paths is not None else ""
            raise UserError(
                f"{path} holds features of video {video}{named} that are NaN or infinite, which no encoder of a sound "
                "run gives; build the bank again with `adafocus features build RUN --overwrite`"
            )
