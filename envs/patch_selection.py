"""Patch selection as a decision problem: one small patch per frame, frozen features, device tensors.

Observations are *exogenous*: the map of frame t+1 comes whatever was chosen at t. So the environment offers two
ways to the same numbers: :meth:`PatchSelectionVectorEnv.step`, and :meth:`PatchSelectionVectorEnv.rollout`, which
takes whole episodes without a Python loop over time or batch.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from adafocus_rl.envs.order import VideoOrder
from adafocus_rl.envs.rewards import REWARDS, RewardConfig, RewardContext
from adafocus_rl.envs.rollout import Info, Policy, Rollout
from adafocus_rl.errors import UserError
from adafocus_rl.features.source import EpisodeFeatures, FeatureSource
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.seeding import derive_seed, hash_randint


@dataclass(kw_only=True)
class _Running:
    """The episodes that :meth:`PatchSelectionVectorEnv.step` is in the middle of."""

    episodes: EpisodeFeatures
    info: Info
    baseline: Tensor
    state: Tensor
    step: int = 0


class PatchSelectionVectorEnv(gym.vector.VectorEnv[Tensor, Tensor, Tensor]):
    """B videos side by side; one step is one frame; an episode is the T frames of a clip.

    Observation: e^G of the current frame, (B, C, h, w) float32. Action: grid position, (B,) int64 in [0, A).
    Reward: see :mod:`adafocus_rl.envs.rewards`, (B,) float32. Termination: after the last frame, of all B at once;
    never truncated. Everything is a torch tensor on the features' device, and nothing waits for it. When a pass over
    the videos is over, the next begins, in another order if ``shuffle``; the last batch of a pass is filled up with
    the first videos of the next.

    Infos are laid out as Gymnasium's vector environments do it: a tensor (B, …) per name, and under ``_name`` which
    environments have it (B,).

    Args:
        source: frozen features.
        classifier: frozen f_C, moved to the features' device and put in eval mode.
        num_envs: B, at least 1.
        reward: which reward is paid.
        shuffle: a new order of videos in every pass; otherwise index order.
        seed: of the order and of the baseline's random patches.
        autoreset_mode: SAME_STEP (the step that ends an episode returns the first observation of the next, and
            ``final_obs`` and ``final_info``), NEXT_STEP (the step after it resets) or DISABLED (the caller resets).

    Raises:
        UserError: unknown reward (with a suggestion), no usable video, or a number out of range.
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
        self.reward_config = reward or RewardConfig()
        if num_envs < 1:
            raise UserError(f"num_envs is {num_envs}; give at least 1 video at a time")
        if len(source.videos) == 0:
            raise UserError(
                "there is no usable video to build episodes from; `adafocus train` lists the ones it skipped"
            )
        if self.reward_config.baseline_positions < 0:
            raise UserError(
                f"env.reward.baseline_positions is {self.reward_config.baseline_positions}; give 0 (all) or a count"
            )
        self._reward = REWARDS.get(self.reward_config.kind)
        self.source = source
        self.classifier = classifier.to(source.device).eval()
        self._dtype = next((weight.dtype for weight in classifier.parameters()), torch.float32)
        self.num_envs = num_envs
        self.shuffle = shuffle
        self.seed = seed
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": []}
        self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, source.map_shape, np.float32)
        self.single_action_space = gym.spaces.Discrete(source.grid.num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._order = VideoOrder(source, seed=seed, shuffle=shuffle)
        self._running: _Running | None = None

    # ---- step by step -------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Starts new episodes.

        Args:
            seed: an int starts the order of videos and the baseline's random numbers anew.
            options: ``{"videos": rows (B,)}`` asks for these index rows instead of the next ones in order (they
                count as never seen before); ``{"reset_mask": (B,)}`` must be true everywhere, since all episodes end
                together.

        Returns:
            First observations (B, C, h, w), and an info with the names of :data:`~adafocus_rl.envs.rollout.Info`.

        Raises:
            UserError: a list of seeds, a partial mask, or not B videos.
        """
        options = options or {}
        if seed is not None:
            try:
                seed = operator.index(seed)  # type: ignore[arg-type]  # NumPy's integers, too
            except TypeError:
                raise UserError(
                    f"reset(seed={seed!r}): give one int, the episodes of all environments come from one order"
                ) from None
            super().reset(seed=seed)
            self.seed = seed
            self._order.restart(seed)
        if "reset_mask" in options and not bool(torch.as_tensor(options["reset_mask"]).all()):
            raise UserError("options['reset_mask'] leaves environments out; all of them end, and reset, together")
        if "videos" in options:
            videos = torch.as_tensor(options["videos"], dtype=torch.long)
            if videos.shape != (self.num_envs,):
                raise UserError(
                    f"options['videos'] has shape {tuple(videos.shape)}; this environment needs ({self.num_envs},)"
                )
            visits = torch.zeros_like(videos)
        else:
            videos, visits = self._order.take(self.num_envs)
        return self._start(videos, visits)

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Takes one patch in each video: actions (B,) int64.

        Returns:
            observation (B, C, h, w), reward (B,), terminated (B,), truncated (B,), info. ``logits`` (B, K) in the
            info are f_C's output after the step (with SAME_STEP, the last ones are in ``final_info``). There is no
            frame after the last, so the last step's observation is the last frame's again.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset, or after an episode's end with DISABLED.
            ValueError: actions of another shape.
        """
        running = self._running
        if running is None:
            raise gym.error.ResetNeeded("call reset() before the first step()")
        frames = running.episodes.num_frames
        if running.step == frames:
            if self.autoreset_mode != AutoresetMode.NEXT_STEP:
                raise gym.error.ResetNeeded("the episodes are over; call reset() to start the next")
            # This call's actions belong to no episode.
            observation, info = self.reset()
            zero = torch.zeros(self.num_envs, device=self.source.device)
            return observation, zero, zero.bool(), zero.bool(), info
        actions = torch.as_tensor(actions, device=self.source.device).long()
        if actions.shape != (self.num_envs,):
            raise ValueError(f"actions have shape {tuple(actions.shape)}; this environment takes ({self.num_envs},)")
        reward, logits = self._advance(running, actions)
        ended = running.step == frames
        terminated = torch.full((self.num_envs,), ended, device=self.source.device)
        observation = running.episodes.global_map[:, min(running.step, frames - 1)]
        info = self._vector_info({**running.info, "logits": logits})
        if ended and self.autoreset_mode == AutoresetMode.SAME_STEP:
            final = {"final_obs": observation, "final_info": info}
            observation, info = self.reset()
            info = {**info, **self._vector_info(final)}
        return observation, reward, terminated, torch.zeros_like(terminated), info

    def _start(self, videos: Tensor, visits: Tensor) -> tuple[Tensor, dict[str, Any]]:
        episodes = self.source.episodes(videos, epoch=int(visits.max()))
        visits = visits.to(self.source.device)
        self._running = _Running(
            episodes=episodes,
            info=self.info(episodes, visits),
            baseline=self._baseline_actions(episodes, visits),
            state=self._initial_state(len(videos)),
        )
        return episodes.global_map[:, 0], self._vector_info(self._running.info)

    @torch.no_grad()
    def _advance(self, running: _Running, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Moves f_C one frame on; reward (B,) and logits (B, K)."""
        at = slice(running.step, running.step + 1)
        when = torch.full((self.num_envs, 1), running.step, device=self.source.device)
        local = running.episodes.local_at(when, actions[:, None])
        state = self.classifier.cell(self._inputs(running.episodes.global_vector[:, at], local)[:, 0], running.state)
        reward = self._rewards(
            running.episodes, at, running.state[:, None], state[:, None], running.baseline, actions[:, None]
        )
        running.state = state
        running.step += 1
        return reward[:, 0], self.classifier.logits(state)

    def _vector_info(self, values: dict[str, Any]) -> dict[str, Any]:
        everyone = torch.ones(self.num_envs, dtype=torch.bool, device=self.source.device)
        return {**values, **{f"_{name}": everyone for name in values}}

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
        each step. The running step-by-step episode is not touched; without ``episodes``, the next videos in order
        are taken.

        Args:
            policy: who chooses.
            episodes: features to act on; any B.
            visit: how often these episodes were seen before; other visits have other random patches.
            deterministic: the policy's best actions instead of samples.
            with_reward: False skips the reward and its baselines (evaluation).
        """
        if episodes is None:
            videos, order = self._order.take(self.num_envs)
            episodes = self.source.episodes(videos, epoch=int(order.max()))
            visits = order.to(self.source.device)
        else:
            visits = torch.full((len(episodes),), visit, device=self.source.device)
        info = self.info(episodes, visits)
        observation = episodes.global_map
        output = policy.act(observation, info, deterministic=deterministic)
        local = episodes.local(output.action)
        states = self.classifier.sequence(self._inputs(episodes.global_vector, local))
        reward = observation.new_zeros(len(episodes), 0)
        if with_reward:
            history = torch.cat((self._initial_state(len(episodes))[:, None], states[:, :-1]), dim=1)
            baseline = self._baseline_actions(episodes, visits)
            reward = self._rewards(episodes, slice(None), history, states, baseline, output.action)
        return Rollout(
            episodes=episodes,
            info=info,
            observation=observation,
            output=output,
            reward=reward,
            logits=self.classifier.logits(states),
        )

    def rollouts(self, policy: Policy, *, epoch: int) -> Iterator[Rollout]:
        """One pass over all videos in batches of at most B, sampled.

        The order (the source's own, by its seed) and the baselines belong to ``epoch``.
        """
        for episodes in self.source.batches(self.num_envs, epoch=epoch if self.shuffle else None):
            yield self.rollout(policy, episodes=episodes, visit=epoch)

    # ---- both ---------------------------------------------------------------------------------------------------

    def info(self, episodes: EpisodeFeatures, visits: Tensor) -> Info:
        """What privileged agents (random, oracle) and evaluation may read; a learner must not."""
        return {"video": episodes.videos, "label": episodes.labels, "true_box": episodes.boxes, "visit": visits}

    def _inputs(self, vector: Tensor, local: Tensor) -> Tensor:
        return torch.cat((vector, local), dim=-1).to(self._dtype)

    def _initial_state(self, count: int) -> Tensor:
        return self.classifier.initial_state(count, device=self.source.device, dtype=self._dtype)

    def _rewards(
        self, episodes: EpisodeFeatures, at: slice, history: Tensor, states: Tensor, baseline: Tensor, action: Tensor
    ) -> Tensor:
        """Rewards (B, M) of the M frames ``at``.

        States before and after (B, M, H), baseline actions (B, T, k), actions taken (B, M).
        """
        when = torch.arange(episodes.num_frames, device=self.source.device)[at].expand(len(episodes), -1)
        context = RewardContext(
            classifier=self.classifier,
            labels=episodes.labels[:, None].expand_as(when).flatten(),
            history=history.flatten(0, 1),
            state=states.flatten(0, 1),
            global_vector=episodes.global_vector[:, at].flatten(0, 1),
            local=lambda options: episodes.local_at(when, options.view(*when.shape, -1)).flatten(0, 1),
            local_dim=self.source.local_dim,
            baseline_actions=baseline[:, at].flatten(0, 1),
            action=action.flatten(0, 1),
        )
        return self._reward(context).view(when.shape).float()

    def _baseline_actions(self, episodes: EpisodeFeatures, visits: Tensor) -> Tensor:
        """(B, T, k) grid actions of the ``random`` reward's baseline.

        A function of (seed, video, visit, frame) alone, so that a video's rewards do not depend on its neighbours,
        on B, or on which of the two ways is taken.
        """
        positions = self.reward_config.baseline_positions
        total = self.source.grid.num_actions
        frames = torch.arange(episodes.num_frames, device=visits.device)[:, None]
        if positions == 0:
            every = torch.arange(total, device=visits.device)
            return every.expand(len(episodes), episodes.num_frames, total)
        sample = torch.arange(positions, device=visits.device)
        seed = derive_seed(self.seed, "baseline")
        return hash_randint(total, seed, episodes.videos[:, None, None], visits[:, None, None], frames, sample)
