"""Who solves the debug environment, and who cannot.

With ``memory`` the cell shows in the first frame only and pays in the T − 1 frames after it, where all maps are dark.
Without memory a policy has one distribution over the A actions for all dark frames (with the time step observed: one
for each frame), whichever cell was lit; every cell was lit in one video out of A; so it earns Σ_a π(a)/A = 1/A a frame
and (T − 1)/A an episode: no more, whatever it has learnt.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adafocus_rl.agents import Agent, PPOAgent, PPOOptions, SB3Agent, SB3Options
from adafocus_rl.agents.policies.options import Cell
from adafocus_rl.envs import FindThePatchVectorEnv, PolicyOutput

pytestmark = pytest.mark.slow


def _return(env: FindThePatchVectorEnv, agent: Any, *, deterministic: bool = True) -> float:
    """Mean return over a whole pass."""
    episodes = env.source.episodes(env.source.videos)
    return float(env.rollout(agent, episodes=episodes, deterministic=deterministic).reward.sum(1).mean())


def _ppo(env: FindThePatchVectorEnv, cell: Cell) -> Agent:
    agent = PPOAgent(
        env, PPOOptions(cell=cell, hidden=64, reduced_channels=8, learning_rate=3e-3, n_epochs=4, gae_lambda=0.9)
    )
    return agent.learn(env, epochs=6)


@pytest.mark.parametrize("cell", ["gru", "lstm", "none"])
def test_ppo_solves_what_needs_no_memory(cell: Cell) -> None:
    env = FindThePatchVectorEnv(num_envs=32)
    assert env.best_return == 4
    assert _return(env, _ppo(env, cell)) > 0.99 * env.best_return


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_ppo_with_memory_solves_what_needs_it(cell: Cell) -> None:
    env = FindThePatchVectorEnv(num_envs=32, memory=True)
    assert env.best_return == 3
    assert _return(env, _ppo(env, cell)) > 0.99 * env.best_return


@pytest.mark.parametrize("time_step", [False, True])
def test_ppo_without_memory_cannot_solve_what_needs_it(time_step: bool) -> None:
    env = FindThePatchVectorEnv(num_envs=32, memory=True, time_step=time_step)
    assert env.best_return_without_memory == 3 / 9
    agent = _ppo(env, "none")
    assert _return(env, agent) == pytest.approx(3 / 9, abs=1e-6)
    # That is all there is to earn: whatever is chosen in the dark, one video out of nine has its cell there.
    for action in range(9):
        assert _return(env, Always(action)) == pytest.approx(3 / 9, abs=1e-6)


class Always:
    """One action in every frame."""

    def __init__(self, action: int) -> None:
        self.action = action

    def act(self, observation: Any, info: Any, *, deterministic: bool) -> PolicyOutput:
        return PolicyOutput(action=torch.full((len(info["video"]), 4), self.action))


@pytest.mark.parametrize("memory", [False, True])
def test_recurrent_ppo_solves_both(memory: bool) -> None:
    pytest.importorskip("sb3_contrib", reason="the extra sb3 is not installed")
    env = FindThePatchVectorEnv(num_envs=32, memory=memory, grid=2, num_frames=3, videos_per_patch=64)
    agent = SB3Agent(
        env,
        SB3Options(
            algorithm="RecurrentPPO", hidden=32, reduced_channels=4, learning_rate=5e-3, options={"batch_size": 96}
        ),
    )
    agent.learn(env, epochs=2)
    assert _return(env, agent) > 0.99 * env.best_return


def test_sb3_ppo_without_memory_cannot_solve_what_needs_it() -> None:
    env = FindThePatchVectorEnv(num_envs=32, memory=True, grid=2, num_frames=3, videos_per_patch=64)
    agent = SB3Agent(env, SB3Options(hidden=32, reduced_channels=4, learning_rate=5e-3, options={"batch_size": 96}))
    agent.learn(env, epochs=2)
    assert _return(env, agent) == pytest.approx(2 / 4, abs=1e-6)
