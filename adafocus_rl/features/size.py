"""Size of a bank on disk, known before it is built."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from adafocus_rl.features.expected import dtype_of, row_shapes
from adafocus_rl.features.manifest import arrays_of
from adafocus_rl.features.specs import CLIPS, DEFAULT_TABLES, TableSpec
from adafocus_rl.models.recognizer import Recognizer


def bytes_per_video(
    recognizer: Recognizer,
    *,
    frames: int,
    classes: int,
    tables: Iterable[TableSpec] = DEFAULT_TABLES,
    eight_bit: Collection[str] = (),
) -> dict[str, int]:
    """Return the bytes of one video in each table, by name; the encoders run on one black frame.

    A bank takes the sum for each video, and besides that a few kilobytes for each shard of each table.

    Args:
        recognizer: f_G and f_L; their weights do not matter.
        frames: T, number of frames of a clip.
        classes: K, number of classes.
        tables: tables besides ``clips``.
        eight_bit: names of the tables that are stored in 8 bits.
    """
    entries = {CLIPS: {"classes": classes}} | {
        name: {"shape": shape, "dtype": dtype_of(name, eight_bit)}
        for name, shape in row_shapes(recognizer, tables).items()
    }
    return {
        name: sum(
            dtype.itemsize * math.prod(shape)
            for dtype, shape in arrays_of({"table": name, "frames": frames, **entry}, 1).values()
        )
        for name, entry in entries.items()
    }
