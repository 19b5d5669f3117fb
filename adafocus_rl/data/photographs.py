"""Real photographs for backgrounds: scikit-image's and scikit-learn's samples, or a folder of images."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from adafocus_rl.data.decode_error import DecodeError
from adafocus_rl.data.frame_folder import read_image
from adafocus_rl.data.frame_names import image_names
from adafocus_rl.errors import UserError, needs_extra
from adafocus_rl.files import user_path

SAMPLES = {
    # Of the images inside scikit-image's wheel, those of scenes and surfaces. They are read as files: importing the
    # package takes longer.
    "skimage/data": (
        *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "grass.png", "gravel.png"),
        *("motorcycle_left.png", "rocket.jpg"),
    ),
    "sklearn/datasets/images": ("china.jpg", "flower.jpg"),
}
"""Names of the photographs in each package's folder."""


@lru_cache(maxsize=2)
def read_photographs(folder: str | None, short_side: int) -> dict[str, tuple[NDArray[np.uint8], ...]]:
    """Read photographs, and divide each in two halves along its longer side: one for training, one for validation.

    Args:
        folder: folder of .jpg or .png images, in the order of their names; None for the samples of scikit-image and
            scikit-learn.
        short_side: short side in pixels to which each half is resized.

    Returns:
        {"train": left or upper halves, "val": right or lower halves}, each (H, W, 3) RGB uint8.

    Raises:
        UserError: scikit-image is not installed, the folder has no images, or one does not decode.
    """
    halves: dict[str, list[NDArray[np.uint8]]] = {"train": [], "val": []}
    for file in _samples() if folder is None else _images(user_path(folder)):
        try:
            photograph = read_image(file.parent, file.name)
        except DecodeError as error:
            raise UserError(f"the photograph {file} cannot be used ({error.reason}); give another folder") from None
        along = int(photograph.shape[1] >= photograph.shape[0])
        middle = photograph.shape[along] // 2
        for split, half in zip(halves, np.split(photograph, [middle], axis=along), strict=True):
            halves[split].append(_resized(half, short_side))
    return {split: tuple(parts) for split, parts in halves.items()}


def _samples() -> list[Path]:
    files = []
    for folder, names in SAMPLES.items():
        package, _, below = folder.partition("/")
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise needs_extra(
                "moving_products, for its photographs,", "scikit-image", extra="products",
                otherwise=", or give a folder of photographs with --data.embedded_options.photographs=DIR (adafocus "
                "data make: --photographs=DIR)",
            )  # fmt: skip
        files += [Path(spec.submodule_search_locations[0], below, name) for name in names]
    return files


def _images(folder: Path) -> list[Path]:
    names = sorted(image_names(folder)) if folder.is_dir() else []
    if not names:
        raise UserError(f"there is no .jpg or .png image in {folder}; give a folder of photographs")
    return [folder / name for name in names]


def _resized(image: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    scale = short_side / min(height, width)
    size = (max(short_side, round(width * scale)), max(short_side, round(height * scale)))
    return np.asarray(PillowImage.fromarray(image).resize(size, PillowImage.Resampling.LANCZOS))
