"""Where in the product a point lies, from the stack."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


TOOLS = ("adafocus_rl.files", "adafocus_rl.folders", "adafocus_rl.checksums", "adafocus_rl.checkpoint")
"""Modules that write for others."""


def where() -> tuple[str, str]:
    """The stage and the function of the product in which a point lies."""
    stage, place = "", ""
    for frame in _frames():
        module = str(frame.f_globals.get("__name__"))
        if not module.startswith("adafocus_rl."):
            continue
        if not place and module not in TOOLS:
            place = f"{module.rpartition('.')[2]}.{frame.f_code.co_name}"
        if module == "adafocus_rl.experiments.training.trainer" and frame.f_code.co_name == "fit":
            return str(frame.f_locals.get("step", "")), place
        if not stage and module == "adafocus_rl.experiments.evaluation.evaluate":
            stage = "evaluate"
        if module == "adafocus_rl.features.build":
            stage = "bank"
    return stage or "command", place
