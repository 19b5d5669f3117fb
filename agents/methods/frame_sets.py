"""The best fixed set of frames: the same frames of every clip, chosen on the training videos."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adafocus_rl import ranks
from adafocus_rl.agents.base import Agent
from adafocus_rl.envs import FrameSkippingVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.envs.skippable import KEEP
from adafocus_rl.features import EpisodeFeatures
from adafocus_rl.features.shares import own_parts


@torch.no_grad()
def best_frames(patches: PatchSelectionVectorEnv, policy: Agent) -> list[int]:
    """Return all T frames in the order of a greedy forward selection.

    Each frame is the one that, added to those before it, leads to the highest mean probability of the true class after
    the last frame; in the others, f_C receives zeros.

    Args:
        patches: π's environment on the training videos, with stage I's f_C.
        policy: π.
    """
    env = FrameSkippingVectorEnv(patches, policy, lambda_=0.0)
    chosen: list[int] = []
    while len(chosen) < env.source.num_steps:
        left = [frame for frame in range(env.source.num_steps) if frame not in chosen]
        sets = torch.zeros(len(left), env.source.num_steps, dtype=torch.bool, device=env.source.device)
        sets[:, chosen] = True
        sets[range(len(left)), left] = True
        score = torch.zeros(len(left), device=env.source.device)
        for episodes in own_parts(env.source, env.num_envs):
            score += ranks.total(_scores(env, episodes, sets) * (episodes.share > 0))
        chosen.append(left[int(score.argmax())])
    return chosen


def _scores(env: FrameSkippingVectorEnv, episodes: EpisodeFeatures, sets: Tensor) -> Tensor:
    """Return the sum over B videos of p(true class) at the end, (S,), with only the frames of each set (S, T)."""
    every = torch.full(episodes.global_vector.shape[:2], KEEP, device=sets.device)
    local = env.local(episodes, every)
    inputs = [env.problem.inputs(episodes.global_vector, torch.where(one[None, :, None], local, 0.0)) for one in sets]
    logits = env.classifier(torch.cat(inputs))[:, -1].float()
    p: Tensor = logits.softmax(-1).gather(-1, episodes.labels.repeat(len(sets))[:, None])
    return p.view(len(sets), -1).sum(1)


def schedule(order: Sequence[int], share: float) -> list[float]:
    """Return the probabilities of keeping each frame, (T,), so that a share of the frames is kept in the mean.

    The first frames in order are always kept; if the number to keep is not an integer, the next one is kept in some
    clips.

    Args:
        order: the T frames, the best first.
        share: share of the frames to keep.
    """
    number = share * len(order)
    rank = {frame: place for place, frame in enumerate(order)}
    return [min(1.0, max(0.0, number - rank[frame])) for frame in range(len(order))]
