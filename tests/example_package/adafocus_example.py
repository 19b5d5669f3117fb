"""Example package that adds an agent, a method, a reward, an encoder and a dataset to adafocus_rl."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adafocus_rl.agents import PlannedAgent
from adafocus_rl.agents.learner import Tick, no_tick
from adafocus_rl.agents.methods import FIRST_VISIT, Cost, Method, Outcome, Steps, Visit, check_knob
from adafocus_rl.data import MovingDigitsConfig, make_moving_digits
from adafocus_rl.data.datasets import Progress
from adafocus_rl.envs import PatchSelectionVectorEnv, RewardContext
from adafocus_rl.features import EpisodeFeatures
from adafocus_rl.models import Encoder, Recognizer
from adafocus_rl.options import require
from adafocus_rl.seeding import derive_seed


@dataclass(frozen=True, kw_only=True)
class BanditOptions:
    """Options of ``BanditAgent``."""

    trust: float = 1.0
    """Number of rewards of 0 with which each position starts; above 0."""

    def __post_init__(self) -> None:
        require(self, "trust", self.trust > 0, "a number above 0")


class BanditAgent(PlannedAgent):
    """Selects the grid position with the highest mean reward in all frames.

    During training, it selects a random position in every frame.

    Args:
        env: the environment in which the agent acts and learns.
        options: the agent's options; None uses the defaults.
        seed: seed of the random positions.
    """

    Options = BanditOptions
    options: BanditOptions

    label = "bandit"
    learns = True

    def __init__(self, env: PatchSelectionVectorEnv, options: BanditOptions | None = None, *, seed: int = 0) -> None:
        super().__init__(env, options, seed=seed)
        self.total = torch.zeros(self.num_actions, device=self.device)
        self.count = torch.zeros(self.num_actions, device=self.device)
        self._tries: torch.Generator | None = None

    def plan(self, info: Mapping[str, Any], num_frames: int) -> Tensor:
        """Return the best position so far, or random positions during training."""
        shape = (len(info["video"]), num_frames)
        if self._tries is None:
            return (self.total / (self.count + self.options.trust)).argmax().expand(shape)
        return torch.randint(self.num_actions, shape, generator=self._tries, device=self.device)

    def train_epoch(
        self, env: PatchSelectionVectorEnv, epoch: int, *, epochs: int, tick: Tick = no_tick
    ) -> Mapping[str, float]:
        """Sum the rewards of each position; the random numbers of a pass depend only on (seed, pass)."""
        self._tries = torch.Generator(self.device).manual_seed(derive_seed(self.seed, "bandit", epoch))
        rewards = []
        for rollout in env.rollouts(self, epoch=epoch):
            action, reward = rollout.output.action.flatten(), rollout.reward.flatten()
            self.total.index_add_(0, action, reward)
            self.count.index_add_(0, action, torch.ones_like(reward))
            rewards.append(rollout.reward.sum(1))
        self._tries = None
        return {"rollout/ep_rew_mean": float(torch.cat(rewards).mean())}

    def tensors(self) -> dict[str, Tensor]:
        """Return the sum of rewards and the number of trials of each position."""
        return {"total": self.total, "count": self.count}

    def load_tensors(self, tensors: Mapping[str, Tensor], *, what: str) -> None:
        """Restore what ``tensors`` returned."""
        self.total, self.count = tensors["total"].clone(), tensors["count"].clone()


@dataclass(frozen=True, kw_only=True)
class EveryNthOptions:
    """Options of ``EveryNth``."""

    every: tuple[int, ...] = (1, 2, 4)
    """Values of n, one operating point each; at least 1."""

    def __post_init__(self) -> None:
        require(self, "every", bool(self.every) and min(self.every) >= 1, "whole numbers of at least 1")


class EveryNth(Method):
    """Runs f_L on the centre of every n-th frame; f_C receives zeros for the others. Nothing is trained.

    Args:
        recognizer: f_G, f_L and f_C.
        options: the operating points; None uses the defaults.
        seed: not used.
    """

    label = "every_nth"
    Options = EveryNthOptions

    def __init__(self, recognizer: Recognizer, options: EveryNthOptions | None = None, *, seed: int = 0) -> None:
        super().__init__(recognizer, options, seed=seed)
        self.knobs = tuple(float(n) for n in self.options.every)

    @torch.no_grad()
    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        """Recognise B videos with f_L on every ``knob``-th frame."""
        check_knob(self, knob)
        assert knob is not None
        grid, vectors = self.recognizer.grid, batch.global_vector
        frames = torch.arange(vectors.shape[1], device=vectors.device).expand(len(batch), -1)
        centre = grid.action(torch.full((*frames.shape, 2), 0.5, device=frames.device))
        kept = frames % int(knob) == 0
        local = batch.kept_local_at(frames, centre, kept)
        steps = Steps(
            logits=self.recognizer.classifier(torch.cat((vectors, local), dim=-1)),
            boxes=grid.action_box(centre),
            kept=kept,
            cost=Cost(always=self.costs.glance + self.costs.classifier, local=self.costs.focus_patch),
        )
        return Outcome.after(steps)


def margin(context: RewardContext) -> Tensor:
    """Return p(true class) − p(most probable other class) after the step, (N,)."""
    p = context.classifier.logits(context.state).float().softmax(-1)
    true = nn.functional.one_hot(context.labels, p.shape[-1]).bool()
    return context.chosen - p.masked_fill(true, 0).amax(-1)


class GrayGlance(Encoder):
    """Two small convolutions on the mean of the colour channels."""

    map_channels = vector_dim = 16

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU()
        )

    def forward_map(self, x: Tensor) -> Tensor:
        """Return feature maps (N, 16, H/2, W/2) of normalised images (N, 3, H, W)."""
        maps: Tensor = self.net(x.mean(1, keepdim=True))
        return maps


def make_few_digits(
    out: Path, config: MovingDigitsConfig | None = None, progress: Progress | None = None
) -> dict[str, Path]:
    """Write a ``moving_digits`` dataset, by default with 12 training videos."""
    few = MovingDigitsConfig(train_videos=12, val_videos=6, still_videos=0, frames=8, side=32, digit=12)
    return make_moving_digits(out, config or few, progress)
