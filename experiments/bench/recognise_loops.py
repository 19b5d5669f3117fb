"""Plain PyTorch that ``adafocus bench recognise`` compares with: the published recognition loop, and whole frames."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl.agents.policies.networks import RecurrentActorCritic
from adafocus_rl.models.recognizer import Recognizer


def published_loop(recognizer: Recognizer, policy: RecurrentActorCritic) -> Callable[[Tensor], Tensor]:
    """Return AdaFocus's recognition as its public code carries it out: frame by frame.

    f_G runs on all frames at once. Then, for each frame, π selects an action, a loop over the videos cuts the patches,
    f_L runs on them, and f_C goes a step on.

    Args:
        recognizer: f_G, f_L and f_C.
        policy: π.

    Returns:
        A function of uint8 clips (B, T, 3, S, S) that returns the logits (B, K).
    """
    grid, side = recognizer.grid, recognizer.config.glance_size

    @torch.no_grad()
    def recognise(clips: Tensor) -> Tensor:
        device = recognizer.scale.device
        frames = clips.to(device).float() * recognizer.scale + recognizer.shift
        small = frames.flatten(0, 1)
        if side != small.shape[-1]:
            small = F.interpolate(small, size=(side, side), mode="bilinear", antialias=True)
        maps = recognizer.glance.forward_map(small)
        vectors = recognizer.glance.pool(maps).unflatten(0, clips.shape[:2])
        maps = maps.unflatten(0, clips.shape[:2])
        state = policy.initial_state(len(clips))
        belief = recognizer.classifier.initial_state(len(clips), device=device)
        for step in range(clips.shape[1]):
            outputs, _, state = policy.step(maps[:, step], state)
            patches = []
            for frame, action in zip(frames[:, step], outputs.argmax(-1), strict=True):
                row, column = divmod(int(action), grid.grid)
                top, left = (place * grid.last_offset // (grid.grid - 1) for place in (row, column))
                patches.append(frame[:, top : top + grid.patch_size, left : left + grid.patch_size])
            local = recognizer.focus(torch.stack(patches))
            belief = recognizer.classifier.cell(torch.cat((vectors[:, step], local), dim=-1), belief)
            logits = recognizer.classifier.logits(belief)
        return logits

    return recognise


class FrameClassifier:
    """f_L on whole frames, and the mean of a linear layer's logits: no π and no f_C.

    With f_G and f_L that shift features in time, and 8 frames, this is TSM+.

    Args:
        recognizer: the encoders and their normalisation, in any form.
        head: the linear layer.
        frames: number of frames of a clip that it uses; 0 for all.
        with_glance: whether f_G runs, too.
    """

    def __init__(self, recognizer: Recognizer, head: nn.Linear, *, frames: int = 0, with_glance: bool = False) -> None:
        self.recognizer = recognizer
        self.head = head
        self.frames = frames
        self.with_glance = with_glance

    @torch.no_grad()
    def __call__(self, clips: Tensor) -> Tensor:
        """Return the logits (B, K) of uint8 clips (B, T, 3, S, S) on the device."""
        clips = clips[:, : self.frames] if self.frames else clips
        frames = self.recognizer.prepare(clips).flatten(0, 1)
        vectors = self.recognizer.full_features(frames)
        if self.with_glance:
            vectors = torch.cat((self.recognizer.glance_features(frames)[1], vectors), dim=-1)
        logits: Tensor = self.head(vectors).unflatten(0, clips.shape[:2]).mean(1)
        return logits
