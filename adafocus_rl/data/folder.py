"""A dataset folder is complete or absent: written beside it, renamed when done, reused when it fits."""

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

MANIFEST = "dataset.json"


def write_once(out: Path, *, description: Mapping[str, Any], write: Callable[[Path], None]) -> bool:
    """Have the dataset that ``description`` describes lie in ``out``.

    Args:
        out: the dataset's folder; may be absent or empty.
        description: plain JSON values that determine the content; written to ``dataset.json`` with a hash of
            the top-level files (lists, boxes, class names).
        write: fills an empty folder with the dataset.

    Returns:
        True when it was written, False when a folder of the same description was there already.

    Raises:
        UserError: ``out`` holds something else, another configuration, or lists that were edited since.
    """
    wanted: dict[str, Any] = json.loads(json.dumps(description))
    if _reusable(out, wanted):
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    try:
        # mkdtemp makes private folders; a dataset is as readable as anything else the user makes.
        partial.chmod(0o755)
        write(partial)
        manifest = {"description": wanted, "hash": _hash(partial)}
        write_json(partial / MANIFEST, manifest, indent=2)
        try:
            if out.is_dir():
                out.rmdir()  # empty, or ``_reusable`` had refused it
            partial.rename(out)
        except OSError:
            # Another process wrote the folder meanwhile: the same rules apply to what it left.
            if not _reusable(out, wanted):
                raise
            return False
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def _reusable(out: Path, wanted: Mapping[str, Any]) -> bool:
    """True: ``out`` is the wanted dataset; False: there is nothing; anything else raises UserError."""
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
    """sha256 (first 16 hex digits) over names and bytes of the folder's own files, the manifest left out."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != MANIFEST and not path.name.startswith("."):
            content = path.read_bytes()
            digest.update(f"{path.name}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()[:16]


def _differing(a: Any, b: Any, prefix: str = "") -> list[str]:
    """Dotted keys at which two JSON values differ."""
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return [] if a == b else [prefix or "the description"]
    keys = sorted({*a, *b})
    return [
        found for key in keys for found in _differing(a.get(key), b.get(key), f"{prefix}.{key}" if prefix else str(key))
    ]


def _get(value: Any, dotted: str) -> Any:
    """The value at a dotted key of nested JSON objects; None where there is none."""
    for key in dotted.split("."):
        if not isinstance(value, dict):
            return value
        value = value.get(key)
    return value
