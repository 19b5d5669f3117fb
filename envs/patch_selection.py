"""Patch selection as a decision problem: one small patch per frame, frozen features, device tensors.

Observations are *exogenous*: the map of frame t+1 comes whatever was chosen at t. So the environment offers two
ways to the same numbers: :meth:`PatchSelectionVectorEnv.step`, and :meth:`PatchSelectionVectorEnv.rollout`, which
takes whole episodes without a Python loop over time or batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from adafocus_rl.envs.rewards import REWARDS, RewardConfig, RewardContext
from adafocus_rl.errors import UserError
from adafocus_rl.features.source import EpisodeFeatures, FeatureSource, video_order
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.seeding import derive_seed, hash_randint

Info = dict[str, Tensor]
"""Privileged facts about the episodes at hand: ``video (B,)``, ``label (B,)``, ``true_box (B, T, 4)``, ``visit (B,)``."""


@dataclass(kw_only=True)
class PolicyOutput:
    """What a policy says of whole episodes.

    Attributes:
        action: (B, T) int64.
        log_prob: (B, T) of the actions, for agents that learn; else None.
        value: (B, T) state values; else None.
    """

    action: Tensor
    log_prob: Tensor | None = None
    value: Tensor | None = None


class Policy(Protocol):
    """Anything that can act on whole episodes; every agent of the project is one."""

    def act(self, observation: Tensor, info: Info, *, deterministic: bool) -> PolicyOutput:
        """Actions (B, T) for observations (B, T, C, h, w)."""
        ...


@dataclass(kw_only=True)
class Rollout:
    """B whole episodes.

    Attributes:
        episodes: the features behind them.
        info: as :meth:`PatchSelectionVectorEnv.reset` returns it.
        observation: (B, T, C, h, w).
        output: what the policy said, actions included.
        reward: (B, T); empty (B, 0) when it was not asked for.
        logits: (B, T, K) of f_C after every step; the last step is the prediction.
    """

    episodes: EpisodeFeatures
    info: Info
    observation: Tensor
    output: PolicyOutput
    reward: Tensor
    logits: Tensor


class PatchSelectionVectorEnv(gym.vector.VectorEnv[Tensor, Tensor, Tensor]):
    """B videos side by side; one step is one frame; an episode is the T frames of a clip.

    Observation: e^G of the current frame, (B, C, h, w) float32. Action: grid position, (B,) int64 in [0, A).
    Reward: see :mod:`adafocus_rl.envs.rewards`, (B,) float32. Termination: after the last frame; never truncated.
    Everything is a torch tensor on the features' device. When a pass over the videos is over, the next begins, in
    another order if ``shuffle``; the last batch of a pass is filled up with the first videos of the next.

    Args:
        source: frozen features.
        classifier: frozen f_C, moved to the features' device and put in eval mode.
        num_envs: B.
        reward: which reward is paid.
        shuffle: a new order of videos in every pass; otherwise index order.
        seed: of the order and of the baseline's random patches.
        autoreset_mode: SAME_STEP (the step that ends an episode returns the first observation of the next, and
            ``final_obs`` and ``final_info``), NEXT_STEP (the step after it resets) or DISABLED (the caller resets).

    Raises:
        UserError: unknown reward (with a suggestion), or no usable video.
    """

    def __init__(
        self,
        source: FeatureSource,
        classifier: Classifier,
        *,
        num_envs: int = 64,
        reward: RewardConfig | None = None,
        shuffle: bool = True,
        seed: int = 0,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
    ) -> None:
        if len(source.videos) == 0:
            raise UserError(
                "there is no usable video to build episodes from; `adafocus train` lists the ones it skipped"
            )
        self.source = source
        self.classifier = classifier.to(source.device).eval()
        self.num_envs = num_envs
        self.reward_config = reward or RewardConfig()
        self._reward = REWARDS.get(self.reward_config.kind)
        if self.reward_config.baseline_positions < 0:
            raise UserError(
                f"env.reward.baseline_positions is {self.reward_config.baseline_positions}; give 0 (all) or a count"
            )
        self.shuffle = shuffle
        self.seed = seed
        self.metadata = {"autoreset_mode": autoreset_mode, "render_modes": []}
        self.autoreset_mode = autoreset_mode
        self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, source.map_shape, np.float32)
        self.single_action_space = gym.spaces.Discrete(source.grid.num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._pass = -1
        self._queue = torch.empty(0, dtype=torch.long)
        self._visits = torch.empty(0, dtype=torch.long)
        self._episodes: EpisodeFeatures | None = None
        self._step = 0

    # ---- step by step -------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Starts new episodes.

        Args:
            seed: an int starts the order of videos and the baseline's random numbers anew.
            options: ``{"videos": rows (B,)}`` asks for these index rows instead of the next ones in order.

        Returns:
            First observations (B, C, h, w) and the episodes' :data:`Info`.
        """
        if seed is not None:
            if not isinstance(seed, int):
                raise UserError("reset(seed=…) takes one int: the episodes of all environments come from one order")
            self.seed = seed
            self._pass = -1
            self._queue = self._queue[:0]
            self._visits = self._visits[:0]
        if options and "videos" in options:
            videos = torch.as_tensor(options["videos"], dtype=torch.long)
            if videos.shape != (self.num_envs,):
                raise UserError(
                    f"options['videos'] has shape {tuple(videos.shape)}; this environment needs ({self.num_envs},)"
                )
            self._start(videos, torch.zeros_like(videos))
        else:
            self._start(*self._next_videos())
        assert self._episodes is not None
        return self._episodes.global_map[:, 0], dict(self.info(self._episodes, self._visit))

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Takes one patch in each video: actions (B,) int64.

        Returns:
            observation (B, C, h, w), reward (B,), terminated (B,), truncated (B,), info. ``info["logits"]`` (B, K) is
            f_C's output after the step.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset, or after an episode's end with DISABLED.
        """
        episodes = self._episodes
        if episodes is None or (self._step >= episodes.num_frames and self.autoreset_mode == AutoresetMode.DISABLED):
            raise gym.error.ResetNeeded("call reset() first: there is no running episode")
        if self._step >= episodes.num_frames:  # NEXT_STEP: this call's actions belong to no episode
            observation, info = self.reset()
            zero = torch.zeros(self.num_envs, device=self.source.device)
            return observation, zero, zero.bool(), zero.bool(), info
        actions = torch.as_tensor(actions, device=self.source.device).long()
        when = torch.full((self.num_envs, 1), self._step, device=self.source.device)
        vector = episodes.global_vector[:, self._step]
        with torch.no_grad():
            local = episodes.local_at(when, actions[:, None])[:, 0]
            state = self.classifier.cell(torch.cat((vector, local), dim=-1), self._state)
            context = RewardContext(
                classifier=self.classifier,
                labels=episodes.labels,
                history=self._state,
                state=state,
                global_vector=vector,
                local=lambda options: episodes.local_at(when, options[:, None])[:, 0],
                local_dim=local.shape[-1],
                baseline_actions=self._baseline[:, self._step],
            )
            reward = self._reward(context)
            info: dict[str, Any] = {"logits": self.classifier.logits(state)}
        self._state = state
        self._step += 1
        ended = self._step == episodes.num_frames
        terminated = torch.full((self.num_envs,), ended, device=self.source.device)
        last = min(self._step, episodes.num_frames - 1)
        observation = episodes.global_map[:, last]
        info.update(self.info(episodes, self._visit))
        if ended and self.autoreset_mode == AutoresetMode.SAME_STEP:
            final = info
            final_observation = observation
            observation, info = self.reset()
            info.update(final_obs=final_observation, final_info=final, _final_obs=terminated, _final_info=terminated)
            info["logits"] = final["logits"]
        return observation, reward, terminated, torch.zeros_like(terminated), info

    # ---- whole episodes -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def rollout(
        self,
        policy: Policy,
        *,
        episodes: EpisodeFeatures | None = None,
        visit: int = 0,
        deterministic: bool = False,
        with_reward: bool = True,
    ) -> Rollout:
        """B whole episodes at once, the same numbers as :meth:`step` gives.

        One sequence call of the policy, one of f_C, and one batched cell call for all baselines on the states before
        each step. The running step-by-step episode is not touched, unless ``episodes`` is None: then the next videos
        in order are taken.

        Args:
            policy: samples, or takes its best actions if ``deterministic``.
            episodes: features to act on; any B.
            visit: counts the times a video is seen; other visits have other random patches.
            with_reward: False skips the reward and its baselines (evaluation).
        """
        if episodes is None:
            videos, visits = self._next_videos()
            episodes = self.source.episodes(videos)
        else:
            visits = torch.full((len(episodes),), visit)
        visits = visits.to(self.source.device)
        info = self.info(episodes, visits)
        observation = episodes.global_map
        output = policy.act(observation, info, deterministic=deterministic)
        local = episodes.local(output.action)
        states = self.classifier.sequence(torch.cat((episodes.global_vector, local), dim=-1))
        reward = observation.new_zeros(len(episodes), 0)
        if with_reward:
            count, frames = output.action.shape
            initial = self.classifier.initial_state(count, device=local.device, dtype=states.dtype)
            context = RewardContext(
                classifier=self.classifier,
                labels=episodes.labels.repeat_interleave(frames),
                history=torch.cat((initial[:, None], states[:, :-1]), dim=1).flatten(0, 1),
                state=states.flatten(0, 1),
                global_vector=episodes.global_vector.flatten(0, 1),
                local=lambda options: episodes.local(options.unflatten(0, (count, frames))).flatten(0, 1),
                local_dim=local.shape[-1],
                baseline_actions=self._baseline_actions(episodes, visits).flatten(0, 1),
            )
            reward = self._reward(context).unflatten(0, (count, frames))
        return Rollout(
            episodes=episodes,
            info=info,
            observation=observation,
            output=output,
            reward=reward,
            logits=self.classifier.logits(states),
        )

    def rollouts(self, policy: Policy, *, epoch: int) -> Iterator[Rollout]:
        """One pass over all videos in batches of at most B, sampled; the order and baselines belong to ``epoch``."""
        for episodes in self.source.batches(self.num_envs, epoch=epoch if self.shuffle else None):
            yield self.rollout(policy, episodes=episodes, visit=epoch)

    # ---- episodes -----------------------------------------------------------------------------------------------

    def info(self, episodes: EpisodeFeatures, visits: Tensor) -> Info:
        """What privileged agents (random, oracle) and evaluation may read; a learner must not."""
        return {"video": episodes.videos, "label": episodes.labels, "true_box": episodes.boxes, "visit": visits}

    def _start(self, videos: Tensor, visits: Tensor) -> None:
        self._episodes = self.source.episodes(videos)
        self._visit = visits.to(self.source.device)
        self._baseline = self._baseline_actions(self._episodes, self._visit)
        self._state = self.classifier.initial_state(len(videos), device=self.source.device, dtype=torch.float32)
        self._step = 0

    def _next_videos(self) -> tuple[Tensor, Tensor]:
        """The next B index rows and the pass each belongs to."""
        while len(self._queue) < self.num_envs:
            self._pass += 1
            epoch = self._pass if self.shuffle else None
            videos = video_order(self.source.videos, seed=self.seed, epoch=epoch)
            self._queue = torch.cat((self._queue, videos))
            self._visits = torch.cat((self._visits, torch.full_like(videos, self._pass)))
        videos, self._queue = self._queue[: self.num_envs], self._queue[self.num_envs :]
        visits, self._visits = self._visits[: self.num_envs], self._visits[self.num_envs :]
        return videos, visits

    def _baseline_actions(self, episodes: EpisodeFeatures, visits: Tensor) -> Tensor:
        """(B, T, k) grid actions of the ``random`` reward's baseline.

        A function of (seed, video, visit, frame) alone, so that a video's rewards do not depend on its neighbours,
        on B, or on which of the two ways is taken.
        """
        positions = self.reward_config.baseline_positions
        total = self.source.grid.num_actions
        frames = torch.arange(episodes.num_frames, device=visits.device)[None, :, None]
        if positions == 0:
            every = torch.arange(total, device=visits.device)
            return every.expand(len(episodes), episodes.num_frames, total)
        sample = torch.arange(positions, device=visits.device)
        seed = derive_seed(self.seed, "baseline")
        return hash_randint(total, seed, episodes.videos[:, None, None], visits[:, None, None], frames, sample)
