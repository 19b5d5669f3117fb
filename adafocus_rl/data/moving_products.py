"""Nearly real videos: a product drifts over a panning photograph, among pieces of other products.

The products are Fashion-MNIST's photographs, enlarged and tinted; the class is the product's. A distractor is another
product, of any class, whose image is cut into blocks that are put together in random order: it has a product's size,
colours and texture but not its shape, and says nothing about the class. The backgrounds are real photographs. The
product is present only for a contiguous part of the clip. Training clips show the training images of Fashion-MNIST and
one half of each photograph, validation clips the test images and the other half. Stills, close-ups of single products,
serve to fine-tune encoders first.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.data.clip_files import ClipSet, even_labels, write_clips
from adafocus_rl.data.datasets import Progress
from adafocus_rl.data.fashion_mnist import CLASSES, read_fashion_mnist
from adafocus_rl.data.photographs import read_photographs
from adafocus_rl.data.product_clips import MovingProductsConfig, render_product_clip, render_product_stills
from adafocus_rl.seeding import derive_seed

__all__ = ["MovingProductsConfig", "make_moving_products"]

# Incremented when the same configuration gives other pixels, so that old folders are not mistaken for new ones.
GENERATOR = 1


def make_moving_products(
    out: Path,
    config: MovingProductsConfig | None = None,
    progress: Progress | None = None,
    *,
    workers: int | None = None,
) -> dict[str, Path]:
    """Write the dataset; see ``write_clips`` for the files, the arguments and the errors.

    Products and photographs are read only if the dataset is not complete already.

    Returns:
        {"train": list file, "val": list file, "stills": list file}; without "stills" if there are none.

    Raises:
        UserError: besides, if the files of Fashion-MNIST or the photographs are missing or damaged.
    """
    settings = config if config is not None else MovingProductsConfig()
    counts = {"train": settings.train_videos, "val": settings.val_videos}
    if settings.still_videos:
        counts["stills"] = settings.still_videos
    seeds = {split: derive_seed(settings.seed, "moving_products", split, "labels") for split in counts}
    clips = ClipSet(
        render=Renderer(settings),
        labels={split: even_labels(n, len(CLASSES), seed=seeds[split]).tolist() for split, n in counts.items()},
        classes=CLASSES,
        frames=settings.frames,
        fps=settings.fps,
        crf=settings.crf,
    )
    description = {"name": "moving_products", "generator": GENERATOR, "config": dataclasses.asdict(settings)}
    return write_clips(out, clips, description=description, progress=progress, workers=workers)


make_moving_products.num_classes = len(CLASSES)  # type: ignore[attr-defined]  # known before the dataset is written


@dataclass(frozen=True)
class Renderer:
    """Renders a clip of a split; each process reads the sources once."""

    config: MovingProductsConfig

    def __call__(self, label: int, split: str, number: int) -> tuple[NDArray[np.uint8], NDArray[np.float64] | None]:
        """Return the frames and true boxes of a clip; stills have no boxes."""
        part = "val" if split == "val" else "train"
        products = read_fashion_mnist(self.config.source)[part]
        # Two fifths more than the window: room to pan, even over halves of square photographs.
        backgrounds = read_photographs(self.config.photographs, self.config.side * 7 // 5)[part]
        if split == "stills":
            return render_product_stills(self.config, products, backgrounds, label, number), None
        return render_product_clip(self.config, products, backgrounds, label, split, number)
