"""π′ observes what π observes: motion, the time step, and the position of π's own last patch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adafocus_rl.envs import FrameSkippingVectorEnv, Info, PatchSelectionVectorEnv, PolicyOutput
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any
FRAMES, ACTIONS = 4, 9


def _choices(info: Info) -> Tensor:
    """π′'s (B, T), a function of the episode."""
    return ((info["video"][:, None] * 5 + info["visit"][:, None] * 3 + torch.arange(FRAMES) * 7) // 2) % 2


class Scripted:
    """π′."""

    def act(self, observation: Any, info: Info, *, deterministic: bool) -> PolicyOutput:
        """The choices that belong to each episode."""
        return PolicyOutput(action=_choices(info))


class Watchful:
    """π that looks at all that it observes, its own last patch included."""

    def __init__(self, continuous: bool) -> None:
        self.continuous = continuous

    def _choose(self, mood: Tensor) -> PolicyOutput:
        if self.continuous:
            return PolicyOutput(action=torch.stack((mood.sin(), mood.cos()), dim=-1) / 2 + 0.5)
        return PolicyOutput(action=(mood.abs() * 100).long() % ACTIONS)

    def act(self, observation: Any, info: Info, *, deterministic: bool) -> PolicyOutput:
        return self._choose(_mood(observation, 2))

    def act_step(self, observation: Any, state: Any, info: Info, *, deterministic: bool) -> tuple[PolicyOutput, None]:
        return self._choose(_mood(observation, 1)), None


def _mood(observation: Any, axes: int) -> Tensor:
    parts = list(observation.values()) if isinstance(observation, dict) else [observation]
    total: Tensor = sum(part.flatten(axes).sum(-1) for part in parts)
    return total


SEEN: list[dict[str, Any]] = [
    {"motion": True},
    {"time_step": True},
    {"last_action": True},
    {"observation": "vector", "last_action": True, "time_step": True, "action_space": "continuous"},
    {"motion": True, "last_action": True, "time_step": True},
]


@pytest.mark.parametrize("seen", SEEN)
def test_it_sees_what_the_policy_of_patches_sees(made_up: MadeUp, seen: dict[str, Any]) -> None:
    """Where each observes its own last action, too: that of π, whether the frame was skipped or not."""
    policy = Watchful("action_space" in seen)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    patches = PatchSelectionVectorEnv(made_up(), classifier, num_envs=3, seed=4, **seen)
    stepped, rolled = (FrameSkippingVectorEnv(patches, policy, lambda_=0.1) for _ in range(2))
    assert stepped.single_observation_space == patches.single_observation_space
    observation, info = stepped.reset()
    for _ in range(3):
        rollout = rolled.rollout(Scripted())
        # π's own rollout on the same videos.
        alone = patches.rollout(policy, episodes=patches.source.episodes(info["video"]), deterministic=True)
        assert _same(rollout.observation, alone.observation)
        for step, actions in enumerate(_choices(info).unbind(1)):
            assert _same(_at(rollout.observation, step), observation)
            observation, paid, *_, info = stepped.step(actions)
            torch.testing.assert_close(rollout.reward[:, step], paid)
    if "last_action" in seen:
        last = rollout.observation["last_action"]
        assert len(last.unique()) > 3
        assert info["final_obs"]["last_action"].shape == (3, 2)


def _at(observation: Any, step: int) -> Any:
    if isinstance(observation, dict):
        return {name: part[:, step] for name, part in observation.items()}
    return observation[:, step]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(torch.equal(part, other[name]) for name, part in one.items())
    return torch.equal(one, other)
