"""Which list the rows of a feature source belong to."""

from __future__ import annotations

from adafocus_rl.data.index import VideoIndex
from adafocus_rl.features.bank import FeatureBank
from adafocus_rl.features.live import LiveFeatures
from adafocus_rl.features.source import FeatureSource


def index_of(source: FeatureSource) -> VideoIndex | None:
    """Return the list of videos that the source's rows refer to; None if it is not known."""
    if isinstance(source, LiveFeatures):
        return source.dataset.index
    return source.index if isinstance(source, FeatureBank) else None
