"""One array of a shard: a ``.npy`` file that is written row by row and opened without trusting its header."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from adafocus_rl.checksums import Checksum, checksum_of
from adafocus_rl.errors import UserError
from adafocus_rl.files import naming

BLOCK_BYTES = 32 << 20
"""Number of bytes read at once when a whole array is checked."""


class ArrayWriter:
    """Writes an array (N, …) from its first row to its last.

    It uses plain writes instead of a memory map: on a full disk, a write raises an error, whereas an access to a memory
    map kills the process.

    Args:
        path: the file.
        dtype: type of the array.
        shape: shape of the whole array.
        fill: value of skipped rows.

    Attributes:
        checksum: checksum of the bytes written so far.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], *, fill: float = 0) -> None:
        self.path = path
        self.dtype = dtype
        self.shape = shape
        self.fill = fill
        self.rows = 0
        self.checksum = Checksum()
        with naming(path):
            self._file = path.open("wb", buffering=0)
        header = io.BytesIO()
        npy.write_array_header_1_0(header, _header(dtype, shape))
        self._write(header.getbuffer())

    def put(self, at: NDArray[np.int64], rows: NDArray[Any]) -> None:
        """Write rows; skipped rows are set to the fill value.

        Args:
            at: (R,) row numbers, ascending and above those of all rows written so far.
            rows: (R, …), converted to the array's type.
        """
        self._skip_to(int(at[0]))
        last = int(at[-1]) + 1
        if len(at) < last - self.rows:
            block = np.full((last - self.rows, *self.shape[1:]), self.fill, dtype=self.dtype)
            block[at - self.rows] = rows
            rows = block
        self._write(np.ascontiguousarray(rows, dtype=self.dtype).reshape(-1).view(np.uint8).data)
        self.rows = last

    def finish(self) -> None:
        """Fill the remaining rows, flush the file to the disk and close it."""
        self._skip_to(self.shape[0])
        with naming(self.path):
            os.fsync(self._file.fileno())
        self.close()

    def _skip_to(self, row: int) -> None:
        for _ in range(self.rows, row):
            self._write(np.full(math.prod(self.shape[1:]), self.fill, dtype=self.dtype).view(np.uint8).data)
        self.rows = max(self.rows, row)

    def close(self) -> None:
        """Close the file, complete or not."""
        self._file.close()

    def _write(self, data: memoryview) -> None:
        with naming(self.path):
            rest = data
            while len(rest):
                rest = rest[self._file.write(rest) :]
        self.checksum.update(data)


def open_array(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Open an array as a read-only memory map, which counts as no process's own memory and takes a file descriptor.

    The header is not interpreted but compared with the expected one; a file with another header is rejected.

    Args:
        path: the file.
        dtype: expected type.
        shape: expected shape.

    Raises:
        UserError: the file is unreadable, or its header or size is not the expected one.
    """
    wanted = _header(dtype, shape)
    text = f"{{'descr': {wanted['descr']!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    try:
        with path.open("rb") as file:
            magic, length = file.read(8), int.from_bytes(file.read(2), "little")
            header = file.read(length)
            size = file.seek(0, io.SEEK_END)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its disk and permissions") from None
    # The padding of the header differs between versions of NumPy.
    named = header[:-1].rstrip(b" ") == text.encode() and header[-1:] == b"\n"
    if magic != npy.magic(1, 0) or not named:
        raise UserError(f"{path} is damaged: its header is not that of {dtype} numbers of shape {shape}; {REDO}")
    start = 10 + length
    bytes_wanted = start + math.prod(shape) * dtype.itemsize
    if size != bytes_wanted:
        raise UserError(f"{path} is damaged: it has {size} bytes, expected {bytes_wanted}; {REDO}")
    return np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape)


REDO = "delete its shard's folder and finish the bank with `adafocus features build RUN`"
"""Advice for a damaged array."""


def verify_checksum(path: Path, mark: Mapping[str, Any]) -> None:
    """Compare an array's file with the checksum in its shard's done mark, if the mark has checksums.

    Raises:
        UserError: the file is unreadable, or its content is not what was written.
    """
    wanted = mark.get("checksums", {}).get(path.name)
    try:
        intact = wanted is None or checksum_of(path) == wanted
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its disk and permissions") from None
    if not intact:
        raise UserError(f"{path} is damaged: it does not have the checksum it was written with; {REDO}")


def blocks(array: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield blocks of an array's rows, each with the number of its first row, in constant memory."""
    step = max(1, BLOCK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        yield start, array[start : start + step]


def not_finite(array: NDArray[Any]) -> int | None:
    """Return the first row (video) of an array that contains NaN or infinity, or None."""
    for start, rows in blocks(array):
        finite = np.isfinite(rows)
        if not finite.all():
            return start + int(finite.reshape(len(rows), -1).all(axis=1).argmin())
    return None


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> dict[str, Any]:
    return {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
