"""The deployed form of a recogniser: for recognition only, and faster."""

from __future__ import annotations

import torch

from adafocus_rl.features.options import Precision
from adafocus_rl.models.deployed import DeployedEncoder, check_compiler
from adafocus_rl.models.recognizer import Recognizer

DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def deployed(recognizer: Recognizer, *, precision: Precision = "float32", compile: bool = False) -> Recognizer:
    """Return a copy of a recogniser whose f_G and f_L compute the same features in less time.

    Their batch norms are folded into the convolutions, and on CPU they encode frames in chunks that stay in the cache.
    In ``float32`` features equal the recogniser's to rounding. Only f_G and f_L compute in ``bfloat16``: their inputs
    and their features are float32, and so are π and f_C, whose small matrices gain nothing from it.

    The copy shares f_C with the recogniser. Methods and agents are made on the recogniser itself, and receive features
    that the copy computes (``LiveEpisodes``).

    Args:
        recognizer: frozen f_G and f_L, on the device to run on.
        precision: type in which f_G and f_L compute.
        compile: compile both with ``torch.compile``, when they see the first batch of each shape.

    Raises:
        UserError: ``compile`` is set, and no compiler is found.
    """
    if compile:
        check_compiler(recognizer.scale.device)
    glance, focus = (
        DeployedEncoder(part, dtype=DTYPES[precision], compiled=compile)
        for part in (recognizer.glance, recognizer.focus)
    )
    return recognizer.with_encoders(glance, focus).eval()
