"""The whole content of a bank, looked at once: checksums, and numbers that are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adafocus_rl.errors import UserError
from adafocus_rl.features.bank import FeatureBank
from adafocus_rl.features.shards import shard_folder
from adafocus_rl.features.tables import not_finite, verify_checksum


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
        UserError: a table is not what was written, or holds a feature that is NaN or infinite.
    """
    without = []
    for number, mark in bank.marks.items():
        if "checksums" not in mark:
            without.append(number)
        for name in bank.manifest["tables"]:
            path = shard_folder(bank.folder, number) / f"{name}.npy"
            verify_checksum(path, mark)
            row = not_finite(bank.shard_table(number, name))
            if row is not None:
                video = number * int(bank.manifest["shard_videos"]) + row
                named = f" ({paths[video]})" if paths is not None else ""
                raise UserError(
                    f"{path} holds features of video {video}{named} that are NaN or infinite, which no encoder of a "
                    "sound run gives; build the bank again with `adafocus features build RUN --overwrite`"
                )
        if progress:
            progress(number + 1, len(bank.marks))
    return without
