"""The whole content of a bank, looked at once: checksums, and numbers that are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adafocus_rl.errors import UserError
from adafocus_rl.features.arrays import not_finite, verify_checksum
from adafocus_rl.features.bank import FeatureBank
from adafocus_rl.features.specs import CLIPS


def verify_bank(
    bank: FeatureBank, *, paths: Sequence[str] | None = None, progress: Callable[[int, int], None] | None = None
) -> list[int]:
    """Reads every table of a bank, in flat memory.

    Args:
        bank: an opened bank.
        paths: of the index's videos, for the message; None tells their rows alone.
        progress: called with (shards looked at, shards in all).

    Returns:
        The shards that have no checksums, which an earlier version has built.

    Raises:
        UserError: a table is not what was written, or holds a feature that is NaN or infinite; the message names the
            file, and so the table and the shard.
    """
    without = []
    tables = [table for name, table in bank.tables.items() if name != CLIPS]  # which was verified on opening
    for number in range(bank.num_shards):
        for table in tables:
            if number >= table.shards:
                continue
            if "checksums" not in table.marks[number]:
                without.append(number)
            path = table.file(number, table.name)
            verify_checksum(path, table.marks[number])
            row = not_finite(table.array(number))
            if row is not None:
                video = number * table.shard_videos + row
                named = f" ({paths[video]})" if paths is not None else ""
                raise UserError(
                    f"{path} holds features of video {video}{named} that are NaN or infinite, which no encoder of a "
                    "sound run gives; build the bank again with `adafocus features build RUN --overwrite`"
                )
        if progress:
            progress(number + 1, bank.num_shards)
    return [*dict.fromkeys(without)]
