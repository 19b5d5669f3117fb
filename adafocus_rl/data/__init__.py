"""From videos to clips: list files, decoding, sampling, transforms, loading, and the embedded data.

Import the loaders, which need torchvision, and the decoders, which need OpenCV, from their own modules.
"""

from typing import TYPE_CHECKING

from adafocus_rl.on_demand import on_demand

if TYPE_CHECKING:
    from adafocus_rl.data.datasets import DATASETS, DatasetMaker
    from adafocus_rl.data.digit_clips import MovingDigitsConfig
    from adafocus_rl.data.moving_digits import make_moving_digits
    from adafocus_rl.data.moving_digits_long import MovingDigitsLongConfig, make_moving_digits_long
    from adafocus_rl.data.moving_products import MovingProductsConfig, make_moving_products
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "adafocus_rl.data.datasets": ["DATASETS", "DatasetMaker"],
            "adafocus_rl.data.digit_clips": ["MovingDigitsConfig"],
            "adafocus_rl.data.moving_digits": ["make_moving_digits"],
            "adafocus_rl.data.moving_digits_long": ["MovingDigitsLongConfig", "make_moving_digits_long"],
            "adafocus_rl.data.moving_products": ["MovingProductsConfig", "make_moving_products"],
        },
    )

__all__ = [
    "DATASETS",
    "DatasetMaker",
    "MovingDigitsConfig",
    "MovingDigitsLongConfig",
    "MovingProductsConfig",
    "make_moving_digits",
    "make_moving_digits_long",
    "make_moving_products",
]
