"""Fashion-MNIST from its four published files: photographs of 70,000 products, 28×28 pixels, in ten classes.

Source: Xiao, Rasul and Vollgraf 2017, https://github.com/zalandoresearch/fashion-mnist (MIT licence).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.errors import UserError
from adafocus_rl.files import read_bytes, user_path

CELLS = 28  # side of an image

CLASSES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
"""Names of the classes, by label."""

DEBIAN = "/usr/share/datasets/fashion-mnist"
"""Folder of Debian's package ``dataset-fashion-mnist``."""

_PARTS = {"train": "train", "val": "t10k"}
_FOLDERS = ("", "FashionMNIST/raw", "raw")
"""Places below the given folder where the files are looked for; torchvision's class writes into the second."""

_UNSIGNED_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class Products:
    """The products of one split."""

    images: NDArray[np.uint8]
    """(M, 28, 28) brightness; the background is 0."""
    labels: NDArray[np.int64]
    """(M,) class of each image."""


@lru_cache(maxsize=2)
def read_fashion_mnist(source: str | None) -> dict[str, Products]:
    """Read {"train": the training images, "val": the test images}.

    Args:
        source: folder of the four files, compressed or not, or of torchvision's ``FashionMNIST/raw``; None for the
            folder of Debian's package.

    Raises:
        UserError: a file is missing, damaged, or not one of Fashion-MNIST; the message says how to get them.
    """
    folder = user_path(DEBIAN if source is None else source)
    return {split: _read_split(folder, part) for split, part in _PARTS.items()}


def _read_split(folder: Path, part: str) -> Products:
    images_file, labels_file = _find(folder, f"{part}-images-idx3-ubyte"), _find(folder, f"{part}-labels-idx1-ubyte")
    images, labels = _read_idx(images_file, axes=3), _read_idx(labels_file, axes=1)
    if images.shape[1:] != (CELLS, CELLS) or len(images) != len(labels):
        raise UserError(
            f"{images_file} has images of shape {images.shape} and {labels_file.name} {len(labels)} labels; expected "
            f"as many of both and {CELLS}×{CELLS} pixels: give the files of Fashion-MNIST"
        )
    if set(np.unique(labels).tolist()) != {*range(len(CLASSES))}:
        raise UserError(f"{labels_file} holds other labels than each of 0 to 9; give the files of Fashion-MNIST")
    return Products(images=images, labels=labels.astype(np.int64))


def _find(folder: Path, name: str) -> Path:
    places = [folder / below / f"{name}{ending}" for below in _FOLDERS for ending in ("", ".gz")]
    for place in places:
        if place.is_file():
            return place
    raise UserError(
        f"there is no {name} or {name}.gz of Fashion-MNIST in {folder}; install Debian's package "
        "dataset-fashion-mnist, or give the folder of its four files with --data.embedded_options.source=DIR "
        "(adafocus data make: --source=DIR)"
    )


def _read_idx(path: Path, *, axes: int) -> NDArray[np.uint8]:
    """Read an array of bytes in the IDX format: two zeros, type, number of axes, big-endian lengths, values."""
    content = read_bytes(path, "IDX file")
    start = 4 + 4 * axes
    if len(content) >= start and content[:4] == bytes((0, 0, _UNSIGNED_BYTES, axes)):
        shape = struct.unpack_from(f">{axes}I", content, 4)
        values = np.frombuffer(content, np.uint8, offset=start)
        if values.size == int(np.prod(shape, dtype=object)):
            return values.reshape(shape)
    raise UserError(f"{path} is no IDX file of bytes with {axes} axes, or is cut short; get it anew")
