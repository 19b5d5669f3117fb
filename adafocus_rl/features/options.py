"""Options of feature tables."""

from __future__ import annotations

from typing import Literal

Precision = Literal["float32", "bfloat16"]
"""Precision in which the encoders compute a table."""

EightBitTable = Literal["global_map", "local"]
"""Name of a table that can be stored in 8 bits: one of those that take most of a bank."""
