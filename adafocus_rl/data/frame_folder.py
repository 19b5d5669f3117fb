"""Decoding of frames from a folder of images, by OpenCV."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from adafocus_rl.data.decode_error import DecodeError, DecoderAtWork, reason_of
from adafocus_rl.data.frame_limits import check_frame_size
from adafocus_rl.data.frame_names import image_names, ordered_names
from adafocus_rl.data.image_header import image_size
from adafocus_rl.errors import UserError
from adafocus_rl.files import read_bytes

END_OF_JPEG = b"\xff\xd9"

IMAGE_BYTES = 256 << 20
"""Largest image file that is read, in bytes."""


@lru_cache(maxsize=1)
def opencv() -> Any:
    """Import cv2 on first use and silence its messages.

    Raises:
        UserError: cv2 or one of its libraries is missing; the message names the package to install.
    """
    # This package reports bad files itself. FFmpeg reads the variable when it opens the first video.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2
    except ImportError as error:
        raise UserError(
            f"OpenCV cannot be imported ({error}); where libGL or another library of a display is absent, "
            "replace opencv-python with opencv-python-headless of the same version"
        ) from error
    logging = getattr(cv2.utils, "logging", None)
    if logging is not None and "OPENCV_LOG_LEVEL" not in os.environ:
        logging.setLogLevel(logging.LOG_LEVEL_ERROR)
    return cv2


def folder_frames(folder: Path, wanted: Sequence[int], template: str | None = None) -> dict[int, NDArray[np.uint8]]:
    """Decode images by number.

    Args:
        folder: the folder of images.
        wanted: one or more numbers from 0.
        template: pattern of the names of frames, as in ``listed_images``.

    Returns:
        {number: (H, W, 3) RGB uint8}, rotated upright by the image's EXIF; grey and transparent images become RGB.

    Raises:
        DecodeError: an image does not decode completely, or the folder has too few images.
    """
    images = listed_images(folder, template)
    beyond = [i for i in wanted if i >= len(images)]
    if beyond:
        raise DecodeError(folder, f"truncated: wanted frame {min(beyond)}, the folder holds {len(images)} images")
    return {i: read_image(folder, images[i], held=len(wanted)) for i in sorted(set(wanted))}


def listed_images(folder: Path, template: str | None = None) -> list[str]:
    """List the names of the frames of a folder, in the order of ``ordered_names``.

    Raises:
        DecodeError: the folder has no frames.
    """
    names = ordered_names(folder, template)
    if names:
        return names
    if template is None or not image_names(folder):
        raise DecodeError(folder, "the folder holds no .jpg or .png image")
    raise DecodeError(folder, f"no image in the folder is named like the template {template!r}")


def read_image(folder: Path, name: str, *, held: int = 1) -> NDArray[np.uint8]:
    """Decode one image to (H, W, 3) RGB uint8.

    Args:
        folder: folder of the image.
        name: file name of the image.
        held: number of images of its size that will be in memory at once.

    Raises:
        DecodeError: it is not a file, does not decode completely, or is too large.
    """
    cv2 = opencv()
    # Read as bytes because cv2.imread cannot open names outside the system's code page on Windows.
    file = folder / name
    try:
        # Allocating for the limit instead of the file's size would cost a tenth of the decoding time.
        data = read_bytes(file, "image", limit=min(IMAGE_BYTES, _size(file)))
    except UserError as error:
        raise DecodeError(folder, f"{name} cannot be read: {error}") from None
    not_one = DecodeError(folder, f"{name} is not an image that decodes ({len(data)} bytes)")
    try:
        width, height = image_size(data)
    except ValueError:
        raise not_one from None
    check_frame_size(folder, width, height, held=held, what=f"{name} has")
    # The decoder writes RGB itself where OpenCV supports it; reversing BGR afterwards takes as long as decoding.
    as_rgb = getattr(cv2, "IMREAD_COLOR_RGB", None)
    with DecoderAtWork(folder, name):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR if as_rgb is None else as_rgb)
    if image is None:
        raise not_one
    _check_whole(folder, name, data)
    frame: NDArray[np.uint8] = image[..., ::-1] if as_rgb is None else image
    return frame


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0  # reading the file reports the error


def _check_whole(folder: Path, name: str, data: bytes) -> None:
    """Refuse a truncated JPEG, which OpenCV may silently fill with grey."""
    if name.lower().endswith(".png") or END_OF_JPEG in data[-16:]:
        return
    # Some cameras write data after the end of the image, so Pillow decides.
    try:
        with PillowImage.open(io.BytesIO(data)) as picture:
            picture.load()
    except Exception as error:  # a decoding library may raise anything
        raise DecodeError(folder, f"{name} is cut short ({reason_of(error)})") from None
