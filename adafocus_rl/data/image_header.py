"""Width and height of an image from its header, checked because decoders allocate memory before they read the rest."""

from __future__ import annotations

import io
import struct

from PIL import Image as PillowImage

_PNG = b"\x89PNG\r\n\x1a\n"

CHUNK_BYTES = 1 << 28
"""Longest chunk of a PNG that is decoded, in bytes; twice that of the largest frame without compression."""

_JPEG = b"\xff\xd8"

_NO_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))
"""JPEG markers that are not followed by a length."""

_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers that are followed by the size of the image."""


def image_size(data: bytes) -> tuple[int, int]:
    """Read the stored (width, height) of an image.

    JPEG and PNG headers are parsed here, which takes microseconds; Pillow reads the header of any other format.

    Raises:
        ValueError: the data is not an image that Pillow knows.
    """
    if data.startswith(_JPEG):
        return _jpeg_size(data)
    if data.startswith(_PNG):
        return _png_size(data)
    try:
        with PillowImage.open(io.BytesIO(data)) as picture:
            width, height = picture.size
    except Exception as error:  # a decoding library may raise anything
        raise ValueError("it is no image") from error
    return int(width), int(height)


def _png_size(data: bytes) -> tuple[int, int]:
    """Read the size in the header; also check the declared length of each chunk, for which decoders allocate memory."""
    if len(data) < 24:
        raise ValueError("it ends within its header")
    place = len(_PNG)
    while place + 4 <= len(data):
        length = struct.unpack_from(">I", data, place)[0]
        if length > CHUNK_BYTES:
            raise ValueError(f"a part of it claims {length} bytes")
        place += length + 12
    width, height = struct.unpack_from(">II", data, 16)
    return int(width), int(height)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Read the size in the first frame header; like libjpeg, go from segment to segment and skip bytes in between."""
    place = 2
    while (place := data.find(b"\xff", place)) >= 0:
        while data[place : place + 1] == b"\xff":
            place += 1
        if place >= len(data):
            break
        marker = data[place]
        place += 1
        if marker == 0 or marker in _NO_LENGTH:
            continue
        if marker in _FRAME_HEADERS:
            if len(data) < place + 7:
                break
            height, width = struct.unpack_from(">HH", data, place + 3)
            return int(width), int(height)
        if len(data) < place + 2:
            break
        place += struct.unpack_from(">H", data, place)[0]
    raise ValueError("it has no frame header")
