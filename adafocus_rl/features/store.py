"""Stores of tables: the folder of one run, or one that several runs share."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from adafocus_rl.checksums import write_sealed
from adafocus_rl.errors import UserError
from adafocus_rl.features.legacy import open_old_tables
from adafocus_rl.features.manifest import (
    MANIFEST,
    Manifest,
    differences,
    identity,
    read_manifest,
)
from adafocus_rl.features.shards import PART, StoredTable, open_shards
from adafocus_rl.files import naming
from adafocus_rl.folders import make_folders, sync_folder

BUILD = "`adafocus features build RUN`"


@dataclass(frozen=True)
class TableStore:
    """A folder that contains one folder per table.

    A store of one set of clips names its folders after the tables; a table that was built from something else than
    expected is stale. In a shared store, the names also contain the identity of the table (``local-3f9c…``), so tables
    of many lists and encoders coexist, no table is ever stale, and equal tables are built once.

    Attributes:
        folder: the folder of the store.
        shared: whether the names contain identities.
        owner: name of the building process, so that several can build at the same time in a shared store.
    """

    folder: Path
    shared: bool = False
    owner: str = ""

    def path(self, manifest: Manifest) -> Path:
        """Return the folder of a table with this manifest."""
        return self.folder / (f"{manifest['table']}-{identity(manifest)}" if self.shared else str(manifest["table"]))

    def tables(self) -> dict[str, StoredTable]:
        """Return all tables, finished or not; not for a shared store, where one name can have many tables.

        Raises:
            UserError: a manifest is damaged.
        """
        found = open_old_tables(self.folder)
        for path in sorted(self.folder.glob(f"[!.]*/{MANIFEST}")):
            if not path.parent.name.startswith("shard_"):
                table = open_shards(path.parent, read_manifest(path.parent))
                if table.name != path.parent.name:
                    raise UserError(
                        f"{path} is the manifest of the table {table.name}; delete the folder {path.parent}"
                    )
                found[table.name] = table
        return found

    def find(self, expected: Mapping[str, Manifest]) -> dict[str, StoredTable]:
        """Return those of the expected tables that exist, finished or not.

        Args:
            expected: manifests by name (``expected_manifests``).

        Raises:
            UserError: a table is stale (the message names the entry that differs) or damaged.
        """
        found = {}
        old = {} if self.shared else open_old_tables(self.folder)
        for name, manifest in expected.items():
            folder = self.path(manifest)
            if (folder / MANIFEST).exists():
                found[name] = open_shards(folder, read_manifest(folder))
            elif name in old:
                found[name] = old[name]
        stale = [
            (field, difference, name)
            for name, table in found.items()
            for field, difference in differences(table.manifest, expected[name])
        ]
        if stale:
            field, difference, _ = min(stale)
            names = ", ".join(dict.fromkeys(name for other, _, name in stale if other == field))
            raise UserError(
                f"the feature bank in {self.folder} is stale: {difference} (table {names}); rebuild it with `adafocus "
                "features build RUN --overwrite`"
            )
        return found

    def open(self, expected: Mapping[str, Manifest] | None = None) -> dict[str, StoredTable]:
        """Open complete tables.

        Args:
            expected: manifests by name; None opens all tables in the store without a comparison.

        Raises:
            UserError: a table is missing, half-written, stale or damaged.
        """
        found = self.tables() if expected is None else self.find(expected)
        missing = next((manifest for name, manifest in (expected or {}).items() if name not in found), None)
        if missing or not found:
            what = f"no table {missing['table']} of this run" if missing and found else "no feature bank"
            near = self._nearest(missing) if missing else ""
            raise UserError(f"{what} in {self.folder}{near}; build {'it' if found else 'one'} with {BUILD}")
        for table in found.values():
            if len(table.marks) < table.shards:
                raise self.half_written(table)
        return found

    def _nearest(self, wanted: Manifest) -> str:
        """Describe how the most similar table of a shared store differs from the wanted one, for a message."""
        others = []
        for path in self.folder.glob(f"{wanted['table']}-*/{MANIFEST}"):
            with contextlib.suppress(UserError):
                found = [text for _, text in differences(read_manifest(path.parent), wanted)]
                others.append((len(found), path.parent.name, found))
        if not others:
            return ""
        _, name, found = min(others)
        return f" (in {name}, {found[0]})" if found else ""

    def half_written(self, table: StoredTable) -> UserError:
        """Return the error for a table that lacks shards."""
        advice = f"finish it with {BUILD}"
        if table.old_version is not None:
            advice = (
                f"it is of format version {table.old_version}, which this release does not add to: build it again with "
                "`adafocus features build RUN --overwrite`"
            )
        return UserError(
            f"the feature bank in {self.folder} is half-written: {len(table.marks)} of {table.shards} shards of the "
            f"table {table.name} are done; {advice}"
        )

    def begin(self, manifest: Manifest) -> StoredTable:
        """Create the folder of a table if it is missing; another process may do so at the same time.

        Raises:
            OSError: writing failed, for example because the disk is full.
        """
        folder = self.path(manifest)
        make_folders(self.folder)
        if not (folder / MANIFEST).exists():
            new = self.folder / f".{folder.name}{self.owner and '_'}{self.owner}.new"
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            write_sealed(new / MANIFEST, manifest)
            with naming(folder):
                try:
                    if folder.is_dir():  # without a manifest
                        os.replace(new / MANIFEST, folder / MANIFEST)
                    else:
                        os.replace(new, folder)
                except OSError:
                    if not (folder / MANIFEST).exists():  # no other process was faster
                        raise
                finally:
                    shutil.rmtree(new, ignore_errors=True)
            sync_folder(self.folder)
        return open_shards(folder, read_manifest(folder))

    def sweep(self, tables: Iterable[StoredTable]) -> None:
        """Remove what killed builds of this store's owner, or of its parts, left of shards that others have finished.

        No such build may be running.
        """
        for table in tables:
            for path in table.folder.glob(f"{PART}*"):
                number, _, owner = path.name.removeprefix(PART).partition("_")
                ours = not self.shared or owner == self.owner or owner.startswith(f"{self.owner}_")
                if ours and number.isdecimal() and int(number) in table.marks:
                    shutil.rmtree(path, ignore_errors=True)

    def remove(self, expected: Iterable[Manifest]) -> None:
        """Remove these tables, complete or not, and, in a store that is not shared, a bank of an earlier version.

        Raises:
            UserError: the folder of a table contains a file that is no part of a table; nothing is removed.
        """
        doomed = [folder for folder in map(self.path, expected) if folder.exists()]
        for folder in doomed:
            for path in sorted(folder.iterdir()):
                if not path.name.startswith(_OURS):
                    raise UserError(f"{folder} holds {path.name}, which is no part of a table; give another folder")
        if not self.shared and self.folder.exists():
            doomed += [path for path in self.folder.iterdir() if path.name.startswith(_OURS)]
        for path in doomed:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


_OURS = (MANIFEST, f".{MANIFEST}", "shard_", PART)
"""Beginnings of all file names in the folder of a table, or of a bank of an earlier version."""
