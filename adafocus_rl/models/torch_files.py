"""Files that ``torch.save`` has written: read without running code, in no more memory than they have bytes."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch


def load_plain(path: Path) -> Any:
    """The content of such a file: tensors, on CPU, and plain values.

    Raises:
        ValueError: it is compressed, which ``torch.save`` never does: a megabyte could unpack to a thousand.
        Exception: whatever a damaged pickle raises, or one that holds anything else.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > path.stat().st_size:
            raise ValueError(f"it unpacks to {unpacked} bytes, more than it has")
    return torch.load(path, map_location="cpu", weights_only=True)
