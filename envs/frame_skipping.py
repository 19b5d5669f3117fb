"""Frame skipping as a decision problem (AdaFocus+): whether to run f_L on a frame.

π is frozen and has selected a patch in every frame. If π′ keeps a frame, f_C receives the features of the patch. If π′
skips a frame, f_C receives zeros instead. The actions of π′ change neither the observations of π nor those of π′, so
π′ acts on whole episodes at once, even if π has to act frame by frame. The exception is ``observe_classifier``: then π′
observes what f_C has made of the frames so far, which depends on the frames that were kept, and acts frame by frame.

There is no public code of AdaFocus+. What the paper leaves open (the reward, what π′ observes, and what f_C receives
for a skipped frame) is our choice.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from adafocus_rl.envs.frames import Frames, frames_of
from adafocus_rl.envs.options import SkippingReward
from adafocus_rl.envs.patch_selection import PatchSelectionVectorEnv
from adafocus_rl.envs.problem import DecisionProblem
from adafocus_rl.envs.rewards import RewardContext
from adafocus_rl.envs.rollout import Policy, Rollout, StepPolicy
from adafocus_rl.envs.skippable import KEEP, SkippableEpisodes, SkippableFeatures
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.envs.vector_env import DecisionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.features.source import EpisodeFeatures, FeatureSource
from adafocus_rl.models.classifiers import Classifier


class FrameSkipping(DecisionProblem):
    """The decision in each frame whether f_L is run on π's patch.

    Args:
        source: features with π's patches.
        classifier: frozen f_C.
        lambda_: λ, the cost of a run of f_L, in probability of the true class.
        reward: ``gain`` or ``last``.
        observer: frozen f_C that is observed; None for none.

    Raises:
        UserError: λ is not a finite number, or the reward is unknown.
    """

    skips_frames = True
    feedback = "observe_classifier"
    source: SkippableFeatures

    def __init__(
        self,
        source: SkippableFeatures,
        classifier: Classifier,
        *,
        lambda_: float,
        reward: SkippingReward = "gain",
        observer: Classifier | None = None,
    ) -> None:
        if reward not in get_args(SkippingReward):
            raise UserError(f"the reward of frame skipping is {reward!r}; give 'gain' or 'last'")
        if not math.isfinite(lambda_):
            raise UserError(f"lambda_, the cost of a look at a frame, is {lambda_}; give a finite number, 0.01 say")
        super().__init__(source, classifier, spaces=source.patches.spaces, action_space=gym.spaces.Discrete(2))
        self.lambda_ = lambda_
        self.reward_kind = reward
        self.observer = None if observer is None else observer.to(source.device).eval()

    @property
    def exogenous(self) -> bool:
        """Whether f_C is not observed."""
        return self.observer is None

    @property
    def observation_space(self) -> gym.Space[Any]:
        """What π observes and, if f_C is observed, its state, its belief and the time step."""
        if self.observer is None:
            return self.spaces.observation
        of_policy = self.spaces.observation
        known = dict(of_policy.spaces) if isinstance(of_policy, gym.spaces.Dict) else {"features": of_policy}
        more: dict[str, gym.Space[Any]] = {
            "time_step": gym.spaces.Box(0, 1, (1,), np.float32),
            "classifier_state": gym.spaces.Box(-np.inf, np.inf, (self.observer.state_dim,), np.float32),
            "classifier_belief": gym.spaces.Box(0, 1, (2,), np.float32),
        }
        return gym.spaces.Dict({**known, **more})

    @torch.no_grad()
    def observe(self, features: Tensor, last: Tensor, time_step: Tensor, seen: Tensor) -> Observation:
        """Return what π observes of the frames and, if f_C is observed, its state, its belief and the time step."""
        of_policy = self.spaces.observe(features, last, time_step)
        if self.observer is None:
            return of_policy
        return {
            **(of_policy if isinstance(of_policy, dict) else {"features": of_policy}),
            "time_step": time_step[..., None],
            "classifier_state": seen.float(),
            "classifier_belief": belief(self.observer.logits(seen)),
        }

    def initial_seen(self, count: int) -> Tensor:
        """Return the observed f_C's state (B, H) before the first frame; (B, 0) if none is observed."""
        if self.observer is None:
            return super().initial_seen(count)
        weight = next(self.observer.parameters())
        return self.observer.initial_state(count, device=self.source.device, dtype=weight.dtype)

    @torch.no_grad()
    def see(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor, before: Tensor) -> Tensor:
        """Return the observed f_C's state (B, H) after the frame."""
        if self.observer is None:
            return before
        rows = torch.arange(len(episodes), device=when.device)
        local = self.local(episodes, when, action)[:, 0]
        inputs = torch.cat((episodes.global_vector[rows, when[:, 0]], local), dim=-1)
        return self.observer.cell(inputs.to(before.dtype), before)

    def prepare(self, episodes: EpisodeFeatures) -> SkippableEpisodes:
        """Return the episodes with π's patches, which are computed if the episodes have none."""
        return episodes if isinstance(episodes, SkippableEpisodes) else self.source.choose(episodes)

    def local(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return f_L's features (B, M[, K], D_L) of π's patches in kept frames, and zeros in skipped frames."""
        return episodes.local_at(when, action)

    def boxes(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return the boxes (B, M, 4) of π's patches, including those of skipped frames."""
        return self.spaces.boxes(self.prepare(episodes).patches_at(when))

    def kept(self, action: Tensor) -> Tensor:
        """Return whether each frame is kept: (B, M) bool."""
        return action == KEEP

    def positions(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor:
        """Return the relative positions (B, M, 2 or 3) of π's patches, as observed by π."""
        return self.spaces.position(self.prepare(episodes).patches_at(when))

    def past(self, episodes: EpisodeFeatures) -> Tensor:
        """Return the position (B, T, 2 or 3) of π's patch before each frame."""
        before = super().past(episodes)
        if self.spaces.config.last_action:
            before[:, 1:] = self.spaces.position(self.prepare(episodes).patches[:, :-1])
        return before

    def probabilities(self, rollout: Rollout) -> Tensor | None:
        """Return π's probabilities (B, T, A) from a new call of π, or None if π has no such distribution."""
        return self.source.ask(self.prepare(rollout.episodes).episodes).probabilities

    def reward(self, context: RewardContext) -> Tensor:
        """Return the configured reward, (N,)."""
        return (gain_reward if self.reward_kind == "gain" else last_reward)(context, self.lambda_)


def belief(logits: Tensor) -> Tensor:
    """Return the highest probability, and the entropy as a share of its maximum log K, (…, 2) of logits (…, K)."""
    probability = logits.float().softmax(-1)
    entropy = -torch.special.xlogy(probability, probability).sum(-1) / math.log(max(2, logits.shape[-1]))
    return torch.stack((probability.amax(-1), entropy), dim=-1).clamp(0, 1)


def last_reward(context: RewardContext, lambda_: float) -> Tensor:
    """Return −λ for kept frames and 0 for skipped frames, and in the last frame p(true class) besides, (N,)."""
    return torch.where(context.final, context.chosen, 0.0) - lambda_ * (context.action == KEEP)


def gain_reward(context: RewardContext, lambda_: float) -> Tensor:
    """Return p(with f_L) − p(without) − λ for kept frames and 0 for skipped frames, (N,)."""
    gain = context.chosen - context.without_local() - lambda_
    return torch.where(context.action == KEEP, gain, 0.0)


class FrameSkippingVectorEnv(DecisionVectorEnv):
    """B parallel videos; in each frame of each video, π′ decides whether f_L is run on π's patch.

    Observation: what π observes of the current frame: map or vector, motion, time step and the position of π's own last
    patch, as configured in π's environment. With ``observe_classifier`` a dict, which holds besides: ``time_step``
    (B, 1), ``classifier_state`` (B, H), f_C's state before the frame, and ``classifier_belief`` (B, 2), its highest
    probability and its entropy as a share of log K. Action: 0 (skip) or 1 (keep), (B,) int64.

    The reward ``gain`` is p(true class | with the patch) − p(true class | without) − λ for a kept frame, both from the
    same history, and 0 for a skipped frame. It is myopic: a frame is worth what it changes at once. The reward ``last``
    is −λ for a kept frame and 0 for a skipped frame, plus p(true class) in the last frame: the return (γ = 1) is what
    counts in the end. Everything else is as in ``DecisionVectorEnv``.

    A live source runs f_L on the kept patches only, and synchronises with the device to count them.

    Args:
        patches: π's environment. It defines the features, f_C, and π's observations and actions, and the defaults of
            the arguments below.
        policy: frozen π, which selects the patches.
        lambda_: λ, the cost of a run of f_L, in probability of the true class. A negative λ rewards keeping.
        reward: ``gain`` or ``last``.
        observe_classifier: observe f_C; π′ must then act frame by frame.
        observer: the f_C to observe, such as the one that π′ was trained with; None for the environment's own.
        num_envs: B, at least 1.
        shuffle: draw a new order of videos in every pass; False for index order.
        seed: seed of the order.
        autoreset_mode: SAME_STEP, NEXT_STEP or DISABLED.
        render_mode: see ``PatchSelectionVectorEnv``.
        frames: see ``PatchSelectionVectorEnv``.
        max_episode_steps: T.

    Raises:
        UserError: λ is not a finite number, the reward is unknown, or an error of ``DecisionVectorEnv``.
    """

    problem: FrameSkipping

    def __init__(
        self,
        patches: PatchSelectionVectorEnv,
        policy: Policy | StepPolicy,
        *,
        lambda_: float,
        reward: SkippingReward = "gain",
        observe_classifier: bool = False,
        observer: Classifier | None = None,
        num_envs: int | None = None,
        shuffle: bool | None = None,
        seed: int | None = None,
        autoreset_mode: AutoresetMode | None = None,
        render_mode: Literal["rgb_array"] | None = None,
        frames: Frames | None = None,
        max_episode_steps: int | None = None,
    ) -> None:
        source = SkippableFeatures(patches.problem, policy, batch_size=patches.num_envs)
        seen = (observer or patches.classifier) if observe_classifier else None
        super().__init__(
            FrameSkipping(source, patches.classifier, lambda_=lambda_, reward=reward, observer=seen),
            num_envs=patches.num_envs if num_envs is None else num_envs,
            shuffle=patches.shuffle if shuffle is None else shuffle,
            seed=patches.seed if seed is None else seed,
            autoreset_mode=patches.autoreset_mode if autoreset_mode is None else autoreset_mode,
            render_mode=render_mode,
            frames=frames_of(patches.source) if frames is None else frames,
            max_episode_steps=max_episode_steps,
        )
        self.patches = patches
        self.policy = policy

    @property
    def lambda_(self) -> float:
        """λ."""
        return self.problem.lambda_

    @property
    def observes_another(self) -> bool:
        """Whether π′ observes another f_C than the one that makes the predictions."""
        return self.problem.observer not in (None, self.classifier)

    def like(
        self, source: FeatureSource, classifier: Classifier | None = None, *, num_envs: int | None = None
    ) -> FrameSkippingVectorEnv:
        """Return the same decision problem (π, λ, seed) with other features, another f_C or another B.

        π′ continues to observe the same f_C.
        """
        source = source.patches.source if isinstance(source, SkippableFeatures) else source
        return FrameSkippingVectorEnv(
            self.patches.like(source, classifier or self.classifier),
            self.policy,
            lambda_=self.lambda_,
            reward=self.problem.reward_kind,
            observe_classifier=self.problem.observer is not None,
            observer=self.problem.observer,
            **self._like(num_envs),
        )

    @property
    def chosen(self) -> Tensor:
        """π's grid actions (B, T) or positions (B, T, 2) in the running episodes.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset.
        """
        running = self._under_way("call reset() first: there are no episodes yet")
        return self.problem.prepare(running.episodes).patches
