"""Rollout and update of a batch as one CUDA graph, which starts all kernels at once.

At paper size, a batch of 64 videos is some hundreds of small kernels, and starting them one by one takes longer than
they do. A graph repeats the same kernels on the same memory, so only the batch's videos and the number of the pass may
change. Whatever else changes needs another graph.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from adafocus_rl import ranks
from adafocus_rl.envs import DecisionVectorEnv
from adafocus_rl.features.bank import FeatureBank
from adafocus_rl.features.bank_episodes import BankEpisodes
from adafocus_rl.models.captured import capture, last_warm_up, on_side_stream

if TYPE_CHECKING:
    from adafocus_rl.agents.policies.agent import PolicyAgent

WARM_UP = 3
"""Batches that run kernel by kernel before a graph is recorded: libraries allocate and choose kernels in the first."""

Scalars = dict[str, Tensor]
Learn = Callable[[], Scalars]


def capturable(env: DecisionVectorEnv) -> bool:
    """Return whether all that a batch reads is on one CUDA device, of one rank, and π acts on whole episodes."""
    source = env.source
    on_device = isinstance(source, FeatureBank) and source.resident and source.device.type == "cuda"
    return on_device and env.problem.exogenous and ranks.world() == 1


def record(learn: Learn) -> tuple[Callable[[], None], Scalars]:
    """Record the kernels of a function without running them; return what runs them, and where its results will be."""
    graph, scalars = capture(learn)
    return graph.replay, scalars


class CapturedUpdates:
    """Makes an agent's passes over the videos of an environment, full batches with a graph, others kernel by kernel.

    Args:
        agent: the agent; its weights and its optimiser's state are changed in place.
    """

    def __init__(self, agent: PolicyAgent) -> None:
        self.agent = agent
        self.refused = False
        self.forget()

    def forget(self) -> None:
        """Drop the graph: tensors that it reads or writes were replaced."""
        self._env: weakref.ref[DecisionVectorEnv] | None = None
        self._batches = 0
        self._constants: tuple[object, ...] = ()
        self._replay: Callable[[], None] | None = None
        self._scalars: Scalars = {}

    def of_pass(self, env: DecisionVectorEnv, epoch: int, progress: float) -> Iterator[tuple[Tensor, Scalars]]:
        """Yield the videos (B,) and the scalars of each update of one pass; arguments as in ``train_epoch``."""
        for episodes in env.own_parts(epoch=epoch):
            if len(episodes) == env.num_envs and not self.refused:
                yield episodes.videos, self._full_batch(env, episodes.videos, epoch, progress)
            else:
                rollout = env.rollout(
                    self.agent, episodes=episodes, visit=epoch, with_reward=not self.agent.needs_outcomes
                )
                yield episodes.videos, self.agent.learn_from(env, rollout, progress)

    @property
    def _map_dtype(self) -> torch.dtype:
        """Type of the maps: π rounds them to bfloat16 in that precision, so float32 need not be in memory before."""
        return torch.bfloat16 if self.agent.precision == "bfloat16" else torch.float32

    def _full_batch(self, env: DecisionVectorEnv, videos: Tensor, epoch: int, progress: float) -> Scalars:
        if self._env is None or self._env() is not env:
            self.forget()
            self._env = weakref.ref(env)
            self._videos, self._visits = torch.empty_like(videos), torch.empty_like(videos)
        self._videos.copy_(videos)
        self._visits.fill_(epoch)
        constants = (env.seed, self.agent.precision, self.agent.scheduled(progress))
        if constants != self._constants:
            self._constants, self._replay = constants, None

        def learn() -> Scalars:
            assert isinstance(env.source, FeatureBank)
            rollout = env.rollout(
                self.agent,
                episodes=BankEpisodes(env.source, self._videos, map_dtype=self._map_dtype),
                visit=self._visits,
                with_reward=not self.agent.needs_outcomes,
            )
            return self.agent.learn_from(env, rollout, progress)

        self._batches += 1
        if self._batches < WARM_UP:
            return on_side_stream(learn)
        if self._batches == WARM_UP:
            scalars, waited = last_warm_up(learn)
            if waited:
                self._refuse("it waits for the device")
            return scalars
        if self._replay is None:
            try:
                self._replay, self._scalars = record(learn)
            except RuntimeError as error:
                # Nothing of the batch has run yet.
                self._refuse(error)
                return learn()
        self._replay()
        return {name: value.clone() for name, value in self._scalars.items()}

    def _refuse(self, reason: object) -> None:
        self.refused = True
        warnings.warn(f"training without a CUDA graph, kernel by kernel: {reason}", RuntimeWarning, stacklevel=4)
