"""The list of what a shard's clips were read from, which lies beside its done mark in a shared store.

It is not part of the done mark, so that equal shards have equal marks on all machines.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adafocus_rl.checksums import read_sealed, write_sealed
from adafocus_rl.errors import UserError

SOURCES = "sources.json"


def write_sources(shard: Path, sources: Sequence[str | None]) -> None:
    """Write the list into the folder of a shard.

    Args:
        shard: the folder.
        sources: ``clip_source`` of each video of the shard; None for a video without a clip.

    Raises:
        OSError: writing failed, for example because the disk is full.
    """
    write_sealed(shard / SOURCES, {"sources": [*sources]})


def read_sources(shard: Path, videos: int) -> list[str | None]:
    """Read the list of a shard with this number of videos; empty if there is none, or it is damaged."""
    try:
        content, intact = read_sealed(shard / SOURCES, "list of sources")
    except UserError:
        return []
    sources = content.get("sources")
    if not intact or not isinstance(sources, list) or len(sources) != videos:
        return []
    return sources if all(source is None or isinstance(source, str) for source in sources) else []
