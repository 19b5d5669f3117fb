"""Copies of a bank's shards between a store and a URL.

A URL holds a folder per table, named as in a shared store, with the same files in it. The done mark of a shard is
copied last, so that a shard with a mark is complete there, and a copy that was interrupted continues with the others.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.features.arrays import REDO
from adafocus_rl.features.manifest import MANIFEST, Manifest, differences, digest, read_manifest
from adafocus_rl.features.parts import WHOLE, Part
from adafocus_rl.features.remote import RemoteFolder
from adafocus_rl.features.shards import (
    DONE,
    PART,
    Mark,
    StoredTable,
    place_shard,
    read_mark,
    shard_folder,
)
from adafocus_rl.features.store import TableStore

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Copied:
    """What a copy has done, in shards of tables."""

    copied: int
    """Number of shards that were copied."""

    kept: int
    """Number of shards that were there already."""

    missing: int
    """Number of shards that the source lacks."""


class _Counter:
    """Goes through shards, and counts what becomes of them."""

    def __init__(self, shards: Sequence[tuple[StoredTable, int]], progress: Progress | None) -> None:
        self.shards = shards
        self.progress = progress
        self.copied = Copied(0, 0, 0)

    def __iter__(self) -> Iterator[tuple[StoredTable, int]]:
        for done, shard in enumerate(self.shards, start=1):
            yield shard
            if self.progress:
                self.progress(done, len(self.shards))

    def note(self, copied: bool | None) -> None:
        """Count a shard that was copied, was there (False), or does not exist (None)."""
        name = {True: "copied", False: "kept", None: "missing"}[copied]
        self.copied = replace(self.copied, **{name: getattr(self.copied, name) + 1})


def push(
    tables: Iterable[StoredTable], remote: RemoteFolder, *, part: Part = WHOLE, progress: Progress | None = None
) -> Copied:
    """Copy the finished shards of tables to a URL; those that are there already are left.

    Args:
        tables: the tables.
        remote: where to.
        part: the part of each table to copy.
        progress: called with (shards done, total shards).

    Raises:
        UserError: a table of another number of videos per shard is there, a shard here is damaged, a table is of an
            earlier version, or the URL cannot be written.
    """
    tables = tuple(tables)
    for table in tables:
        _push_manifest(table, remote)
    counter = _Counter([(table, number) for table in tables for number in part.shards(table.shards)], progress)
    for table, number in counter:
        mark = table.marks.get(number)
        counter.note(None if mark is None else _push_shard(table, number, mark, remote))
    return counter.copied


def _push_manifest(table: StoredTable, remote: RemoteFolder) -> None:
    """Copy a table's manifest to a URL, or compare it with the one that is there."""
    if table.old_version is not None:
        raise UserError(f"the table {table.name} in {table.folder} is of an earlier version; build it again first")
    name, manifest = f"{_name(table.manifest)}/{MANIFEST}", (table.folder / MANIFEST).read_bytes()
    there = remote.read(name)
    if there is None:
        remote.write(name, manifest)
    elif there != manifest:
        raise UserError(
            f"{remote.url}/{name} is of other shards than {table.folder}; give another URL, or build the features "
            "with the bank.shard_videos that is used there"
        )


def _push_shard(table: StoredTable, number: int, mark: Mark, remote: RemoteFolder) -> bool:
    """Copy a shard to a URL unless it is there; return whether it was copied."""
    source = shard_folder(table.folder, number)
    target, content = f"{_name(table.manifest)}/{source.name}", (source / DONE).read_bytes()
    if remote.read(f"{target}/{DONE}") == content:
        return False
    for name, wanted in mark["checksums"].items():
        if remote.upload(source / name, f"{target}/{name}") != wanted:
            raise UserError(f"{source / name} is damaged: it does not have the checksum it was written with; {REDO}")
    remote.write(f"{target}/{DONE}", content)
    return True


def pull(
    expected: Mapping[str, Manifest],
    store: TableStore,
    remote: RemoteFolder,
    *,
    part: Part = WHOLE,
    progress: Progress | None = None,
) -> Copied:
    """Copy the shards of tables from a URL into a store, unless they are in it.

    Args:
        expected: manifests of the tables by name (``expected_manifests``).
        store: where to.
        remote: where from.
        part: the part of each table to copy.
        progress: called with (shards done, total shards).

    Raises:
        UserError: a table here is stale or has other shards, a file does not have its checksum, or the URL cannot be
            read.
        OSError: writing failed, for example because the disk is full.
    """
    store = replace(store, owner=part.owner(store.owner))
    found = store.find(expected)
    tables = []
    for name, manifest in expected.items():
        there = _manifest_at(remote, manifest, store)
        if there is not None:
            table = found.get(name) or store.begin(there)
            if digest(table.manifest) != digest(there):
                raise UserError(
                    f"{remote.url}/{_name(manifest)} has other shards than {table.folder}; delete the latter to copy"
                )
            tables.append(table)
    if not tables:
        raise UserError(
            f"{remote.url} has no features of this run; copy them there with `adafocus features push RUN URL`"
        )
    counter = _Counter([(table, number) for table in tables for number in part.shards(table.shards)], progress)
    for table, number in counter:
        counter.note(False if number in table.marks else _pull_shard(table, number, remote, owner=store.owner))
    return counter.copied


def _manifest_at(remote: RemoteFolder, expected: Manifest, store: TableStore) -> dict[str, Any] | None:
    """Return the manifest of a table at a URL; None if the table is not there."""
    content = remote.read(f"{_name(expected)}/{MANIFEST}")
    if content is None:
        return None
    store.folder.mkdir(parents=True, exist_ok=True)
    folder = store.folder / f".{_name(expected)}{store.owner and '_'}{store.owner}.pulled"
    try:
        folder.mkdir(exist_ok=True)
        (folder / MANIFEST).write_bytes(content)
        try:
            manifest = read_manifest(folder)
        except UserError as error:
            raise UserError(f"{remote.url}/{_name(expected)}/{MANIFEST} is damaged ({error})") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for _, difference in differences(manifest, expected):
        raise UserError(f"the table at {remote.url}/{_name(expected)} is another one: {difference}")
    return manifest


def _pull_shard(table: StoredTable, number: int, remote: RemoteFolder, *, owner: str) -> bool | None:
    """Copy a shard from a URL and return True; None if it is not complete there."""
    name = shard_folder(table.folder, number).name
    source = f"{_name(table.manifest)}/{name}"
    content = remote.read(f"{source}/{DONE}")
    if content is None:
        return None
    part = table.folder / f"{PART}{number:05d}{owner and '_'}{owner}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        sums = {
            f"{array}.npy": remote.download(f"{source}/{array}.npy", part / f"{array}.npy")
            for array in table.array_names
        }
        (part / DONE).write_bytes(content)
        mark = read_mark(part, table.manifest)
        if mark is None or mark["checksums"] != sums:
            raise UserError(
                f"{remote.url}/{source} is damaged: a file has not the checksum it was written with; delete it there"
            )
        place_shard(part, table, number)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return True


def _name(manifest: Manifest) -> str:
    return TableStore(Path(), shared=True).path(manifest).name
