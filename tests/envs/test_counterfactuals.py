"""Outcomes of all actions equal those of taking each action."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adafocus_rl.envs import (
    FindThePatchVectorEnv,
    FrameSkippingVectorEnv,
    Info,
    PatchSelectionVectorEnv,
    PolicyOutput,
    RewardConfig,
)
from adafocus_rl.errors import UserError
from adafocus_rl.models import create_classifier
from adafocus_rl.models.classifiers import Classifier

MadeUp = Any
FRAMES, ACTIONS = 4, 9
REWARDS = [("random", 1), ("random", 3), ("random", 0), ("padding", 1), ("increment", 1), ("confidence", 1)]


class Fixed:
    """A policy with given actions (B, T)."""

    def __init__(self, actions: Tensor) -> None:
        self.actions = actions

    def act(self, observation: Tensor, info: Info, *, deterministic: bool) -> PolicyOutput:
        """The given actions."""
        return PolicyOutput(action=self.actions)


def classifier(kind: str) -> Classifier:
    torch.manual_seed(0)
    return create_classifier(kind, input_dim=11, num_classes=3, hidden=8, dropout=0.5)


@pytest.mark.parametrize("kind", ["gru", "average", "max_pool"])
@pytest.mark.parametrize(("reward", "positions"), REWARDS)
def test_each_outcome_equals_the_rollout_with_that_action(
    made_up: MadeUp, kind: str, reward: str, positions: int
) -> None:
    """Replace one action in one frame by every other one: reward and f_C's state in this frame."""
    config = RewardConfig(kind=reward, baseline_positions=positions)
    env = PatchSelectionVectorEnv(made_up(), classifier(kind), reward=config, num_envs=3, seed=4)
    episodes = env.source.episodes(torch.tensor([5, 0, 2]))
    actions = torch.randint(ACTIONS, (3, FRAMES), generator=torch.Generator().manual_seed(1))
    found = env.counterfactuals(env.rollout(Fixed(actions), episodes=episodes, visit=2), with_states=True)
    assert found.states is not None
    for frame in range(FRAMES):
        for action in range(ACTIONS):
            other = actions.clone()
            other[:, frame] = action
            rollout = env.rollout(Fixed(other), episodes=episodes, visit=2)
            probability = rollout.logits[:, frame].softmax(-1).gather(-1, episodes.labels[:, None])[:, 0]
            torch.testing.assert_close(found.probability[:, frame, action], probability)
            torch.testing.assert_close(found.reward[:, frame, action], rollout.reward[:, frame])
            torch.testing.assert_close(found.states[:, frame, action], rollout.states[:, frame])


def test_a_step_pays_what_was_foretold(made_up: MadeUp) -> None:
    """Environments at different frames, after a masked reset."""
    env = PatchSelectionVectorEnv(made_up(), classifier("gru"), reward=RewardConfig(baseline_positions=2), num_envs=3)
    with pytest.raises(Exception, match=r"call reset\(\) before step_counterfactuals\(\)"):
        env.step_counterfactuals()
    env.reset()
    for step in range(3):
        if step == 2:
            env.reset(options={"reset_mask": torch.tensor([False, True, False]).numpy()})
        found = env.step_counterfactuals()
        assert found.states is not None
        assert found.reward.shape == found.probability.shape == (3, ACTIONS)
        for action in range(ACTIONS):
            _, reward, _, _, info = copy.deepcopy(env).step(torch.full((3,), action))
            torch.testing.assert_close(found.reward[:, action], reward)
            torch.testing.assert_close(env.classifier.logits(found.states[:, action]), info["logits"])
        env.step(torch.tensor([1, 4, 8]))


def test_skipping_a_frame_and_keeping_it(made_up: MadeUp) -> None:
    patches = PatchSelectionVectorEnv(made_up(), classifier("gru"), num_envs=3)
    chosen = torch.randint(ACTIONS, (3, FRAMES), generator=torch.Generator().manual_seed(1))
    env = FrameSkippingVectorEnv(patches, Fixed(chosen), lambda_=0.25)
    episodes = env.source.episodes(torch.tensor([5, 0, 2]))
    kept = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    found = env.counterfactuals(env.rollout(Fixed(kept), episodes=episodes))
    for frame in range(FRAMES):
        for action in (0, 1):
            other = kept.clone()
            other[:, frame] = action
            rollout = env.rollout(Fixed(other), episodes=episodes)
            torch.testing.assert_close(found.reward[:, frame, action], rollout.reward[:, frame])


def test_many_actions_are_computed_in_parts(made_up: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    env = PatchSelectionVectorEnv(made_up(), classifier("gru"), num_envs=3)
    rollout = env.rollout(Fixed(torch.zeros(3, FRAMES, dtype=torch.long)))
    whole = env.counterfactuals(rollout, with_states=True)
    monkeypatch.setattr("adafocus_rl.envs.counterfactuals.MAX_CELL_ROWS", 1)
    parts = env.counterfactuals(rollout, with_states=True)
    assert whole.states is not None
    assert parts.states is not None
    torch.testing.assert_close(parts.reward, whole.reward)
    torch.testing.assert_close(parts.states, whole.states)


def test_a_classifier_that_projects_nothing() -> None:
    """FindThePatch's f_C has no product to split: the right patch pays 1, every other 0."""
    env = FindThePatchVectorEnv(num_envs=5)
    rollout = env.rollout(Fixed(torch.zeros(5, 4, dtype=torch.long)))
    lit = rollout.observation.flatten(2)
    torch.testing.assert_close(env.counterfactuals(rollout).reward, lit)


def test_continuous_actions_have_no_table_of_outcomes(made_up: MadeUp) -> None:
    env = PatchSelectionVectorEnv(made_up(), classifier("gru"), num_envs=2, action_space="continuous")
    rollout = env.rollout(Fixed(torch.full((2, FRAMES, 2), 0.5)))
    with pytest.raises(UserError, match=r"env\.action_space=grid"):
        env.counterfactuals(rollout)


@pytest.mark.parametrize("kind", ["gru", "average", "max_pool"])
@given(split=st.integers(0, 11), inputs=st.integers(1, 4), seed=st.integers(0, 99))
def test_projected_cells_equal_the_cell(kind: str, split: int, inputs: int, seed: int) -> None:
    """Wherever the feature vector is split; the first part is shared by all inputs."""
    f_c, draw = classifier(kind).eval(), torch.Generator().manual_seed(seed)
    for tensor in f_c.state_dict().values():
        # Batch normalisation begins with statistics that change nothing; a variance has to be positive.
        tensor.copy_(torch.rand(tensor.shape, generator=draw) - (0.0 if tensor.ndim == 1 else 0.5))
    x = torch.randn(2, inputs, 11, generator=draw)
    state = torch.randn(2, f_c.state_dim, generator=draw).abs()
    x[..., :split] = x[:, :1, :split]
    projected, shared = f_c.project(x[..., split:], split), f_c.project(x[:, 0, :split])
    assert projected.shape == (2, inputs, f_c.projection_dim)
    assert shared.shape == (2, f_c.projection_dim)
    found = f_c.projected_cells(projected, shared, state)
    for number in range(inputs):
        torch.testing.assert_close(found[:, number], f_c.cell(x[:, number], state))
