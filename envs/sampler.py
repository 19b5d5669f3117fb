"""Whole episodes of a decision problem, on the next videos in order or on given ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from adafocus_rl.envs.counterfactuals import Counterfactuals
from adafocus_rl.envs.options import SpaceConfig
from adafocus_rl.envs.order import VideoOrders
from adafocus_rl.envs.problem import DecisionProblem
from adafocus_rl.envs.rollout import Info, Policy, PolicyOutput, Rollout, StepPolicy
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.envs.whole_episodes import decide, outcomes, roll_out
from adafocus_rl.features.shares import own_parts
from adafocus_rl.features.source import EpisodeFeatures, FeatureSource
from adafocus_rl.models.classifiers import Classifier


class EpisodeSampler:
    """Computes whole episodes of a problem, and the boxes and kept frames of their actions.

    Args:
        problem: the decision problem.
        num_envs: B, number of videos at a time.
        shuffle: draw a new order of videos in every pass; False for index order.
        seed: seed of the order and of the random actions of the reward's baseline.
    """

    def __init__(self, problem: DecisionProblem, *, num_envs: int, shuffle: bool, seed: int) -> None:
        self.problem = problem
        self.num_envs = num_envs
        self.shuffle = shuffle
        self.seed = seed
        self._orders = VideoOrders(problem.source, seed=seed, shuffle=shuffle)

    @property
    def source(self) -> FeatureSource:
        """The features."""
        return self.problem.source

    @property
    def classifier(self) -> Classifier:
        """f_C."""
        return self.problem.classifier

    @property
    def space_config(self) -> SpaceConfig:
        """Options of observations and actions."""
        return self.problem.spaces.config

    @property
    def skips_frames(self) -> bool:
        """Whether an action can skip f_L in a frame."""
        return self.problem.skips_frames

    def info(self, episodes: EpisodeFeatures, visits: Tensor) -> Info:
        """Return facts that privileged agents (random, oracle) and evaluation may read; learning agents must not.

        Args:
            episodes: features of B videos.
            visits: (B,) int64, number of earlier visits of each video.
        """
        return self.problem.info(episodes, visits)

    def decide(
        self, policy: Policy | StepPolicy, episodes: EpisodeFeatures, info: Info, *, deterministic: bool = False
    ) -> tuple[Observation, PolicyOutput]:
        """Return a policy's actions in whole episodes, without f_L, f_C or rewards.

        This takes one call of ``policy.act``, or, if observations contain the policy's own last action, one call of
        ``policy.act_step`` per frame.

        Args:
            policy: the policy that acts.
            episodes: features to act on, for any B.
            info: result of ``info``.
            deterministic: take the policy's best actions instead of samples.

        Returns:
            Observations (B, T, …), and the policy's output.

        Raises:
            UserError: the policy must act frame by frame and has no ``act_step``.
        """
        return decide(self.problem, policy, episodes, info, deterministic=deterministic)

    def local(self, episodes: EpisodeFeatures, action: Tensor) -> Tensor:
        """Return f_L's features (B, T, D_L) that f_C receives in whole episodes, given the actions (B, T, …)."""
        return self.problem.local(self.problem.prepare(episodes), self.problem.all_steps(episodes), action)

    def rollout(
        self,
        policy: Policy | StepPolicy,
        *,
        episodes: EpisodeFeatures | None = None,
        visit: int | Tensor = 0,
        deterministic: bool = False,
        with_reward: bool = True,
    ) -> Rollout:
        """Return B whole episodes, computed at once, with the same numbers as step by step.

        This takes one sequence call of the policy, one of f_C, and one batched cell call for all baselines, from the
        states before each step. If observations contain the policy's own last action, only the policy is called once
        per frame. Running episodes, which are stepped, are not affected.

        Args:
            policy: the policy that acts.
            episodes: features to act on, for any B; None takes the next videos in order.
            visit: number of earlier visits of these episodes, or of each, (B,) int64 on the features' device; each
                visit has its own random baselines.
            deterministic: take the policy's best actions instead of samples.
            with_reward: False skips the reward and its baselines (evaluation).

        Raises:
            UserError: the policy must act frame by frame and has no ``act_step``.
        """
        seed: int | list[int] = self.seed
        if episodes is None:
            places = range(self.num_envs)
            videos, order = self._orders.take(places)
            episodes = self.problem.episodes(videos, order)
            visits = order.to(self.source.device, non_blocking=True)
            seed = self._baseline_seed(places)
        else:
            visits = (
                visit if isinstance(visit, Tensor) else torch.full((len(episodes),), visit, device=self.source.device)
            )
        return roll_out(
            self.problem, policy, episodes, visits, seed=seed, deterministic=deterministic, with_reward=with_reward
        )

    def own_parts(self, *, epoch: int) -> Iterator[EpisodeFeatures]:
        """Yield the batches of one pass over all videos; on several ranks, this rank's part of each batch of B videos.

        The order (from the source's own seed) depends on ``epoch``. See ``adafocus_rl.features.shares.own_parts``.
        """
        return own_parts(self.source, self.num_envs, epoch=epoch if self.shuffle else None)

    def rollouts(self, policy: Policy | StepPolicy, *, epoch: int, with_reward: bool = True) -> Iterator[Rollout]:
        """Yield one pass over all videos in batches of at most B, with sampled actions.

        The order (from the source's own seed) and the baselines depend on ``epoch``. ``with_reward`` is as in
        ``rollout``. Each rank of a job yields all videos.
        """
        for episodes in self.source.batches(self.num_envs, epoch=epoch if self.shuffle else None):
            yield self.rollout(policy, episodes=episodes, visit=epoch, with_reward=with_reward)

    def counterfactuals(self, rollout: Rollout, *, with_states: bool = False) -> Counterfactuals:
        """Return the outcomes of all A actions in every frame of whole episodes.

        Each is one step from the history that the rollout's own actions led to; on the rollout's actions, probabilities
        and rewards equal the rollout's.

        Args:
            rollout: B whole episodes of ``rollout`` or ``rollouts``.
            with_states: also return f_C's next states, (B, T, A, H).

        Raises:
            UserError: the actions are continuous.
        """
        episodes, visits = self.problem.prepare(rollout.episodes), rollout.info["visit"]
        return outcomes(self.problem, episodes, rollout.states, visits, seed=self.seed, with_states=with_states)

    def chosen_boxes(self, rollout: Rollout) -> Tensor:
        """Return the boxes (B, T, 4) int64 in pixels of the selected patches, including those of skipped frames."""
        episodes = self.problem.prepare(rollout.episodes)
        return self.problem.boxes(episodes, self.problem.all_steps(episodes), rollout.output.action)

    def kept_frames(self, rollout: Rollout) -> Tensor:
        """Return whether f_L was run on each frame: (B, T) bool."""
        return self.problem.kept(rollout.output.action)

    def patch_probabilities(self, rollout: Rollout) -> Tensor | None:
        """Return probabilities (B, T, A) of the grid's positions; None if the policy that selects patches has none."""
        return self.problem.probabilities(rollout)

    def _baseline_seed(self, places: Sequence[int]) -> int | list[int]:
        """Return the seed that these environments share, or one for each."""
        return self.seed if self._orders.all_shared else self._orders.seeds(places)
