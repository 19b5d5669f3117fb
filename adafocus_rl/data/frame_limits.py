"""How large frames and clips may be: a file of a few bytes can claim any size, and the memory is taken at once.

Checked against the size in a file's header before anything is decoded, and again for what comes out.
"""

from __future__ import annotations

from pathlib import Path

from adafocus_rl.data.decode_error import DecodeError

FRAME_PIXELS = 40_000_000
"""Pixels of the largest frame that is decoded; film in 8K has 35 million."""

MEMORY = 1280 << 20
"""Bytes that the frames of one video may take while a clip of it is decoded: 40 frames of 4K fit."""

DECODER_FRAMES = 18
"""Frames that a decoder may keep for later ones to refer to (16 in H.264 and HEVC), and those that it works on."""


def check_frame_size(
    path: Path, width: int, height: int, *, held: int = 1, decoder_bytes: float = 0, what: str = "its frames have"
) -> None:
    """Refuses frames that are too large, and clips that are.

    Args:
        path: the video.
        width: of a frame, in pixels.
        height: of a frame.
        held: how many frames in RGB are in memory at once.
        decoder_bytes: what the decoder itself takes at most, in bytes per pixel.
        what: what has this size, for the message: "its frames have", or "NAME has" for an image.

    Raises:
        DecodeError: more than ``FRAME_PIXELS`` or ``MEMORY``.
    """
    pixels = width * height
    if pixels > FRAME_PIXELS:
        raise DecodeError(
            path, f"{what} {width}×{height} pixels, more than {FRAME_PIXELS // 1_000_000} million; scale it down"
        )
    memory = pixels * (3 * held + decoder_bytes)
    if memory > MEMORY:
        raise DecodeError(
            path,
            f"to decode {held} frames of {width}×{height} pixels at once may take {memory / 2**20:.0f} MiB, more than "
            f"{MEMORY >> 20}; scale it down (adafocus data extract does)",
        )
