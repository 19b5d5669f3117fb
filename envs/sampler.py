"""Whole episodes of a decision problem, on the next videos in order or on given ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from adafocus_rl.envs.order import VideoOrders
from adafocus_rl.envs.problem import DecisionProblem
from adafocus_rl.envs.rollout import Info, Policy, PolicyOutput, Rollout, StepPolicy
from adafocus_rl.envs.spaces import Observation, SpaceConfig
from adafocus_rl.envs.whole_episodes import decide, roll_out
from adafocus_rl.features.source import EpisodeFeatures, FeatureSource
from adafocus_rl.models.classifiers import Classifier


class EpisodeSampler:
    """Computes whole episodes of a problem, and describes the actions in them.

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
        """What is observed."""
        return self.problem.spaces.config

    @property
    def skips_frames(self) -> bool:
        """Whether an action can leave a frame without a look of f_L."""
        return self.problem.skips_frames

    def info(self, episodes: EpisodeFeatures, visits: Tensor) -> Info:
        """What privileged agents (random, oracle) and evaluation may read; a learner must not.

        Args:
            episodes: features of B videos.
            visits: (B,) int64, how often each was seen before.
        """
        return self.problem.info(episodes, visits)

    def decide(
        self, policy: Policy | StepPolicy, episodes: EpisodeFeatures, info: Info, *, deterministic: bool = False
    ) -> tuple[Observation, PolicyOutput]:
        """Return a policy's actions in whole episodes, without f_L, f_C or rewards.

        One call of ``policy.act``; where observations hold the policy's own last action, one of ``policy.act_step``
        per frame.

        Args:
            policy: the policy that acts.
            episodes: features to act on; any B.
            info: result of ``info``.
            deterministic: take the policy's best actions instead of samples.

        Returns:
            Observations (B, T, …), and the policy's output.

        Raises:
            UserError: the policy has to be asked frame by frame and has no ``act_step``.
        """
        return decide(self.problem, policy, episodes, info, deterministic=deterministic)

    def local(self, episodes: EpisodeFeatures, action: Tensor) -> Tensor:
        """Return the f_L features (B, T, D_L) that f_C receives in whole episodes, given the actions (B, T, …)."""
        return self.problem.local(self.problem.prepare(episodes), self.problem.all_steps(episodes), action)

    def rollout(
        self,
        policy: Policy | StepPolicy,
        *,
        episodes: EpisodeFeatures | None = None,
        visit: int = 0,
        deterministic: bool = False,
        with_reward: bool = True,
    ) -> Rollout:
        """Return B whole episodes, computed at once, with the same numbers as step by step.

        One sequence call of the policy, one of f_C, and one batched cell call for all baselines on the states before
        each step; where observations hold the policy's own last action, the policy alone is called once per frame.
        Episodes that are under way step by step are not touched; without ``episodes``, the next videos in order are
        taken.

        Args:
            policy: the policy that acts.
            episodes: features to act on; any B.
            visit: how often these episodes were seen before; other visits have other random baselines.
            deterministic: the policy's best actions instead of samples.
            with_reward: False skips the reward and its baselines (evaluation).

        Raises:
            UserError: the policy has to be asked frame by frame and has no ``act_step``.
        """
        seed: int | list[int] = self.seed
        if episodes is None:
            places = range(self.num_envs)
            videos, order = self._orders.take(places)
            episodes = self.problem.episodes(videos, order)
            visits = order.to(self.source.device, non_blocking=True)
            seed = self._baseline_seed(places)
        else:
            visits = torch.full((len(episodes),), visit, device=self.source.device)
        return roll_out(
            self.problem, policy, episodes, visits, seed=seed, deterministic=deterministic, with_reward=with_reward
        )

    def rollouts(self, policy: Policy | StepPolicy, *, epoch: int) -> Iterator[Rollout]:
        """Yield one pass over all videos in batches of at most B, with sampled actions.

        The order (the source's own, by its seed) and the baselines belong to ``epoch``.
        """
        for episodes in self.source.batches(self.num_envs, epoch=epoch if self.shuffle else None):
            yield self.rollout(policy, episodes=episodes, visit=epoch)

    def chosen_boxes(self, rollout: Rollout) -> Tensor:
        """Return the boxes (B, T, 4) int64 in pixels of the chosen patches, including those of skipped frames."""
        episodes = self.problem.prepare(rollout.episodes)
        return self.problem.boxes(episodes, self.problem.all_steps(episodes), rollout.output.action)

    def kept_frames(self, rollout: Rollout) -> Tensor:
        """Return whether f_L was run on each frame: (B, T) bool."""
        return self.problem.kept(rollout.output.action)

    def patch_probabilities(self, rollout: Rollout) -> Tensor | None:
        """Return probabilities (B, T, A) of the grid; None if the policy that chose the patches has none."""
        return self.problem.probabilities(rollout)

    def _baseline_seed(self, places: Sequence[int]) -> int | list[int]:
        """Return the seed that these environments share, or one for each."""
        return self.seed if self._orders.all_shared else self._orders.seeds(places)
