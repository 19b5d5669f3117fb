"""Dataset folders that are complete or absent: written under another name, renamed when complete, reused if equal."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.files import read_json, write_json
from adafocus_rl.folders import make_folders, sync_folder, sync_tree

MANIFEST = "dataset.json"


def write_once(out: Path, *, description: Mapping[str, Any], write: Callable[[Path], None]) -> bool:
    """Write a dataset into ``out`` unless the same dataset is there already.

    Args:
        out: the dataset's folder; may be absent or empty.
        description: plain JSON values that determine the content; written to ``dataset.json`` with a hash of the
            top-level files (lists, boxes, class names).
        write: fills an empty folder with the dataset.

    Returns:
        True if it was written, False if a folder with the same description was there already.

    Raises:
        UserError: ``out`` holds other files, another configuration, or lists that were edited since.
    """
    wanted: dict[str, Any] = json.loads(json.dumps(description))
    if _reusable(out, wanted):
        return False
    make_folders(out.parent)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    try:
        # mkdtemp creates private folders; a dataset has the usual permissions.
        partial.chmod(0o755)
        write(partial)
        manifest = {"description": wanted, "hash": _hash(partial)}
        write_json(partial / MANIFEST, manifest, indent=2)
        sync_tree(partial)
        try:
            if out.is_dir():
                out.rmdir()  # empty, otherwise ``_reusable`` would have refused it
            partial.rename(out)
        except OSError:
            # Another process has written the folder in the meantime; the same rules apply to it.
            if not _reusable(out, wanted):
                raise
            return False
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync_folder(out.parent)
    return True


def _reusable(out: Path, wanted: Mapping[str, Any]) -> bool:
    """Return True if ``out`` is the wanted dataset and False if it is absent or empty; otherwise raise UserError."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        manifest = read_json(out / MANIFEST, "manifest")
        present, stored = manifest["description"], manifest["hash"]
    except (UserError, KeyError, TypeError):
        raise UserError(
            f"{out} exists and is no dataset folder (no readable {MANIFEST} in it); expected a new or empty "
            "folder, so choose another one or remove it"
        ) from None
    if present != wanted:
        differing = [
            f"{key} is {_get(present, key)!r} there and {_get(wanted, key)!r} here"
            for key in _differing(present, wanted)
        ]
        raise UserError(
            f"{out} holds a dataset made with another configuration ({'; '.join(differing)}); choose another "
            "folder, remove this one, or ask for the same configuration"
        )
    if stored != _hash(out):
        raise UserError(
            f"the lists in {out} were changed since they were made (their hash is not {stored}); "
            "remove the folder to have it made again, or name the changed list as your own data"
        )
    return True


def _hash(folder: Path) -> str:
    """First 16 hex digits of the SHA-256 of the names and bytes of the top-level files, without the manifest."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != MANIFEST and not path.name.startswith("."):
            content = path.read_bytes()
            digest.update(f"{path.name}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()[:16]


def _differing(a: Any, b: Any, prefix: str = "") -> list[str]:
    """List the dotted keys at which two JSON values differ."""
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return [] if a == b else [prefix or "the description"]
    keys = sorted({*a, *b})
    return [
        found for key in keys for found in _differing(a.get(key), b.get(key), f"{prefix}.{key}" if prefix else str(key))
    ]


def _get(value: Any, dotted: str) -> Any:
    """Return the value at a dotted key of nested JSON objects; None if it is missing."""
    for key in dotted.split("."):
        if not isinstance(value, dict):
            return value
        value = value.get(key)
    return value
