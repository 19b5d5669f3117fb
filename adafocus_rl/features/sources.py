"""The list of what a shard's clips were read from, which lies beside its done mark in a shared store.

It is not part of the done mark, so that equal shards have equal marks on all machines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adafocus_rl.checksums import read_sealed, write_sealed
from adafocus_rl.data.clip_source import ClipSource
from adafocus_rl.errors import UserError

SOURCES = "sources.json"


@dataclass(frozen=True)
class Sources:
    """What the clips of a shard were read from."""

    root: str
    """Folder of the relative paths of the list, without links."""
    clips: Sequence[ClipSource | None]
    """For each video of the shard; None for a video without a clip."""


def write_sources(shard: Path, sources: Sources) -> None:
    """Write the list into the folder of a shard.

    Raises:
        OSError: writing failed, for example because the disk is full.
    """
    clips = [None if clip is None else [clip.here, clip.moved] for clip in sources.clips]
    write_sealed(shard / SOURCES, {"root": sources.root, "sources": clips})


def read_sources(shard: Path, videos: int) -> Sources | None:
    """Read the list of a shard with this number of videos; None if there is none, or it is damaged."""
    try:
        content, intact = read_sealed(shard / SOURCES, "list of sources")
    except UserError:
        return None
    root, sources = content.get("root"), content.get("sources")
    if not intact or not isinstance(root, str) or not isinstance(sources, list) or len(sources) != videos:
        return None
    if not all(source is None or _is_pair(source) for source in sources):
        return None
    return Sources(root, [None if source is None else ClipSource(*source) for source in sources])


def _is_pair(source: Any) -> bool:
    return isinstance(source, list) and [*map(type, source)] == [str, str]
