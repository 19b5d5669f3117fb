"""Where a run's feature tables lie: in its own folder, or in a store that it shares with other runs.

A run that shares a store remembers it in ``features.json``: the store's absolute path, and for each split a hash of the
list of videos that the tables were built from.
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
from adafocus_rl.features import TableStore
from adafocus_rl.features.specs import CLIPS
from adafocus_rl.files import read_json, user_path, write_json

FEATURES_HELP = "keep the features in this folder, which other runs may share; the run remembers it"
"""Of the option ``--features`` of all commands that have it."""


def use_store(folder: RunFolder, store: str | None) -> None:
    """Make a run keep its features in a shared store from now on; None leaves it where they are.

    Args:
        folder: the run's, which is there.
        store: its folder as the user gave it; made when something is built in it.
    """
    if store is None:
        return
    path = str(user_path(store).absolute())
    before = None
    with contextlib.suppress(UserError):
        before = shared_store(folder)
    if before != path:
        write_json(folder.store, {"store": path, "index": {}})


def shared_store(folder: RunFolder) -> str | None:
    """The shared store that a run remembers; None if its features are its own.

    Raises:
        UserError: what the run remembers is damaged.
    """
    found = _remembered(folder).get("store")
    return None if found is None else str(found)


def store_of(folder: RunFolder, split: str, store: str | None = None) -> TableStore:
    """Where the tables of a split lie.

    Args:
        folder: the run's.
        split: ``train`` or ``val``.
        store: a shared store to look in instead of the one that the run remembers.

    Raises:
        UserError: what the run remembers is damaged.
    """
    shared = shared_store(folder) if store is None else str(user_path(store).absolute())
    if shared is None:
        return TableStore(folder.bank(split))
    # Runs are locked, so one process at a time builds for each of them.
    name = f"{platform.node()}:{os.path.realpath(folder.path)}"
    return TableStore(Path(shared), shared=True, owner=hashlib.sha256(name.encode()).hexdigest()[:8])


def note_index(folder: RunFolder, split: str, index: str) -> None:
    """Remember from which list of videos the tables of a split were built, for when the videos are gone."""
    note = _remembered(folder)
    if note and note["index"].get(split) != index:
        write_json(folder.store, {**note, "index": {**note["index"], split: index}})


def noted_index(folder: RunFolder, store: TableStore, split: str) -> str | None:
    """Hash of the list of videos that the tables of a split were built from; None if there are none."""
    if store.shared:
        found = _remembered(folder).get("index", {}).get(split)
        return None if found is None else str(found)
    clips = store.tables().get(CLIPS)
    return None if clips is None else str(clips.manifest.get("index"))


def _remembered(folder: RunFolder) -> dict[str, Any]:
    """The content of features.json; empty when the features are the run's own."""
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
