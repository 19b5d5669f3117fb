"""Limits on the size of frames and clips: a tiny file can claim any size, for which decoders allocate memory at once.

Limits are checked against the size in a file's header before decoding, and again on the decoded frames.
"""

from __future__ import annotations

from pathlib import Path

from adafocus_rl.data.decode_error import DecodeError

FRAME_PIXELS = 40_000_000
"""Largest frame that is decoded, in pixels; an 8K frame has 35 million."""

MEMORY = 1280 << 20
"""Largest memory for the frames of one video while a clip is decoded, in bytes; enough for 40 frames of 4K."""

DECODER_FRAMES = 18
"""Frames that a decoder may hold: reference frames (16 in H.264 and HEVC) and those being decoded."""


def check_frame_size(
    path: Path, width: int, height: int, *, held: int = 1, decoder_bytes: float = 0, what: str = "its frames have"
) -> None:
    """Refuse frames or clips that are too large.

    Args:
        path: the video.
        width: width of a frame in pixels.
        height: height of a frame in pixels.
        held: number of RGB frames in memory at once.
        decoder_bytes: upper bound of the decoder's own memory, in bytes per pixel.
        what: subject of the message: "its frames have", or "NAME has" for an image.

    Raises:
        DecodeError: the size exceeds ``FRAME_PIXELS`` or ``MEMORY``.
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
