"""How a file wants its frames to be turned and mirrored: telephones store them as the sensor lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways in which a rectangle can lie: first the axes are swapped, then each is turned round."""

    swap: bool = False
    """Rows become columns."""
    upside_down: bool = False
    """The order of rows is reversed, after swapping."""
    mirrored: bool = False
    """The order of columns is reversed, after swapping."""

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) as stored to (H, W, 3), or (W, H, 3), as shown; a view."""
        if self.swap:
            image = image.swapaxes(0, 1)
        return image[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) as shown of a frame with these as stored."""
        return (width, height) if self.swap else (height, width)


UPRIGHT = Orientation()


def read_display_matrix(data: bytes) -> Orientation:
    """The orientation in a display matrix, as players show it.

    Args:
        data: nine int32 in the machine's byte order (FFmpeg's AV_FRAME_DATA_DISPLAYMATRIX, from the ``tkhd`` box of MP4
            or from H.264's and HEVC's display orientation): (x, y) of the stored frame is shown at (ax + cy, bx + dy),
            up to a shift, with a, b at positions 0, 1 and c, d at 3, 4.

    Returns:
        The nearest quarter turn, with its flips; upright where the matrix says nothing.
    """
    if len(data) < 36:
        return UPRIGHT
    a, b, _, c, d = (int(one) for one in np.frombuffer(data, dtype=np.int32, count=5))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(upside_down=d < 0, mirrored=a < 0)
    return Orientation(swap=True, upside_down=b < 0, mirrored=c < 0)
