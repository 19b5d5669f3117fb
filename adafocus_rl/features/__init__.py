"""Frozen features behind one protocol: computed live, or read from a bank, which is a store of named tables."""

from adafocus_rl.features.bank import FeatureBank
from adafocus_rl.features.build import build_bank
from adafocus_rl.features.given import GivenClips
from adafocus_rl.features.listed import index_of
from adafocus_rl.features.live import LiveFeatures
from adafocus_rl.features.source import EpisodeFeatures, FeatureSource
from adafocus_rl.features.specs import DEFAULT_TABLES, FULL, GLANCE_VECTORS, EncodedFrames, TableSpec, vectors_at
from adafocus_rl.features.store import TableStore

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
    "index_of",
    "vectors_at",
]
