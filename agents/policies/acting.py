"""Base class of agents that act with π's network, step by step or in whole episodes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from adafocus_rl import checkpoint
from adafocus_rl.agents.policies.best import NetworkActions
from adafocus_rl.agents.policies.create import create_network
from adafocus_rl.agents.policies.distributions import Distribution
from adafocus_rl.agents.policies.encoder import statistics_kept, take_rows
from adafocus_rl.agents.policies.options import PolicyOptions, Precision
from adafocus_rl.agents.policies.precision import sequence
from adafocus_rl.agents.policies.sampling import SamplingAgent
from adafocus_rl.envs import DecisionVectorEnv, Info, PolicyOutput
from adafocus_rl.envs.spaces import Observation, blank
from adafocus_rl.flops import macs
from adafocus_rl.seeding import derive_seed


class NetworkAgent(SamplingAgent):
    """An agent with π's network (AdaFocus, section 3.3).

    Agents with the same seed and the same network options start from the same weights.

    Args:
        env: as in ``Agent``.
        options: options of the network and of training.
        seed: seed of the initial weights and the sampled actions.
    """

    Options: ClassVar[type[Any]] = PolicyOptions
    options: PolicyOptions

    precision: Precision = "float32"
    """Precision of the network in training; evaluation is in float32."""

    keeps_forward = False
    """Whether ``act`` keeps its pass through the network, in training mode, for an update on the same observations."""

    def __init__(self, env: DecisionVectorEnv, options: PolicyOptions | None = None, *, seed: int = 0) -> None:
        super().__init__(env, options, seed=seed)
        with torch.random.fork_rng(devices=[]):
            # Layers draw their weights from the CPU generator for any device; its state is restored afterwards.
            torch.default_generator.manual_seed(derive_seed(seed, "ppo weights"))
            network = create_network(
                observation_space=env.single_observation_space,
                action_space=env.single_action_space,
                grid=self.grid,
                options=self.options,
            )
        self.network = network.to(self.device).eval()
        self._forward: tuple[Observation, Tensor, Tensor] | None = None

    def macs_per_step(self) -> int:
        """Return the multiply-accumulates of one step of the network, including the critic (one dot product)."""
        network = copy.deepcopy(self.network).cpu()
        observation = blank(self.observation_space, 1)
        return macs(lambda state: network.step(observation, state), network.initial_state(1))

    def best_actions(self) -> NetworkActions:
        """Return one step of the network and the mode of its distribution."""
        return NetworkActions(self.network)

    def initial_memory(self, count: int) -> Tensor:
        """Return zeros (B, M)."""
        return self.network.initial_state(count)

    def decide(self, observation: Observation, memory: Tensor) -> tuple[Distribution, Tensor | None, Tensor]:
        """Run one step of the network, including the critic."""
        with statistics_kept(self.network):
            outputs, value, memory = self.network.step(observation, memory)
        return self.network.distribution(outputs), value, memory

    @torch.no_grad()
    def act(self, observation: Observation, info: Info, *, deterministic: bool = False) -> PolicyOutput:
        """Return the actions of whole episodes, with one sequence call; of ``info``, only video and visit are used."""
        if self.network.training and self.keeps_forward:
            with torch.enable_grad():
                outputs, value = sequence(self.network, observation, self.precision)
            self._forward = (observation, outputs, value)
            outputs, value = outputs.detach(), value.detach()
        else:
            precision: Precision = self.precision if self.network.training else "float32"
            with statistics_kept(self.network):
                outputs, value = sequence(self.network, observation, precision)
        uniform = None if deterministic else self.uniform_of_episodes(info, observation)
        return self.choose(self.network.distribution(outputs), value, uniform)

    def outputs(self, observation: Observation, rows: slice | Tensor) -> tuple[Tensor, Tensor]:
        """Return the network's outputs (b, T, A or 2) and values (b, T) for rows of a batch of observations."""
        forward, self._forward = self._forward, None
        if forward is not None and forward[0] is observation:
            # Sampling the actions took the same pass through the network.
            return forward[1:]
        return sequence(self.network, take_rows(observation, rows), self.precision)

    def tensors(self) -> dict[str, Tensor]:
        """Return the network's weights, as ``policy.…``."""
        return {f"policy.{name}": value for name, value in self.network.state_dict().items()}

    def load_tensors(self, tensors: Mapping[str, Tensor], *, what: str) -> None:
        """Restore the network.

        Raises:
            UserError: if it was saved with another map, grid or width.
        """
        self._forward = None
        checkpoint.load_into(self.network, tensors, prefix="policy.", what=what)
