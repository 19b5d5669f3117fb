"""Frozen features behind one protocol: computed live, or read from a bank, which is a store of named tables."""

from typing import TYPE_CHECKING

from adafocus_rl.on_demand import on_demand

if TYPE_CHECKING:
    from adafocus_rl.features.bank import FeatureBank
    from adafocus_rl.features.build import build_bank
    from adafocus_rl.features.given import GivenClips
    from adafocus_rl.features.listed import index_of
    from adafocus_rl.features.live import LiveFeatures
    from adafocus_rl.features.size import bytes_per_video
    from adafocus_rl.features.source import EpisodeFeatures, FeatureSource
    from adafocus_rl.features.specs import DEFAULT_TABLES, FULL, GLANCE_VECTORS, EncodedFrames, TableSpec, vectors_at
    from adafocus_rl.features.store import TableStore
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "adafocus_rl.features.bank": ["FeatureBank"],
            "adafocus_rl.features.build": ["build_bank"],
            "adafocus_rl.features.given": ["GivenClips"],
            "adafocus_rl.features.listed": ["index_of"],
            "adafocus_rl.features.live": ["LiveFeatures"],
            "adafocus_rl.features.size": ["bytes_per_video"],
            "adafocus_rl.features.source": ["EpisodeFeatures", "FeatureSource"],
            "adafocus_rl.features.specs": [
                "DEFAULT_TABLES",
                "FULL",
                "GLANCE_VECTORS",
                "EncodedFrames",
                "TableSpec",
                "vectors_at",
            ],
            "adafocus_rl.features.store": ["TableStore"],
        },
    )

__all__ = [
    "DEFAULT_TABLES",
    "FULL",
    "GLANCE_VECTORS",
    "EncodedFrames",
    "EpisodeFeatures",
    "FeatureBank",
    "FeatureSource",
    "GivenClips",
    "LiveFeatures",
    "TableSpec",
    "TableStore",
    "build_bank",
    "bytes_per_video",
    "index_of",
    "vectors_at",
]
