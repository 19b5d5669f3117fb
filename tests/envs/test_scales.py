"""Patch selection with several scales: spaces, observations, boxes, and stepping as in a rollout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from adafocus_rl.envs import (
    FindThePatchVectorEnv,
    FrameSkippingVectorEnv,
    LastCropVectorEnv,
    PatchSelectionVectorEnv,
    RewardConfig,
    SpaceConfig,
)
from adafocus_rl.envs.find_the_patch import FindThePatchSource
from adafocus_rl.envs.render import draw_boxes, heat_cells
from adafocus_rl.envs.rewards import baseline_actions
from adafocus_rl.envs.rollout import PolicyOutput
from adafocus_rl.envs.spaces import Spaces
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any
SCALES = (0.5, 1.0, 2.0)
"""Of patches of 4 pixels in frames of 12."""


def _env(made_up: MadeUp, **options: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    options = {"num_envs": 3, "shuffle": False, **options}
    return PatchSelectionVectorEnv(made_up(patch_scales=SCALES), classifier, **options)


class _Fixed:
    """Takes given actions (T,) in every video."""

    def __init__(self, actions: list[int]) -> None:
        self.actions = torch.tensor(actions)

    def act(self, observation: Any, info: Any, *, deterministic: bool) -> PolicyOutput:
        return PolicyOutput(action=self.actions.expand(len(info["video"]), -1))

    def act_step(self, observation: Any, state: Any, info: Any, *, deterministic: bool) -> tuple[PolicyOutput, Any]:
        step = 0 if state is None else state
        return PolicyOutput(action=self.actions[step].expand(len(info["video"]))), step + 1


ACTIONS = [26, 4, 9, 17]


def test_an_action_is_a_scale_and_a_position(made_up: MadeUp) -> None:
    env = _env(made_up)
    assert env.single_action_space == Discrete(27)
    rollout = env.rollout(_Fixed(ACTIONS))
    boxes = env.chosen_boxes(rollout)[0].tolist()
    assert boxes == [[4, 4, 8, 8], [5, 5, 2, 2], [0, 0, 4, 4], [8, 8, 4, 4]]
    patches = env.source.patches  # type: ignore[attr-defined]
    inputs = torch.cat((rollout.episodes.global_vector, patches[:3, torch.arange(4), torch.tensor(ACTIONS)]), dim=-1)
    torch.testing.assert_close(rollout.logits, env.classifier(inputs))
    for outside in (27, -1):
        env.reset(seed=0)
        with pytest.raises(UserError, match="27"):
            env.step(torch.tensor([0, 1, outside]))


@pytest.mark.parametrize("options", [{}, {"last_action": True, "time_step": True}, {"motion": True}])
def test_stepping_equals_a_rollout(made_up: MadeUp, options: dict[str, Any]) -> None:
    env = _env(made_up, reward=RewardConfig(baseline_positions=2), **options)
    rollout = env.rollout(_Fixed(ACTIONS))
    observation, info = env.reset(seed=0)
    assert info["motion"].shape == (3, 4, 27)
    for step, action in enumerate(ACTIONS):
        for name, part in observation.items() if isinstance(observation, dict) else [("", observation)]:
            whole = rollout.observation[name] if name else rollout.observation
            torch.testing.assert_close(part, whole[:, step])
        observation, reward, *_ = env.step(torch.full((3,), action))
        torch.testing.assert_close(reward, rollout.reward[:, step])


def test_the_last_action_has_a_size(made_up: MadeUp) -> None:
    env = _env(made_up, last_action=True)
    assert env.single_observation_space["last_action"] == Box(-1, 1, (3,))  # type: ignore[index]
    seen = env.rollout(_Fixed(ACTIONS)).observation["last_action"]
    expected = torch.tensor([[-1, -1, -1], [1, 1, 8 / 12], [0.5, 0.5, 2 / 12], [0, 0, 4 / 12]])
    torch.testing.assert_close(seen[0], expected)


def test_observed_positions_lead_back_to_actions(made_up: MadeUp) -> None:
    for source in (made_up(patch_scales=SCALES), made_up(patch_scales=(2.0, 0.75, 1.0)), made_up()):
        spaces = Spaces(SpaceConfig(), source)
        every = torch.arange(source.grid.num_actions)
        assert torch.equal(spaces.nearest_action(spaces.position(every)), every)


def test_the_patch_before_is_observed_with_its_size(made_up: MadeUp) -> None:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    env = LastCropVectorEnv(made_up(patch_scales=SCALES), classifier, num_envs=2, shuffle=False)
    seen, _ = env.reset(seed=0)
    assert seen.shape == (2, 5 + 6 + 27)
    assert not seen[:, 11:].any()
    for action in ACTIONS[:3]:
        seen, *_ = env.step(torch.full((2,), action))
        assert seen[:, 11:].argmax(1).tolist() == [action] * 2


def test_frame_skipping_on_patches_of_several_scales(made_up: MadeUp) -> None:
    patches = _env(made_up, last_action=True)
    env = FrameSkippingVectorEnv(patches, _Fixed(ACTIONS), lambda_=0.01, num_envs=3, shuffle=False)
    rollout = env.rollout(_Fixed([1, 0, 1, 1]))
    own = patches.rollout(_Fixed(ACTIONS))
    assert torch.equal(env.chosen_boxes(rollout), patches.chosen_boxes(own))
    torch.testing.assert_close(rollout.observation["last_action"], own.observation["last_action"])
    torch.testing.assert_close(rollout.logits[:, 0], own.logits[:, 0])


def test_counterfactuals_of_all_scales(made_up: MadeUp) -> None:
    env = _env(made_up, reward=RewardConfig(baseline_positions=0))
    rollout = env.rollout(_Fixed(ACTIONS))
    outcomes = env.counterfactuals(rollout)
    assert outcomes.reward.shape == (3, 4, 27)
    taken = torch.tensor(ACTIONS).expand(3, -1)[..., None]
    torch.testing.assert_close(outcomes.reward.gather(-1, taken)[..., 0], rollout.reward)
    torch.testing.assert_close(outcomes.reward.mean(-1), torch.zeros(3, 4), atol=1e-6, rtol=0)


def test_random_patches_of_the_baseline_have_all_scales_equally_often(made_up: MadeUp) -> None:
    env = _env(made_up)
    rows = torch.arange(200)
    drawn = baseline_actions(env.problem.spaces, 4, seed=0, videos=rows, visits=torch.zeros_like(rows), num_steps=4)
    share = torch.bincount(env.source.grid.scale(drawn).flatten(), minlength=3) / drawn.numel()
    torch.testing.assert_close(share, torch.full((3,), 1 / 3), atol=0.03, rtol=0)


def test_positions_without_a_size_are_refused(made_up: MadeUp) -> None:
    with pytest.raises(UserError, match=r"'continuous', a position without a size, but model.patch_scales is \[0.5, 1"):
        _env(made_up, action_space="continuous")


def test_find_the_patch_of_the_right_size() -> None:
    env = FindThePatchVectorEnv(patch_scales=(1.0, 2.0), num_frames=3, grid=3, videos_per_patch=2)
    assert env.single_observation_space == Box(-float("inf"), float("inf"), (2, 3, 3))
    assert len(env.source.videos) == 36

    class Look:
        def act(self, observation: Tensor, info: Any, *, deterministic: bool) -> PolicyOutput:
            return PolicyOutput(action=observation.flatten(2).argmax(-1))

    returns = torch.cat([one.reward.sum(1) for one in env.rollouts(Look(), epoch=0)])
    assert returns.tolist() == [3.0] * 36
    source = env.source
    assert isinstance(source, FindThePatchSource)
    pictures = source.frames(0)
    assert pictures.shape == (3, 3, 24, 24)
    assert pictures.sum() == 3 * 3 * 64 * 255


def test_cells_of_the_probabilities_of_each_scale() -> None:
    apart = [heat_cells(4, frame_size=12, patch_size=side) for side in (2, 4, 8)]
    assert heat_cells(12, frame_size=12, patch_size=4, scales=SCALES) == [cell for cells in apart for cell in cells]


def test_probabilities_of_one_scale_are_seen_through_those_of_another() -> None:
    import numpy as np

    frame = np.zeros((12, 12, 3), dtype=np.uint8)
    small, large = np.eye(2)[:, :, None].repeat(4, 2).reshape(2, 8)
    options: dict[str, Any] = {"patch_size": 4, "patch_scales": (1.0, 2.0), "min_side": 12}
    each = [draw_boxes(frame, heat=heat, **options).astype(int) for heat in (small, large)]
    both = draw_boxes(frame, heat=small + large, **options).astype(int)
    assert (both >= np.maximum(*each) - 1).all()
    assert (both > np.maximum(*each)).any()
