"""Orientation of stored frames: phones store frames as the sensor lies, with instructions to rotate and mirror them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Orientation:
    """One of the eight orientations of a rectangle: an optional transposition, then optional flips of both axes."""

    swap: bool = False
    """Swap rows and columns."""
    upside_down: bool = False
    """Reverse the order of rows, after swapping."""
    mirrored: bool = False
    """Reverse the order of columns, after swapping."""

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn a stored image (H, W, 3) into the displayed one, (H, W, 3) or (W, H, 3); returns a view."""
        if self.swap:
            image = image.swapaxes(0, 1)
        return image[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Displayed (height, width) of a frame with this stored size."""
        return (width, height) if self.swap else (height, width)


UPRIGHT = Orientation()


def read_display_matrix(data: bytes) -> Orientation:
    """Read the orientation from a display matrix, as players apply it.

    Args:
        data: nine int32 in native byte order (FFmpeg's AV_FRAME_DATA_DISPLAYMATRIX, from the ``tkhd`` box of MP4 or
            from the display orientation of H.264 and HEVC). The stored point (x, y) is displayed at (ax + cy, bx + dy),
            up to a shift, with a, b at positions 0, 1 and c, d at 3, 4.

    Returns:
        The nearest quarter turn, with its flips; upright if the matrix does not define one.
    """
    if len(data) < 36:
        return UPRIGHT
    a, b, _, c, d = (int(one) for one in np.frombuffer(data, dtype=np.int32, count=5))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(upside_down=d < 0, mirrored=a < 0)
    return Orientation(swap=True, upside_down=b < 0, mirrored=c < 0)
