"""Building a bank in lower precision: the encoders that compute it, and their error."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from adafocus_rl.features.options import Precision
from adafocus_rl.features.specs import EncodedFrames, TableSpec
from adafocus_rl.models.folding import LowPrecisionEncoder
from adafocus_rl.models.recognizer import Recognizer


def in_precision(recognizer: Recognizer, precision: Precision) -> Recognizer:
    """Return the recogniser itself for ``float32``; otherwise a copy whose f_G and f_L compute in this precision."""
    if precision == "float32":
        return recognizer
    glance, focus = (LowPrecisionEncoder(part, torch.bfloat16) for part in (recognizer.glance, recognizer.focus))
    return recognizer.with_encoders(glance, focus).eval()


@torch.no_grad()
def precision_errors(
    recognizer: Recognizer, clips: Tensor, *, tables: Iterable[TableSpec], precision: Precision
) -> dict[str, float]:
    """Measure what lower precision changes in features.

    Args:
        recognizer: frozen f_G and f_L.
        clips: (B, T, 3, S, S), uint8 or prepared.
        tables: tables of features.
        precision: precision of the encoders.

    Returns:
        For each table, ‖features − float32 features‖ / ‖float32 features‖.
    """
    exact, low = EncodedFrames(recognizer, clips), EncodedFrames(in_precision(recognizer, precision), clips)
    errors = {}
    for table in tables:
        expected = table.fill(exact).float()
        norm = expected.norm()
        errors[table.name] = float((table.fill(low).float() - expected).norm() / norm) if norm > 0 else 0.0
    return errors
