"""Compute that the paper publishes for its own systems, beside the same systems counted here; rows and counters.

The papers call their numbers GFLOPs and mean 10⁹ multiply-accumulates (MACs) per video. "Ours" is never copied from a
table: the networks that the project trains are built at their published sizes and counted (``adafocus_rl.flops``). The
papers use two conventions, so each row names its own: AdaFocus, AdaFocus-TSM, TSM and TSM+ count convolutions and fully
connected layers; SCSampler, AR-Net and others were counted with tools that add 2 for each element that batch
normalisation writes.
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
from adafocus_rl.experiments.evaluation.published import published_cost
from adafocus_rl.flops import macs
from adafocus_rl.models import create_classifier, create_encoder

Convention = Literal["conv+fc", "with batch-norm"]

CLASSES = {"ActivityNet": 200, "FCVID": 239, "Mini-Kinetics": 200, "Something-Something V1, V2": 174}
"""Number of classes K of each dataset."""


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

    @property
    def difference(self) -> float | None:
        """Ours minus published, in percent of the published cost."""
        return None if self.ratio is None else 100 * (self.ratio - 1)

    def plain(self) -> dict[str, Any]:
        """Return the row as a dict for JSON."""
        return {
            "system": self.system, "dataset": self.dataset, "settings": self.settings, "convention": self.convention,
            "published_gmacs": self.published_gmacs, "ours_gmacs": self.ours_gmacs, "ratio": self.ratio,
            "difference_percent": self.difference, "note": self.note,
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


def adafocus_rows() -> Iterator[ComputeRow]:
    """Yield the published costs of AdaFocus."""
    for patch, published in zip((96, 128, 160, 192), published_cost("AdaFocus", "ActivityNet"), strict=True):
        yield ComputeRow(
            system=f"AdaFocus {patch}²",
            dataset="ActivityNet",
            settings=f"T = 16, MobileNet-V2 at 224, ResNet-50 at {patch}, π and f_C included",
            convention="conv+fc",
            published_gmacs=published,
            ours_gmacs=adafocus_gmacs(patch, classes=CLASSES["ActivityNet"]),
        )


def something_rows() -> Iterator[ComputeRow]:
    """Yield the published costs of TSM, TSM+ and AdaFocus-TSM."""
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
