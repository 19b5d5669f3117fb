"""Compute that the paper publishes for its own and other systems, beside the same systems counted here.

The papers call their numbers GFLOPs and mean 10⁹ multiply-accumulates (MACs) per video. "Ours" is never copied from a
table: the networks that the project trains are built at their published sizes and counted (``adafocus_rl.flops``). The
papers use two conventions, so each row names its own: AdaFocus, AdaFocus-TSM, TSM and TSM+ count convolutions and fully
connected layers; SCSampler and AR-Net were counted with tools that add 2 for each element that batch normalisation
writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from adafocus_rl.agents.policies import NetworkOptions, RecurrentActorCritic
from adafocus_rl.flops import macs
from adafocus_rl.models import create_classifier, create_encoder
from adafocus_rl.models.torchvision_encoders import MobileNetV2Encoder

Convention = Literal["conv+fc", "with batch-norm"]

CLASSES = {"ActivityNet": 200, "FCVID": 239, "Mini-Kinetics": 200, "Something-Something V1, V2": 174}
"""Number of classes K of each dataset."""

SAMPLER_SETTINGS = {16.9: (8, 4), 33.7: (16, 8), 42.0: (16, 10), 51.0: (32, 12)}
"""SCSampler's published costs, and (T frames processed, k frames kept) for each.

