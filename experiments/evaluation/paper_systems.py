"""Compute that is published for systems other than AdaFocus, beside the same systems counted here.

Encoders are counted at the published sizes. Heads, LSTMs and policies are left out where the published cost leaves them
out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import torch
from torch import nn

from adafocus_rl.agents.methods import adaframe, listen_to_look, multi_agent, scsampler
from adafocus_rl.agents.methods.published import AR_NET, PREVIEW
from adafocus_rl.experiments.evaluation.paper_compute import (
    CLASSES,
    ComputeRow,
    Convention,
    adafocus_rows,
    image_gmacs,
    something_rows,
)
from adafocus_rl.experiments.evaluation.published import (
    ADA_FRAME,
    LISTEN_TO_LOOK,
    LITE_EVAL,
    MULTI_AGENT,
    SAMPLER,
    published_cost,
)
from adafocus_rl.flops import macs
from adafocus_rl.models.torchvision_encoders import MobileNetV2Encoder

PREVIEW_FRAMES = 10
"""Frames of Listen-to-look's preview, inferred: MobileNet-V2 at 224 takes a tenth of its published cost."""

LIGHT_FRAMES = 16
"""Frames in AdaFrame's memory."""


def paper_rows() -> list[ComputeRow]:
    """Return the published cost of every system and operating point, with the counted one."""
    return [
        *adafocus_rows(),
        *something_rows(),
        *_sampler(),
        *_ar_net(),
        *_multi_agent(),
        *_lite_eval(),
        *_ada_frame(),
        *_listen_to_look(),
    ]


def sampler_gmacs(frames: int, kept: int, *, classes: int) -> float:
    """Return SCSampler's GMACs: MobileNet-V2 at 84 on all frames, ResNet-50 at 224 on kept ones (AR-Net's version)."""
    light = image_gmacs("mobilenet_v2", 84, classes=classes, convention="with batch-norm")
    return frames * light + kept * image_gmacs("resnet50", 224, classes=classes, convention="with batch-norm")


def frames_gmacs(heavy: float, light: float = 0, *, light_side: int = 112, convention: Convention = "conv+fc") -> float:
    """Return the GMACs of ResNet-101 at 224 on ``heavy`` frames and MobileNet-V2 on ``light`` ones.

    Args:
        heavy: number of frames, which may be a mean over videos.
        light: number of frames of the light network.
        light_side: its input side in pixels.
        convention: which operations count.
    """
    cost = heavy * image_gmacs("resnet101", 224, classes=CLASSES["ActivityNet"], convention=convention)
    return cost + light * image_gmacs("mobilenet_v2", light_side, classes=0, convention=convention)


@cache
def ar_net_costs(*, classes: int) -> dict[str, float]:
    """Return AR-Net's GMACs of each action that processes a frame, and of a decision: MobileNet-V2 at 84, LSTM 512."""
    bn: Convention = "with batch-norm"
    vector = MobileNetV2Encoder.vector_dim
    memory = macs(nn.LSTM(vector, 512, batch_first=True), torch.zeros(1, 1, vector), shapes_only=True) / 1e9
    return {
        "ResNet-50 at 224": image_gmacs("resnet50", 224, classes=classes, convention=bn),
        "ResNet-34 at 168": image_gmacs("resnet34", 168, classes=classes, convention=bn),
        "ResNet-18 at 112": image_gmacs("resnet18", 112, classes=classes, convention=bn),
        "policy": image_gmacs("mobilenet_v2", 84, classes=classes, convention=bn) + memory,
    }


