"""Patch selection as a decision problem: one small patch per frame, frozen features, device tensors.

Observations are *exogenous*: the map of frame t+1 comes whatever was chosen at t. So the environment offers two
ways to the same numbers: :meth:`PatchSelectionVectorEnv.step`, and :meth:`PatchSelectionVectorEnv.rollout`, which
takes whole episodes without a Python loop over time or batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from adafocus_rl.envs.drawing import StepPictures
from adafocus_rl.envs.frames import Frames, frames_of
from adafocus_rl.envs.one_for_all import OneForAll
from adafocus_rl.envs.order import VideoOrders
from adafocus_rl.envs.render import Picture
from adafocus_rl.envs.reset import Reset
from adafocus_rl.envs.rewards import RewardConfig
from adafocus_rl.envs.rollout import Info, Policy, PolicyOutput, Rollout, StepPolicy, ask
from adafocus_rl.envs.running import Running, host_mask
from adafocus_rl.envs.spaces import ActionKind, Observation, ObservationKind, SpaceConfig
from adafocus_rl.envs.specification import Specified
from adafocus_rl.envs.transition import PatchTransition
from adafocus_rl.errors import UserError
from adafocus_rl.features.source import EpisodeFeatures, FeatureSource
from adafocus_rl.models.classifiers import Classifier


class PatchSelectionVectorEnv(OneForAll, Specified, PatchTransition, gym.vector.VectorEnv[Observation, Tensor, Tensor]):
    """B videos side by side; one step is one frame; an episode is the T frames of a clip.

    Observation: e^G of the current frame, (B, C, h, w) or pooled (B, D_G) float32; with ``last_action`` or
    ``time_step`` a dict of ``features``, ``last_action`` (B, 2) and ``time_step`` (B, 1)
    (:class:`~adafocus_rl.envs.spaces.Spaces`). Action: grid position, (B,) int64 in [0, A), or relative position,
    (B, 2) float32 in [0, 1]². Reward: see :mod:`adafocus_rl.envs.rewards`, (B,) float32. Termination: after the last
    frame; never truncated. Everything is a torch tensor on the features' device, and nothing waits for it. When a
    pass over the videos is over, the next begins, in another order if ``shuffle``; the last batch of a pass is filled
    up with the first videos of the next.

    Infos are laid out as Gymnasium's vector environments do it: a tensor (B, …) per name, and under ``_name`` which
    environments have it (B,). Where an episode has ended, ``episode`` holds its return ``r``, its length ``l`` and the
    seconds ``t`` it took, as from Gymnasium's ``RecordEpisodeStatistics``.

    Args:
        source: frozen features.
        classifier: frozen f_C, moved to the features' device and put in eval mode.
        num_envs: B, at least 1.
        reward: which reward is paid.
        action_space: ``grid`` or ``continuous``; see :class:`~adafocus_rl.envs.spaces.SpaceConfig`, also for the next.
        observation: ``map`` or ``vector``.
        last_action: whether the last action is observed, too.
        time_step: whether the time step is observed, too.
        motion: whether the map has a channel more: the difference to the frame before.
        shuffle: a new order of videos in every pass; otherwise index order.
        seed: of the order and of the baseline's random patches.
        autoreset_mode: SAME_STEP (the step that ends an episode returns the first observation of the next, and
            ``final_obs`` and ``final_info``), NEXT_STEP (the step after it resets) or DISABLED (the caller resets).
        render_mode: ``rgb_array``: :meth:`render` returns B pictures.
        frames: what to draw on; None takes the clips of live features, and of any other source pictures of e^G.
        max_episode_steps: T, which it cannot change; Gymnasium hands it over with a specification.

    Raises:
        UserError: unknown reward (with a suggestion), no usable video, a number out of range, or continuous actions on
            features that hold grid positions only.
    """

    skips_frames: ClassVar[bool] = False
    """Whether an action can leave a frame without a look of f_L."""

    def __init__(
        self,
        source: FeatureSource,
        classifier: Classifier,
        *,
        num_envs: int = 64,
        reward: RewardConfig | None = None,
        action_space: ActionKind = "grid",
        observation: ObservationKind = "map",
        last_action: bool = False,
        time_step: bool = False,
        motion: bool = False,
        shuffle: bool = True,
        seed: int = 0,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: Literal["rgb_array"] | None = None,
        frames: Frames | None = None,
        max_episode_steps: int | None = None,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise UserError(
                f"render_mode is {render_mode!r}; a vector environment takes 'rgb_array' or None, one made by "
                "gymnasium.make 'human', too"
            )
        if max_episode_steps not in (None, source.num_frames):
            raise UserError(
                f"max_episode_steps is {max_episode_steps}, and these episodes have {source.num_frames} steps, one for "
                "each frame; leave it out, or give gymnasium.make, which ends episodes early, a smaller one"
            )
        if num_envs < 1:
            raise UserError(f"num_envs is {num_envs}; give at least 1 video at a time")
        if len(source.videos) == 0:
            raise UserError(
                "there is no usable video to build episodes from; `adafocus train` lists the ones it skipped"
            )
        spaces = SpaceConfig(
            action_space=action_space,
            observation=observation,
            last_action=last_action,
            time_step=time_step,
            motion=motion,
        )
        super().__init__(source, classifier, reward=reward, spaces=spaces, seed=seed)
        self.num_envs = num_envs
        self.shuffle = shuffle
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": ["rgb_array"], "render_fps": 4}
        self.render_mode = render_mode
        self.single_observation_space = self.spaces.observation
        self.single_action_space = self.spaces.action
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._orders = VideoOrders(source, seed=seed, shuffle=shuffle)
        self._running: Running | None = None
        self._pictures = StepPictures(frames_of(source) if frames is None else frames)
        self._last_step: tuple[Tensor, Tensor] | None = None

    def like(
        self, source: FeatureSource, classifier: Classifier | None = None, *, num_envs: int | None = None
    ) -> PatchSelectionVectorEnv:
        """The same decision problem (reward, spaces, seed) on other features, with another f_C, for other B."""
        return PatchSelectionVectorEnv(
            source,
            classifier or self.classifier,
            num_envs=num_envs or self.num_envs,
            reward=self.reward_config,
            shuffle=self.shuffle,
            seed=self.seed,
            autoreset_mode=self.autoreset_mode,
            **self.space_config.options(),
        )

    # ---- step by step -------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Starts new episodes.

        Args:
            seed: an int starts the order of videos, which all environments share, and the baseline's random numbers
                anew. A list has one for each environment, which then has an order and a baseline of its own, those
                that it would have alone with this seed; None in it lets an environment go on in its order.
            options: ``{"reset_mask": (B,) bool}`` starts new episodes in these environments only, and the others go
                on. ``{"videos": rows (B,)}`` asks for these index rows instead of the next ones in order (they
                count as never seen before; rows of environments that go on are not looked at).

        Returns:
            Current observations (B, …), and an info with the names of :data:`~adafocus_rl.envs.rollout.Info`, which
            the environments that were reset have.

        Raises:
            UserError: not B seeds, videos or entries of the mask, or a mask without any environment.
            gymnasium.error.ResetNeeded: a mask that leaves out environments before the first reset of all.
        """
        wanted = Reset.read(seed, options or {}, self.num_envs)
        if self._running is None and len(wanted.rows) < self.num_envs:
            raise gym.error.ResetNeeded("call reset() for all environments before resetting some of them")
        if isinstance(wanted.seed, int):
            super().reset(seed=wanted.seed)
            self.seed = wanted.seed
            self._orders.restart(wanted.rows.tolist(), wanted.seed)
        elif wanted.seed is not None:
            self._orders.restart_each(wanted.rows.tolist(), wanted.seed)
        running = self._begin(wanted.rows, wanted.videos)
        return self._observe(running), self._vector_info(running.info, wanted.mask)

    def step(self, actions: Tensor) -> tuple[Observation, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Takes one patch in each video: actions (B,) int64, or (B, 2) float32 if they are continuous.

        Returns:
            observation (B, …), reward (B,), terminated (B,), truncated (B,), info. ``logits`` (B, K) in the
            info are f_C's output after the step (with SAME_STEP, the last ones are in ``final_info``). There is no
            frame after the last, so the last step's observation is the last frame's again.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset, or after an episode's end with DISABLED.
            UserError: actions of another shape or kind, or (where that can be seen without waiting for a device) out of
                range.
        """
        running = self._running
        if running is None:
            raise gym.error.ResetNeeded("call reset() before the first step()")
        over = running.over
        if over.any() and self.autoreset_mode != AutoresetMode.NEXT_STEP:
            which = "" if over.all() else f" of environments {', '.join(map(str, np.flatnonzero(over)))}"
            raise gym.error.ResetNeeded(f"the episodes{which} are over; call reset() to start the next")
        if over.all():
            # This call's actions belong to no episode.
            running = self._begin(np.arange(self.num_envs))
            zero = torch.zeros(self.num_envs, device=self.source.device)
            return self._observe(running), zero, zero.bool(), zero.bool(), self._vector_info(running.info)
        actions = self.spaces.check_actions(actions, (self.num_envs,), self.source.device)
        reward, logits = self._advance(running, actions)
        self._last_step = actions, logits
        stepped, ended = ~over, running.over & ~over
        if over.any():  # nor do these environments' actions
            reward = reward.masked_fill(host_mask(over, self.source.device), 0)
            running = self._begin(np.flatnonzero(over))
        terminated = host_mask(ended, self.source.device)
        info = self._vector_info(running.info)
        if ended.any():
            statistics = {name: value.masked_fill(~terminated, 0) for name, value in running.statistics().items()}
            # With a mask for each statistic, too, as Gymnasium lays out infos: its wrappers up to 1.1 ask for them.
            info |= self._vector_info({"episode": self._vector_info(statistics, ended)}, ended)
            if self.autoreset_mode == AutoresetMode.SAME_STEP:
                final = self._vector_info({**running.info, "logits": logits}, ended)
                info |= self._vector_info({"final_obs": self._observe(running), "final_info": final}, ended)
                running = self._begin(np.flatnonzero(ended))
                info |= self._vector_info(running.info)
                stepped &= ~ended
        if stepped.any():
            info |= self._vector_info({"logits": logits}, stepped)
        return self._observe(running), reward, terminated, torch.zeros_like(terminated), info

    def render(self) -> tuple[Picture, ...] | None:
        """One picture (H, W, 3) for each environment, as those of one video look; None without a render mode.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset.
            UserError: a video cannot be decoded, or is not there.
        """
        if self.render_mode is None:
            gym.logger.warn("render() draws nothing without a render_mode; give render_mode='rgb_array'")
            return None
        if self._running is None:
            raise gym.error.ResetNeeded("call reset() before render()")
        if self._last_step is None:
            return self._pictures.draw_all(self._running, None, None)
        actions, logits = self._last_step
        return self._pictures.draw_all(self._running, self._chosen_boxes(actions), logits)

    def _chosen_boxes(self, actions: Tensor) -> Tensor:
        """The boxes (B, 4) in pixels of the last actions (B, …), an empty one where there was none to choose."""
        return self.source.grid.box(self.spaces.origin(actions))

    def _begin(self, rows: NDArray[np.int64], videos: Tensor | None = None) -> Running:
        """New episodes in some environments: the next in their order, or of given index rows (R,)."""
        places = rows.tolist()
        if videos is None:
            videos, visits = self._orders.take(places)
        else:
            visits = torch.zeros_like(videos)
        episodes = self._episodes(videos, visits)
        visits = visits.to(self.source.device, non_blocking=True)
        new = Running.begin(
            episodes,
            info=self.info(episodes, visits),
            baseline=self._baseline_actions(episodes, visits, self._baseline_seed(places)),
            state=self._initial_state(len(videos)),
            last=self.spaces.nowhere(len(videos), device=self.source.device),
        )
        if len(rows) == self.num_envs:
            self._running = new
        else:
            assert self._running is not None
            self._running.replace(rows, new)
        return self._running

    def _baseline_seed(self, places: Sequence[int]) -> int | list[int]:
        """The seed that these environments share, or one for each."""
        return self.seed if self._orders.all_shared else self._orders.seeds(places)

    @torch.no_grad()
    def _advance(self, running: Running, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Moves f_C one frame on; reward (B,) and logits (B, K)."""
        episodes, at = running.episodes, running.at
        local = self.spaces.local(episodes, at, actions[:, None])
        vector = running.current(episodes.global_vector)[:, None]
        state = self.classifier.cell(self._inputs(vector, local)[:, 0], running.state)
        baseline = running.current(running.baseline)[:, None]
        reward = self._rewards(
            episodes, at, vector, running.state[:, None], state[:, None], baseline, actions[:, None]
        )[:, 0]
        running.advance(state=state, last=self.spaces.position(actions), reward=reward)
        return reward, self.classifier.logits(state)

    def _observe(self, running: Running) -> Observation:
        features = running.current(self.spaces.features(running.episodes))
        return self.spaces.observe(features, running.last, running.frame / running.episodes.num_frames)

    def _vector_info(self, values: dict[str, Any], mask: NDArray[np.bool_] | None = None) -> dict[str, Any]:
        """An info that the environments of a mask (B,) have; all of them without one."""
        has = host_mask(np.ones(self.num_envs, dtype=np.bool_) if mask is None else mask, self.source.device)
        return {**values, **{f"_{name}": has for name in values}}

    # ---- what was chosen ----------------------------------------------------------------------------------------

    def chosen_boxes(self, rollout: Rollout) -> Tensor:
        """The boxes (B, T, 4) int64 of the patches chosen in whole episodes of this environment, in pixels."""
        return self.source.grid.box(self.spaces.origin(rollout.output.action))

    def kept_frames(self, rollout: Rollout) -> Tensor:
        """(B, T) bool: whether f_L looked at the frame."""
        return torch.ones(rollout.logits.shape[:2], dtype=torch.bool, device=rollout.logits.device)

    def patch_probabilities(self, rollout: Rollout) -> Tensor | None:
        """Probabilities (B, T, A) of the grid's positions; None if the policy that chose the patches gives none."""
        return rollout.output.probabilities

    # ---- whole episodes -----------------------------------------------------------------------------------------

    def decide(
        self, policy: Policy | StepPolicy, episodes: EpisodeFeatures, info: Info, *, deterministic: bool = False
    ) -> tuple[Observation, PolicyOutput]:
        """A policy's choices in whole episodes and nothing else: no f_L, no f_C, no reward.

        One call of ``policy.act``; with ``last_action`` one of ``policy.act_step`` per frame, since its observations
        depend on what it chose before.

        Args:
            policy: who chooses.
            episodes: features to act on; any B.
            info: of :meth:`info`.
            deterministic: the policy's best actions instead of samples.

        Returns:
            Observations (B, T, …), and the policy's output.

        Raises:
            UserError: with ``last_action``, a policy without ``act_step``.
        """
        return ask(policy, self.spaces, episodes, info, deterministic=deterministic)

    @torch.no_grad()
    def rollout(
        self,
        policy: Policy | StepPolicy,
        *,
        episodes: EpisodeFeatures | None = None,
        visit: int = 0,
        deterministic: bool = False,
        with_reward: bool = True,
    ) -> Rollout:
        """B whole episodes at once, the same numbers as :meth:`step` gives.

        One sequence call of the policy, one of f_C, and one batched cell call for all baselines on the states before
        each step; with ``last_action`` the policy alone is called once per frame (:meth:`decide`). The running
        step-by-step episodes are not touched; without ``episodes``, the next videos in order are taken.

        Args:
            policy: who chooses.
            episodes: features to act on; any B.
            visit: how often these episodes were seen before; other visits have other random patches.
            deterministic: the policy's best actions instead of samples.
            with_reward: False skips the reward and its baselines (evaluation).

        Raises:
            UserError: with ``last_action``, a policy without ``act_step``.
        """
        seed: int | list[int] = self.seed
        if episodes is None:
            places = range(self.num_envs)
            videos, order = self._orders.take(places)
            episodes = self._episodes(videos, order)
            visits = order.to(self.source.device, non_blocking=True)
            seed = self._baseline_seed(places)
        else:
            visits = torch.full((len(episodes),), visit, device=self.source.device)
        info = self.info(episodes, visits)
        observation, output = self.decide(policy, episodes, info, deterministic=deterministic)
        vector = episodes.global_vector
        action = self.spaces.check_actions(output.action, vector.shape[:2], self.source.device)
        states = self.classifier.sequence(self._inputs(vector, self.local(episodes, action)))
        reward = vector.new_zeros(len(episodes), 0)
        if with_reward:
            history = torch.cat((self._initial_state(len(episodes))[:, None], states[:, :-1]), dim=1)
            baseline = self._baseline_actions(episodes, visits, seed)
            when = torch.arange(episodes.num_frames, device=self.source.device).expand(len(episodes), -1)
            reward = self._rewards(episodes, when, vector, history, states, baseline, action)
        return Rollout(
            episodes=episodes,
            info=info,
            observation=observation,
            output=output,
            reward=reward,
            logits=self.classifier.logits(states),
        )

    def rollouts(self, policy: Policy | StepPolicy, *, epoch: int) -> Iterator[Rollout]:
        """One pass over all videos in batches of at most B, sampled.

        The order (the source's own, by its seed) and the baselines belong to ``epoch``.
        """
        for episodes in self.source.batches(self.num_envs, epoch=epoch if self.shuffle else None):
            yield self.rollout(policy, episodes=episodes, visit=epoch)