Only (16, 10) is published (AR-Net's re-implementation). The others are inferred: for T in 8, 16, 32 and integer k, each
is the only pair whose cost is within 1 % of the published one; a test checks all pairs.
"""


@dataclass(frozen=True, kw_only=True)
class ComputeRow:
    """One published cost and the cost counted here."""

    system: str
    """Name in the paper's tables, with the side of the patch if there is one."""
    dataset: str
    """Name of the dataset, which sets the number of classes."""
    settings: str
    """Networks and sizes that were counted."""
    convention: Convention
    """Which operations count."""
    published_gmacs: float
    """Published cost per video."""
    ours_gmacs: float | None
    """Counted cost per video; None if it depends on shares that are not published."""
    note: str = ""
    """What was inferred, or why nothing could be counted."""

    @property
    def ratio(self) -> float | None:
        """Ours / published."""
        return None if self.ours_gmacs is None else self.ours_gmacs / self.published_gmacs

    def plain(self) -> dict[str, Any]:
        """Return the row as a dict for JSON."""
        return {
            "system": self.system, "dataset": self.dataset, "settings": self.settings, "convention": self.convention,
            "published_gmacs": self.published_gmacs, "ours_gmacs": self.ours_gmacs, "ratio": self.ratio,
            "note": self.note,
        }  # fmt: skip


def image_gmacs(encoder: str, side: int, *, classes: int, convention: Convention = "conv+fc", frames: int = 1) -> float:
    """Return the GMACs of a registered encoder, followed by a linear classifier, on square images.

    Args:
        encoder: name of the encoder.
        side: side of an image in pixels.
        classes: outputs of the classifier; 0 for no classifier.
        convention: which operations count.
        frames: number of images; a whole clip for encoders with temporal shift.
    """
    body, vector = _body(encoder, side, convention, frames)
    return (body + macs(nn.Linear(vector, classes), torch.zeros(frames, vector))) / 1e9 if classes else body / 1e9


@cache
def _body(encoder: str, side: int, convention: Convention, frames: int) -> tuple[int, int]:
    """Return the MACs of an encoder on all frames, and the size D of its vectors."""
    with torch.device("meta"):  # only shapes matter: no memory, and no time to draw weights
        network = create_encoder(encoder)
        network.set_num_frames(frames)
        images = torch.zeros(frames, 3, side, side)
    with_batch_norm = convention == "with batch-norm"
    return macs(network, images, with_batch_norm=with_batch_norm, shapes_only=True), network.vector_dim


@cache
def policy_gmacs(channels: int, *, reduced_channels: int, actions: int | None) -> float:
    """Return the GMACs of one decision of π on 7×7 maps, including its value.

    Args:
        channels: channels of the map; T · C if all frames of a clip are stacked.
        reduced_channels: output channels of π's 1×1 convolution.
        actions: A, or None for one continuous position.
    """
    box = gym.spaces.Box(0, 1, (2,), np.float32)
    network = RecurrentActorCritic(
        observation_space=gym.spaces.Box(-np.inf, np.inf, (channels, 7, 7), np.float32),
        action_space=box if actions is None else gym.spaces.Discrete(actions),
        options=NetworkOptions(reduced_channels=reduced_channels),
    )
    maps = torch.zeros(1, channels, 7, 7)
    return macs(lambda maps: network.step(maps, network.initial_state(1)), maps) / 1e9


@cache
def classifier_gmacs(input_dim: int, classes: int) -> float:
    """Return the GMACs of one step of the recurrent f_C, including its logits."""
    f_c = create_classifier("gru", input_dim=input_dim, num_classes=classes, hidden=1024, dropout=0)
    return macs(lambda x: f_c.logits(f_c.cell(x, f_c.initial_state(1))), torch.zeros(1, input_dim)) / 1e9


def adafocus_gmacs(patch: int, *, frames: int = 16, classes: int = 200) -> float:
    """Return AdaFocus's GMACs: f_G and π on every frame, f_L on one patch of it, a step of f_C on both vectors."""
    step = image_gmacs("mobilenet_v2", 224, classes=0) + image_gmacs("resnet50", patch, classes=0)
    step += policy_gmacs(1280, reduced_channels=32, actions=49) + classifier_gmacs(1280 + 2048, classes)
    return frames * step


def adafocus_tsm_gmacs(patch: int, *, glances: int = 8, patches: int = 12, classes: int = 174) -> float:
    """Return AdaFocus-TSM's GMACs: f_G on 8 frames, one decision of π on their stacked maps, f_L on a patch of 12."""
    glance = image_gmacs("tsm_mobilenet_v2", 224, classes=classes, frames=glances)
    focus = image_gmacs("tsm_resnet50", patch, classes=classes, frames=patches)
    return glance + focus + policy_gmacs(glances * 1280, reduced_channels=64, actions=None)


def sampler_gmacs(frames: int, kept: int, *, classes: int) -> float:
    """Return SCSampler's GMACs: MobileNet-V2 at 84 on all frames, ResNet-50 at 224 on kept ones (AR-Net's version)."""
    light = image_gmacs("mobilenet_v2", 84, classes=classes, convention="with batch-norm")
    return frames * light + kept * image_gmacs("resnet50", 224, classes=classes, convention="with batch-norm")


def ar_net_bounds(frames: int, *, classes: int) -> tuple[float, float]:
    """Return the GMACs of AR-Net's cheapest and most expensive video.

    The policy, MobileNet-V2 at 84 and an LSTM of 512, skips at most four frames at a time. In the cheapest video, it
    always skips four frames; in the most expensive one, it runs on every frame, and all frames go to ResNet-50.
    """
    vector = MobileNetV2Encoder.vector_dim
    memory = nn.LSTM(vector, 512, batch_first=True)
    look = image_gmacs("mobilenet_v2", 84, classes=classes, convention="with batch-norm")
    look += macs(memory, torch.zeros(1, 1, vector), shapes_only=True) / 1e9
    heavy = image_gmacs("resnet50", 224, classes=classes, convention="with batch-norm")
    return -(-frames // 5) * look, frames * (look + heavy)


def paper_rows() -> list[ComputeRow]:
    """Return every published cost of AdaFocus, AdaFocus-TSM, TSM, TSM+, SCSampler and AR-Net, with the counted one."""
    return [*_adafocus(), *_something(), *_sampler(), *_ar_net()]


def _adafocus() -> Iterator[ComputeRow]:
    for patch, published in ((96, 17.2), (128, 26.6), (160, 38.6), (192, 53.3)):
        yield ComputeRow(
            system=f"AdaFocus {patch}²",
            dataset="ActivityNet",
            settings=f"T = 16, MobileNet-V2 at 224, ResNet-50 at {patch}, π and f_C included",
            convention="conv+fc",
            published_gmacs=published,
            ours_gmacs=adafocus_gmacs(patch, classes=CLASSES["ActivityNet"]),
        )


def _something() -> Iterator[ComputeRow]:
    dataset = "Something-Something V1, V2"
    classes = CLASSES[dataset]
    tsm = image_gmacs("tsm_resnet50", 224, classes=classes, frames=8)
    light = image_gmacs("tsm_mobilenet_v2", 224, classes=classes, frames=8)
    rows = [
        ("TSM", "ResNet-50 at 224 on 8 frames", 32.7, tsm),
        ("TSM+", "MobileNet-V2 and ResNet-50 at 224 on 8 frames each", 35.1, tsm + light),
    ]
    for patch, published in ((144, 23.5), (160, 27.5), (176, 33.7)):
        settings = f"MobileNet-V2 at 224 on 8 frames, ResNet-50 at {patch} on 12, π included"
        rows.append((f"AdaFocus-TSM {patch}²", settings, published, adafocus_tsm_gmacs(patch, classes=classes)))
    for system, settings, published, ours in rows:
        yield ComputeRow(
            system=system,
            dataset=dataset,
            settings=settings,
            convention="conv+fc",
            published_gmacs=published,
            ours_gmacs=ours,
        )


def _sampler() -> Iterator[ComputeRow]:
    table = [("ActivityNet", cost) for cost in SAMPLER_SETTINGS] + [("FCVID", 42.0), ("Mini-Kinetics", 42.0)]
    for dataset, published in table:
        frames, kept = SAMPLER_SETTINGS[published]
        printed = (frames, kept) == (16, 10)
        yield ComputeRow(
            system="SCSampler",
            dataset=dataset,
            settings=f"MobileNet-V2 at 84 on T = {frames} frames, ResNet-50 at 224 on k = {kept}",
            convention="with batch-norm",
            published_gmacs=published,
            ours_gmacs=sampler_gmacs(frames, kept, classes=CLASSES[dataset]),
            note="" if printed else "T and k inferred: the only T of 8, 16, 32 and whole k within 1 %",
        )


def _ar_net() -> Iterator[ComputeRow]:
    published = {"ActivityNet": (17.3, 33.4, 51.6, 97.8), "FCVID": (35.1,), "Mini-Kinetics": (32.0,)}
    for dataset, costs in published.items():
        low, high = ar_net_bounds(16, classes=CLASSES[dataset])
        for cost in costs:
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