def ar_net_bounds(frames: int, *, classes: int) -> tuple[float, float]:
    """Return the GMACs of AR-Net's cheapest and most expensive video.

    The policy skips at most four frames at a time, that of the decision included. In the cheapest video, it always
    skips four frames; in the most expensive one, it runs on every frame, and all frames go to ResNet-50.
    """
    costs = ar_net_costs(classes=classes)
    return -(-frames // 4) * costs["policy"], frames * (costs["policy"] + costs["ResNet-50 at 224"])


def _sampler() -> Iterator[ComputeRow]:
    rows = [("ActivityNet", frames, kept, scsampler.published_gmacs(frames, kept)) for frames, kept, _ in SAMPLER]
    rows += [(name, 16, 10, cost) for name in ("FCVID", "Mini-Kinetics") for cost in published_cost("SCSampler", name)]
    for dataset, frames, kept, published in rows:
        yield ComputeRow(
            system="SCSampler",
            dataset=dataset,
            settings=f"MobileNet-V2 at 84 on T = {frames} frames, ResNet-50 at 224 on k = {kept}",
            convention="with batch-norm",
            published_gmacs=published,
            ours_gmacs=sampler_gmacs(frames, kept, classes=CLASSES[dataset]),
        )


def _ar_net() -> Iterator[ComputeRow]:
    for dataset in ("ActivityNet", "FCVID", "Mini-Kinetics"):
        low, high = ar_net_bounds(16, classes=CLASSES[dataset])
        for cost in published_cost("AR-Net", dataset):
            note = "its usage shares are not published; "
            if low <= cost <= high:
                note += f"T = 16 allows {low:.3g} to {high:.3g}"
            else:
                note += f"T = 16 allows at most {high:.3g}, so it had more frames, and how many is not published"
            yield ComputeRow(
                system="AR-Net",
                dataset=dataset,
                settings="policy MobileNet-V2 at 84 and LSTM; ResNet-50, -34, -18 at 224, 168, 112",
                convention="with batch-norm",
                published_gmacs=cost,
                ours_gmacs=None,
                note=note,
            )
    ours = ar_net_costs(classes=CLASSES["ActivityNet"])
    for action, cost in AR_NET.items():
        yield ComputeRow(
            system="AR-Net, a frame",
            dataset="ActivityNet",
            settings="a decision: MobileNet-V2 at 84 and LSTM 512" if action == "policy" else f"the action {action}",
            convention="with batch-norm",
            published_gmacs=cost,
            ours_gmacs=ours[action],
        )


def _multi_agent() -> Iterator[ComputeRow]:
    for frames, _ in MULTI_AGENT:
        yield ComputeRow(
            system="MultiAgent",
            dataset="ActivityNet",
            settings=f"ResNet-101 at 224 on {frames} frames in the mean",
            convention="with batch-norm",
            published_gmacs=multi_agent.published_gmacs(frames),
            ours_gmacs=frames_gmacs(frames, convention="with batch-norm"),
        )


def _lite_eval() -> Iterator[ComputeRow]:
    frames, fine = LITE_EVAL
    for dataset in ("ActivityNet", "FCVID"):
        (*_, published) = published_cost("LiteEval", dataset)
        yield ComputeRow(
            system="LiteEval",
            dataset=dataset,
            settings=f"MobileNet-V2 at 112 on {frames} frames, ResNet-101 at 224 on {fine}",
            convention="conv+fc",
            published_gmacs=published,
            ours_gmacs=frames_gmacs(fine, frames),
            note=f"about {fine} of {frames} frames; the exact number is not published",
        )


def _ada_frame() -> Iterator[ComputeRow]:
    for steps, frames, _, published in ADA_FRAME:
        formula = adaframe.published_gmacs(frames)
        yield ComputeRow(
            system=f"AdaFrame-{steps}",
            dataset="ActivityNet",
            settings=f"MobileNet-V2 at 112 on {LIGHT_FRAMES} frames, ResNet-101 at 224 on {frames} in the mean",
            convention="conv+fc",
            published_gmacs=formula if published is None else published,
            ours_gmacs=frames_gmacs(frames, LIGHT_FRAMES),
            note="published: from its frames and the published costs of an image" if published is None else "",
        )


def _listen_to_look() -> Iterator[ComputeRow]:
    for frames in LISTEN_TO_LOOK:
        yield ComputeRow(
            system="Listen-to-look",
            dataset="ActivityNet",
            settings=f"MobileNet-V2 at 224 on {PREVIEW_FRAMES} frames, ResNet-101 at 224 on {frames}",
            convention="with batch-norm",
            published_gmacs=listen_to_look.published_gmacs(frames),
            ours_gmacs=frames_gmacs(frames, PREVIEW_FRAMES, light_side=224, convention="with batch-norm"),
            note=f"{PREVIEW_FRAMES} frames of the preview inferred from its cost, {PREVIEW}",
        )
