"""Safe loading of files written by ``torch.save``: without running code, and in no more memory than their size."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch


def load_plain(path: Path) -> Any:
    """Load tensors, on CPU, and plain values from a file written by ``torch.save``.

    Raises:
        ValueError: the file is empty, or compressed, which ``torch.save`` never does; it could decompress to any size.
        Exception: any error of a damaged pickle, or of one that holds other objects.
    """
    if not path.stat().st_size:  # also of the kernel's files, some of which would be waited for without end
        raise ValueError("it is empty")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > path.stat().st_size:
            raise ValueError(f"it unpacks to {unpacked} bytes, more than it has")
    return torch.load(path, map_location="cpu", weights_only=True)
