"""Decoding and encoding, tried on a clip of the run that comes with the package."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from adafocus_rl.data.decode_error import DecodeError
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.run.shipped import PACKED

CLIP = PACKED / "clips" / "val" / "00000.mp4"
"""A clip of 16 frames of 64 × 64 pixels, H.264 in MP4."""

CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mpeg2video", "vp8")
"""Codecs whose decoders are looked up in PyAV's FFmpeg."""

NEAR = 8.0
"""Mean difference in grey levels below which a picture counts as the one that was encoded."""

INSTALL_AV = "pip install --force-reinstall av"
INSTALL_OPENCV = "pip uninstall -y opencv-python; pip install opencv-python-headless"


def decoding() -> dict[str, dict[str, Any]]:
    """Return, for each way to read or write pictures, whether it works, the milliseconds, and the reason if not."""
    return {
        "video": _tried(_video, INSTALL_AV),
        "film": _tried(_film, INSTALL_AV),
        "images": _tried(_images, INSTALL_OPENCV),
    }


def codecs() -> list[str]:
    """Return those of ``CODECS`` that can be decoded."""
    from av.codec import Codec

    found = []
    for name in CODECS:
        try:
            Codec(name, "r")
        except ValueError:
            continue
        found.append(name)
    return found


def _video() -> None:
    from adafocus_rl.data.decode import decode_frames

    frames = decode_frames(CLIP, range(16))
    if frames.shape != (16, 64, 64, 3) or frames.std() < 1:
        raise ValueError(f"{CLIP.name} was decoded to {frames.shape}, all alike")


def _film() -> None:
    from adafocus_rl.data.decode import decode_frames
    from adafocus_rl.data.encode import write_video

    frames = decode_frames(CLIP, [0, 1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_video(path, frames)
        _same(frames, decode_frames(path, [0, 1]))


def _images() -> None:
    from adafocus_rl.data.decode import decode_frames

    frames = decode_frames(CLIP, [0, 1])
    with tempfile.TemporaryDirectory() as folder:
        from PIL import Image

        for number, suffix in enumerate(("jpg", "png")):
            Image.fromarray(frames[number]).save(Path(folder) / f"{number}.{suffix}")
        _same(frames, decode_frames(Path(folder), [0, 1]))


def _same(frames: Any, again: Any) -> None:
    difference = np.abs(frames.astype(int) - again.astype(int)).mean()
    if difference > NEAR:
        raise ValueError(f"pictures differ by {difference:.0f} grey levels after they were encoded and decoded")


def _tried(attempt: Callable[[], None], command: str) -> dict[str, Any]:
    """Call it twice, since the first call imports, and time the second one."""
    try:
        attempt()
        started = time.perf_counter()
        attempt()
    except (DecodeError, UserError, OSError, ImportError, ValueError, RuntimeError) as error:
        return {"works": False, "ms": None, "reason": f"{error}", "command": command}
    return {"works": True, "ms": 1000 * (time.perf_counter() - started), "reason": "", "command": ""}
