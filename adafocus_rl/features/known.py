"""Rows that tables of other lists in a shared store contain, such as those of another fold of a cross-validation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.clip_source import ClipSource
from adafocus_rl.errors import UserError
from adafocus_rl.features.arrays import verify_checksum
from adafocus_rl.features.manifest import MANIFEST, Manifest, differences, read_manifest, videos_in_shard
from adafocus_rl.features.shards import StoredTable, open_shards, shard_folder
from adafocus_rl.features.sources import read_sources
from adafocus_rl.features.store import TableStore

OF_THE_LIST = {"index", "videos"}
"""Entries of a manifest in which tables of other lists differ although the same clip has the same features."""

_Place = tuple[StoredTable, int, int]
"""A table, the number of a shard, and the position of a row in it."""


class KnownRows:
    """Rows of tables that can be copied from tables of other lists in the same shared store.

    A row is known if the other table depends on the same encoders, transforms and number of frames, and the clip was
    read from the same files (``clip_source``). A store that is not shared knows none.

    Args:
        store: the store.
        manifests: manifests of the tables, by name.
        sources: ``clip_source`` of the rows of interest.
    """

    def __init__(self, store: TableStore, manifests: Mapping[str, Manifest], sources: Mapping[int, ClipSource]) -> None:
        self._places = {name: _places(store, manifest, sources) for name, manifest in manifests.items()}
        self._intact: set[Path] = set()

    def has(self, name: str, rows: Iterable[int]) -> bool:
        """Return whether all these rows of a table are known."""
        return all(row in self._places[name] for row in rows)

    def rows(self, names: Iterable[str], rows: Iterable[int]) -> frozenset[int]:
        """Return those of these rows that are known in all of these tables."""
        return frozenset(rows).intersection(*(self._places[name] for name in names))

    def arrays(self, name: str, rows: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Read known rows (R, T, …) of each array of a table of features.

        Raises:
            UserError: a file of the other table is not what was written, or has been removed meanwhile.
        """
        places = [self._places[name][row] for row in rows]
        return {
            array: np.stack([self._open(table, number, array)[position] for table, number, position in places])
            for array in places[0][0].array_names
        }

    def _open(self, table: StoredTable, number: int, name: str) -> NDArray[Any]:
        path = table.file(number, name)
        if path not in self._intact:
            # A copy gets a checksum of its own, under which damage would never be found.
            verify_checksum(path, table.marks[number])
            self._intact.add(path)
        return table.array(number, name)


def _places(store: TableStore, manifest: Manifest, sources: Mapping[int, ClipSource]) -> dict[int, _Place]:
    """Return where rows of a table with this manifest can be copied from."""
    if not sources or not store.shared or manifest.get("boxes") is not None:
        return {}  # true boxes are those of one list
    found: dict[ClipSource, _Place] = {}
    for path in sorted(store.folder.glob(f"{manifest['table']}-*/{MANIFEST}")):
        with contextlib.suppress(UserError, OSError):
            other = read_manifest(path.parent)
            if {field for field, _ in differences(other, manifest)} <= OF_THE_LIST:
                found |= _rows_of(open_shards(path.parent, other))
    return {row: found[source] for row, source in sources.items() if source in found}


def _rows_of(table: StoredTable) -> dict[ClipSource, _Place]:
    """Return the rows of a table's finished shards, by what their clips were read from."""
    found = {}
    for number in table.marks:
        sources = read_sources(shard_folder(table.folder, number), videos_in_shard(table.manifest, number))
        for position, source in enumerate(sources.clips if sources is not None else ()):
            if source is not None:
                found[source] = (table, number, position)
    return found
