"""Location of a run's feature tables: its own folder, or a store shared with other runs.

A run with a shared store records in ``features.json`` the store's absolute path and, for each split, a hash of the list
of videos from which the tables were built.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from pathlib import Path
from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.shipped import DEMO
from adafocus_rl.features import TableStore
from adafocus_rl.features.specs import CLIPS
from adafocus_rl.files import read_json, user_path, write_json


def use_store(folder: RunFolder, store: str | None) -> None:
    """Make a run keep its features in a shared store from now on; None changes nothing.

    Args:
        folder: the run's existing folder.
        store: the store's folder as the user gave it; created when tables are built in it.

    Raises:
        UserError: if it is a URL, or the run is the one that comes with the package.
    """
    if store is None:
        return
    path = _path(store)
    if folder.shipped:
        raise UserError(f"{DEMO} keeps its features in its own folder, {folder.path}; leave --features out")
    before = None
    with contextlib.suppress(UserError):
        before = shared_store(folder)
    if before != path:
        write_json(folder.store, {"store": path, "index": {}})


def shared_store(folder: RunFolder) -> str | None:
    """Return the shared store recorded by a run; None if the run's features are its own.

    Raises:
        UserError: if features.json is damaged.
    """
    found = _remembered(folder).get("store")
    return None if found is None else str(found)


def store_of(folder: RunFolder, split: str, store: str | None = None) -> TableStore:
    """Return the store of a split's tables.

    Args:
        folder: the run's folder.
        split: ``train`` or ``val``.
        store: a shared store to use instead of the one recorded by the run.

    Raises:
        UserError: if features.json is damaged, or ``store`` is a URL.
    """
    shared = shared_store(folder) if store is None else _path(store)
    if shared is None:
        return TableStore(folder.bank(split))
    # The run names the owner: since runs are locked, only one process at a time builds for each.
    name = f"{platform.node()}:{os.path.realpath(folder.path)}"
    return TableStore(Path(shared), shared=True, owner=hashlib.sha256(name.encode()).hexdigest()[:8])


def _path(store: str) -> str:
    if "://" in store:
        raise UserError(
            f"features are kept in a folder, and {store} is a URL; copy them with `adafocus features push RUN URL` and "
            "`adafocus features pull RUN URL`"
        )
    return str(user_path(store).absolute())


def note_index(folder: RunFolder, split: str, index: str) -> None:
    """Record the list of videos from which a shared store's tables of a split were built, for use without them."""
    note = _remembered(folder)
    if note and note["index"].get(split) != index:
        write_json(folder.store, {**note, "index": {**note["index"], split: index}})


def noted_index(folder: RunFolder, store: TableStore, split: str) -> str | None:
    """Return the hash of the list of videos from which a split's tables were built; None if there are no tables."""
    if store.shared:
        found = _remembered(folder).get("index", {}).get(split)
        return None if found is None else str(found)
    clips = store.tables().get(CLIPS)
    return None if clips is None else str(clips.manifest.get("index"))


def _remembered(folder: RunFolder) -> dict[str, Any]:
    """Return the content of features.json; empty if the features are the run's own."""
    if not folder.store.exists():
        return {}
    note: Any = read_json(folder.store, "note of where the features lie")
    store, index = (note.get("store"), note.get("index")) if isinstance(note, dict) else (None, None)
    if not isinstance(store, str) or not store or "\0" in store or not isinstance(index, dict):
        raise UserError(
            f"{folder.store} does not say where the features lie; delete it to keep them in {folder.features}, or give "
            "their store with --features"
        )
    return {"store": store, "index": index}
