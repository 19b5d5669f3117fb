"""Frozen features: one protocol, computed live or read from a bank."""

from adafocus_rl.features.bank import FeatureBank
from adafocus_rl.features.build import build_bank
from adafocus_rl.features.given import GivenClips
from adafocus_rl.features.live import LiveFeatures
from adafocus_rl.features.source import EpisodeFeatures, FeatureSource

__all__ = ["EpisodeFeatures", "FeatureBank", "FeatureSource", "GivenClips", "LiveFeatures", "build_bank"]
