"""Frames of a folder of images, by OpenCV."""

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
"""Bytes of the largest image file that is read."""


@lru_cache(maxsize=1)
def opencv() -> Any:
    """The module cv2, imported when first needed and told to keep its messages to itself.

    Raises:
        UserError: cv2 is not there or one of its libraries is not, with the package that helps.
    """
    # Everything FFmpeg has to say about a bad file, we say in words; it reads this when the first video is
    # opened.
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
    """Decode the images with these numbers.

    Args:
        folder: where the images are.
        wanted: numbers from 0, at least one.
        template: which images are frames, as in ``listed_images``.

    Returns:
        {number: (H, W, 3) RGB uint8}, turned upright as the image's EXIF says, grey and transparent images as RGB.

    Raises:
        DecodeError: an image that does not decode whole, or fewer images than wanted.
    """
    images = listed_images(folder, template)
    beyond = [i for i in wanted if i >= len(images)]
    if beyond:
        raise DecodeError(folder, f"truncated: wanted frame {min(beyond)}, the folder holds {len(images)} images")
    return {i: read_image(folder, images[i], held=len(wanted)) for i in sorted(set(wanted))}


def listed_images(folder: Path, template: str | None = None) -> list[str]:
    """Names of the frames of a folder, in order (``ordered_names``).

    Raises:
        DecodeError: there is none.
    """
    names = ordered_names(folder, template)
    if names:
        return names
    if template is None or not image_names(folder):
        raise DecodeError(folder, "the folder holds no .jpg or .png image")
    raise DecodeError(folder, f"no image in the folder is named like the template {template!r}")


def read_image(folder: Path, name: str, *, held: int = 1) -> NDArray[np.uint8]:
    """One image (H, W, 3) RGB uint8.

    Args:
        folder: where it is.
        name: its name.
        held: how many of its size will be in memory at once.

    Raises:
        DecodeError: it is no file, does not decode, or not to its end, or is too large.
    """
    cv2 = opencv()
    # Through bytes: cv2.imread cannot open names outside the system's code page on Windows.
    file = folder / name
    try:
        # Room for the limit, instead of for the file, would take a tenth of the decoding's time.
        data = read_bytes(file, "image", limit=min(IMAGE_BYTES, _size(file)))
    except UserError as error:
        raise DecodeError(folder, f"{name} cannot be read: {error}") from None
    not_one = DecodeError(folder, f"{name} is not an image that decodes ({len(data)} bytes)")
    try:
        width, height = image_size(data)
    except ValueError:
        raise not_one from None
    check_frame_size(folder, width, height, held=held, what=f"{name} has")
    # The decoder writes RGB itself; turning BGR round afterwards takes as long as decoding. Older OpenCV cannot.
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
        return 0  # whoever reads it says why


def _check_whole(folder: Path, name: str, data: bytes) -> None:
    """OpenCV may fill up a JPEG that was cut short with grey and say nothing."""
    if name.lower().endswith(".png") or END_OF_JPEG in data[-16:]:
        return
    # Some cameras write more behind the image's end: Pillow decides.
    try:
        with PillowImage.open(io.BytesIO(data)) as picture:
            picture.load()
    except Exception as error:  # whatever a decoding library raises
        raise DecodeError(folder, f"{name} is cut short ({reason_of(error)})") from None
