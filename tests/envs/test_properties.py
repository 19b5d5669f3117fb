"""Properties that hold for any video, actions and order: rewards in closed form, and passes over the videos."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adafocus_rl.envs import Info, PatchSelectionVectorEnv, PolicyOutput, RewardConfig, Rollout
from adafocus_rl.envs.order import VideoOrder
from adafocus_rl.models import create_classifier

MadeUp = Any
FRAMES, ACTIONS, VIDEOS = 4, 9, 7

Roll = Callable[..., Rollout]


@pytest.fixture(scope="module", params=["gru", "average", "max_pool"])
def roll(request: pytest.FixtureRequest, made_up: MadeUp) -> Roll:
    """Returns the episodes of given videos (B,) and actions (B, T) with a reward."""
    torch.manual_seed(1)
    classifier = create_classifier(request.param, input_dim=11, num_classes=3, hidden=8, dropout=0.0)
    source = made_up()

    class Given:
        def __init__(self, actions: Tensor) -> None:
            self.actions = actions

        def act(self, observation: Tensor, info: Info, *, deterministic: bool) -> PolicyOutput:
            return PolicyOutput(action=self.actions)

    def run(videos: list[int], actions: list[list[int]], kind: str, positions: int = 1) -> Rollout:
        config = RewardConfig(kind=kind, baseline_positions=positions)
        env = PatchSelectionVectorEnv(source, classifier, num_envs=3, reward=config)
        return env.rollout(Given(torch.tensor(actions)), episodes=source.episodes(torch.tensor(videos)))

    return run


episodes = st.lists(
    st.tuples(st.integers(0, VIDEOS - 1), st.lists(st.integers(0, ACTIONS - 1), min_size=FRAMES, max_size=FRAMES)),
    min_size=1,
    max_size=4,
)
"""(video, actions) of each episode."""


def _probabilities(rollout: Rollout) -> Tensor:
    """(B, T) of the true class."""
    labels = rollout.episodes.labels[:, None, None].expand(-1, FRAMES, 1)
    return rollout.logits.softmax(-1).gather(-1, labels).squeeze(-1)


@settings(max_examples=25)
@given(chosen=episodes)
def test_increments_add_up_to_the_probability_that_was_won(roll: Roll, chosen: list[tuple[int, list[int]]]) -> None:
    videos, actions = [list(part) for part in zip(*chosen, strict=True)]
    rollout = roll(videos, actions, "increment")
    p = _probabilities(rollout)
    torch.testing.assert_close(rollout.reward[:, 1:], p[:, 1:] - p[:, :-1], rtol=0, atol=1e-6)
    # Whatever was done: before the first frame, f_C's state is the same for all videos of a class.
    before = p[:, -1] - rollout.reward.sum(1)
    for label in rollout.episodes.labels.unique():
        same = before[rollout.episodes.labels == label]
        torch.testing.assert_close(same, same[:1].expand_as(same), rtol=0, atol=1e-6)
    torch.testing.assert_close(roll(videos, actions, "confidence").reward, p, rtol=0, atol=1e-6)


@settings(max_examples=25)
@given(video=st.integers(0, VIDEOS - 1), past=st.lists(st.integers(0, ACTIONS - 1), min_size=FRAMES, max_size=FRAMES))
def test_rewards_beside_the_mean_of_all_patches_have_mean_zero(roll: Roll, video: int, past: list[int]) -> None:
    """The same history, then each of the nine patches: their advantages over the mean of all add up to nothing."""
    for frame in range(FRAMES):
        actions = [[*past[:frame], action, *past[frame + 1 :]] for action in range(ACTIONS)]
        reward = roll([video] * ACTIONS, actions, "random", 0).reward[:, frame]
        assert float(reward.mean()) == pytest.approx(0, abs=1e-6)
        assert float(reward.abs().max()) <= 1


@settings(max_examples=25)
@given(chosen=episodes)
def test_differences_of_probabilities_stay_within_one(roll: Roll, chosen: list[tuple[int, list[int]]]) -> None:
    videos, actions = [list(part) for part in zip(*chosen, strict=True)]
    p = _probabilities(roll(videos, actions, "confidence"))
    for kind, positions in (("random", 1), ("random", 3), ("padding", 1)):
        reward = roll(videos, actions, kind, positions).reward
        assert ((p - 1 <= reward + 1e-6) & (reward <= p + 1e-6)).all()


@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=12), seed=st.integers(0, 2**32), shuffle=st.booleans())
def test_videos_come_pass_by_pass_however_they_are_taken(
    made_up: MadeUp, counts: list[int], seed: int, shuffle: bool
) -> None:
    """Each pass has every video once, with its number, wherever the batches end; a restart begins anew."""
    source = made_up()
    order = VideoOrder(source, seed=seed, shuffle=shuffle)
    taken = [order.take(count) for count in counts]
    assert [len(videos) for videos, _ in taken] == counts
    videos, visits = (torch.cat(parts) for parts in zip(*taken, strict=True))
    assert torch.equal(visits, torch.arange(len(videos)) // VIDEOS)
    for start in range(0, len(videos), VIDEOS):
        one = videos[start : start + VIDEOS].tolist()
        assert len({*one}) == len(one)
        assert shuffle or one == list(range(len(one)))
    order.restart(seed)
    assert torch.equal(order.take(len(videos))[0], videos)
