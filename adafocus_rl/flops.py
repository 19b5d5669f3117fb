"""Compute accounting: multiply-accumulates (MACs), counted by torch's own FLOP counter on CPU.

Publications use two conventions. *conv+fc* counts the multiply-accumulates of convolutions and matrix products only
(ResNet-50 at 224 with 200 classes: 4.0875 G). *with batch-norm* adds two per element that batch normalisation writes,
as some tools do (4.1098 G). Neither counts resizing, activations or pooling.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.models.encoders import Encoder
from adafocus_rl.models.recognizer import Recognizer

# All operators to which batch normalisation may dispatch; which one depends on torch's version.
_BATCH_NORMS = (
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "_batch_norm_with_update",
    "_batch_norm_no_update",
)


_ENCODER_MACS: WeakKeyDictionary[Encoder, dict[tuple[int, bool], int]] = WeakKeyDictionary()
"""Counted once for each encoder, size and convention."""


@dataclass(frozen=True, kw_only=True)
class Macs:
    """Cost of each part of a recogniser for one step, in MACs.

    A step is one frame, or the whole clip if the encoders encode its frames together.
    """

    glance: int
    """f_G on the step's whole frames at the glance size."""
    focus_patch: int
    """f_L on the step's patch."""
    focus_full: int
    """f_L on the step's whole frames at the frame size."""
    classifier: int
    """f_C for one step: the state and the logits."""


def macs(
    function: nn.Module | Callable[..., object],
    *inputs: Tensor,
    with_batch_norm: bool = False,
    shapes_only: bool = False,
) -> int:
    """Count the MACs of one call.

    Args:
        function: a module, of which a copy runs on CPU in evaluation mode and float32; or any function that computes
            on CPU (the counter does not count the fused recurrent kernels of other devices).
        *inputs: tensors for the call; the count depends on their shapes only, unless the function branches on values.
        with_batch_norm: add two per element that batch normalisation writes.
        shapes_only: run the copy of a module on the ``meta`` device, which has no memory. This yields the same count
            faster, for modules that do not read values. (It also counts an ``LSTM``, which runs as one uncounted
            oneDNN operator on CPU.)

    Returns:
        MACs of the whole call, summed over the batch.

    Raises:
        ValueError: ``function`` is not a module, and an input is on another device or ``shapes_only`` is set.
    """
    if isinstance(function, nn.Module):
        device = "meta" if shapes_only else "cpu"
        function = copy.deepcopy(function).to(device, torch.float32).eval()
        inputs = tuple(x.to(device) for x in inputs)
    elif shapes_only:
        raise ValueError("only a module can be counted on shapes only")
    elif any(x.device.type != "cpu" for x in inputs):
        raise ValueError("MACs are counted on CPU; move the function's parameters and its inputs there")
    mapping: dict[Any, Any] = {}
    if with_batch_norm:
        operators = [getattr(torch.ops.aten, name) for name in _BATCH_NORMS if hasattr(torch.ops.aten, name)]
        mapping = dict.fromkeys(operators, _batch_norm_flops)
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        function(*inputs)
    return int(counter.get_total_flops()) // 2


def _batch_norm_flops(shape: torch.Size, *_: object, **__: object) -> int:
    return 4 * shape.numel()  # FLOPs; ``macs`` halves the total


def encoder_macs(encoder: Encoder, size: int, *, with_batch_norm: bool = False) -> int:
    """Return the MACs of an encoder of single frames on one image of ``size`` × ``size`` pixels."""
    key = (size, with_batch_norm)
    counted = _ENCODER_MACS.setdefault(encoder, {})
    if key not in counted:
        counted[key] = macs(encoder, torch.zeros(1, 3, size, size), with_batch_norm=with_batch_norm)
    return counted[key]


def classifier_macs(classifier: Classifier, *, with_batch_norm: bool = False) -> int:
    """Return the MACs of one step of f_C for one video: the new state and its logits."""
    classifier = copy.deepcopy(classifier).to("cpu", torch.float32).eval()
    x, state = torch.zeros(1, classifier.input_dim), classifier.initial_state(1)
    return macs(
        lambda x, state: classifier.logits(classifier.cell(x, state)), x, state, with_batch_norm=with_batch_norm
    )


def component_macs(recognizer: Recognizer, *, with_batch_norm: bool = False) -> Macs:
    """Count the MACs of each part of a recogniser at its configured sizes.

    Args:
        recognizer: on any device and in any mode; it is not modified.
        with_batch_norm: add two per element that batch normalisation writes.
    """
    config = recognizer.config
    glance_frames, focus_frames = recognizer.clip_frames or (1, 1)

    def images(count: int, side: int) -> Tensor:
        return torch.zeros(count, 3, side, side)

    return Macs(
        glance=macs(recognizer.glance, images(glance_frames, config.glance_size), with_batch_norm=with_batch_norm),
        focus_patch=macs(recognizer.focus, images(focus_frames, config.patch_size), with_batch_norm=with_batch_norm),
        focus_full=macs(recognizer.focus, images(focus_frames, config.frame_size), with_batch_norm=with_batch_norm),
        classifier=classifier_macs(recognizer.classifier, with_batch_norm=with_batch_norm),
    )


def video_macs(
    costs: Macs,
    *,
    num_steps: int,
    policy_macs: int,
    uses_patch: bool,
    uses_full: bool,
    uses_glance: bool = True,
    kept: float = 1.0,
) -> dict[str, float]:
    """Return the MACs of one video whose steps all cost the same, except that f_L skips a share of them.

    Args:
        costs: cost of each part.
        num_steps: T; 1 if the encoders encode the clip as a whole.
        policy_macs: MACs of the policy for one step; 0 for an agent without a network.
        uses_patch: whether f_L runs on one patch of each frame.
        uses_full: whether f_L runs on each whole frame.
        uses_glance: whether f_G runs on each frame.
        kept: share of the frames on which f_L runs, in [0, 1]; all other parts run on every frame.

    Returns:
        ``total``, and ``local``, the part of it spent by f_L.
    """
    local = kept * (uses_patch * costs.focus_patch + uses_full * costs.focus_full)
    step = local + uses_glance * costs.glance + costs.classifier + policy_macs
    return {"total": num_steps * step, "local": num_steps * local}
