"""An agent that learns and does not say what it costs does not stand in the table with the compute of a rule."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from adafocus_rl.agents import Agent, CenterAgent
from adafocus_rl.envs import FindThePatchVectorEnv, Info, PolicyOutput
from adafocus_rl.envs.spaces import Observation


class Linear(Agent):
    """One matrix product per decision, and a sample."""

    label = "linear"
    learns = True

    def __init__(self, env: FindThePatchVectorEnv, options: Any = None, *, seed: int = 0) -> None:
        super().__init__(env, options, seed=seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.layer = torch.nn.Linear(torch.Size(env.single_observation_space.shape).numel(), self.num_actions)

    def act(self, observation: Observation, info: Info, *, deterministic: bool = False) -> PolicyOutput:
        torch.rand(3)
        scores = self.layer(observation.flatten(2))
        return PolicyOutput(action=(scores + torch.rand(scores.shape, generator=self.generator)).argmax(-1))

    def predict(
        self,
        observation: Observation,
        state: Tensor | None = None,
        episode_start: Tensor | None = None,
        deterministic: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        return self.act(observation[:, None], {}).action[:, 0], None


class Table(Linear):
    """Learns, but without a network."""

    def act(self, observation: Observation, info: Info, *, deterministic: bool = False) -> PolicyOutput:
        return PolicyOutput(action=torch.zeros(observation.shape[:2], dtype=torch.long))


class Broken(Linear):
    """Does not act on zeros."""

    def act(self, observation: Observation, info: Info, *, deterministic: bool = False) -> PolicyOutput:
        raise ValueError("zeros")


@pytest.fixture
def env() -> FindThePatchVectorEnv:
    return FindThePatchVectorEnv(num_envs=2)


def test_its_calls_are_counted_and_nothing_else_changes(env: FindThePatchVectorEnv) -> None:
    agent = Linear(env)
    before = agent.generator.get_state(), torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert agent.macs_per_step() == agent.layer.weight.numel()
        assert CenterAgent(env).macs_per_step() == 0
    assert torch.equal(agent.generator.get_state(), before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


def test_what_cannot_be_counted_is_named(env: FindThePatchVectorEnv) -> None:
    with pytest.warns(UserWarning, match="Table learns, but its compute counts as 0: .*implement Table.macs_per_step"):
        assert Table(env).macs_per_step() == 0
    with pytest.warns(UserWarning, match=r"Broken learns.* fails on zeros \(ValueError: zeros\)"):
        assert Broken(env).macs_per_step() == 0
