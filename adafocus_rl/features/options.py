"""Options of feature tables."""

from __future__ import annotations

from typing import Literal

Precision = Literal["float32", "bfloat16"]
"""Precision in which the encoders compute a table."""
