"""Rewards of single transitions and the random patches of their baseline, against one computation after the other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from adafocus_rl.envs import REWARDS, rewards
from adafocus_rl.envs.rewards import RewardContext, baseline_actions
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.models import create_classifier
from adafocus_rl.seeding import derive_seed, hash_randint, hash_uniform

COUNT, ACTIONS, VECTOR, LOCAL, CLASSES = 3, 5, 2, 4, 3


class Transitions:
    """Three transitions with five actions each, of random features."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.classifier = create_classifier(
            "gru", input_dim=VECTOR + LOCAL, num_classes=CLASSES, hidden=6, dropout=0.5
        ).eval()
        self.labels = torch.tensor([2, 0, 1])
        self.history = torch.randn(COUNT, 6)
        self.vector = torch.randn(COUNT, VECTOR)
        self.patches = 3 * torch.randn(COUNT, ACTIONS, LOCAL)
        self.action = torch.tensor([4, 1, 3])
        self.calls: list[int] = []

    def probability(self, row: int, state: Tensor) -> float:
        return float(self.classifier.logits(state).softmax(-1)[0, self.labels[row]])

    def after(self, row: int, local: Tensor) -> float:
        """Probability of the true class after a step with these features."""
        inputs = torch.cat((self.vector[row], local))[None]
        return self.probability(row, self.classifier.cell(inputs, self.history[row][None]))

    def context(self, baseline: Tensor, **changes: Any) -> RewardContext:
        def local(actions: Tensor) -> Tensor:
            return self.patches[torch.arange(COUNT)[:, None], actions]

        def projected(actions: Tensor) -> Tensor:
            self.calls.append(actions.shape[1])
            return self.classifier.project(local(actions), VECTOR)

        chosen = torch.cat((self.vector, self.patches[torch.arange(COUNT), self.action]), dim=1)
        chosen = chosen.to(next(self.classifier.parameters()).dtype)
        return RewardContext(
            classifier=self.classifier, labels=self.labels, history=self.history,
            state=self.classifier.cell(chosen, self.history.to(chosen.dtype)), global_vector=self.vector, local=local,
            projected=projected, shared=lambda: self.classifier.project(self.vector), local_dim=LOCAL,
            baseline_actions=baseline, action=self.action, **changes,
        )  # fmt: skip


@torch.no_grad()
def test_each_reward_is_a_difference_of_two_probabilities() -> None:
    found = Transitions()
    baseline = torch.tensor([[0, 2], [3, 3], [1, 4]])
    context = found.context(baseline)
    chosen = [found.after(row, found.patches[row, found.action[row]]) for row in range(COUNT)]
    other = {
        "random": [sum(found.after(row, found.patches[row, one]) for one in baseline[row]) / 2 for row in range(COUNT)],
        "padding": [found.after(row, torch.zeros(LOCAL)) for row in range(COUNT)],
        "increment": [found.probability(row, found.history[row][None]) for row in range(COUNT)],
        "confidence": [0.0] * COUNT,
    }
    assert other.keys() == {*REWARDS.names()}
    for name, values in other.items():
        expected = [one - two for one, two in zip(chosen, values, strict=True)]
        assert REWARDS.get(name)(context).tolist() == pytest.approx(expected, abs=1e-6), name
        assert max(map(abs, expected)) > 0.01
    features = torch.randn(COUNT, 2, LOCAL)
    expected = [[found.after(row, features[row, one]) for one in range(2)] for row in range(COUNT)]
    torch.testing.assert_close(context.with_local(features), torch.tensor(expected), rtol=0, atol=1e-6)
    # Half-precision features are computed in f_C's own type.
    low = context.with_local(features.half())
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, torch.tensor(expected), rtol=0, atol=5e-3)


@torch.no_grad()
@pytest.mark.parametrize(("rows", "parts"), [(1, [1] * 5), (6, [2, 2, 1]), (14, [4, 1]), (15, [5]), (None, [5])])
def test_actions_are_tried_in_parts(monkeypatch: pytest.MonkeyPatch, rows: int | None, parts: list[int]) -> None:
    """Of three transitions each, and at least one action at a time; all at once, as long as they are few."""
    found = Transitions()
    every = torch.arange(ACTIONS).expand(COUNT, -1)
    expected = [[found.after(row, found.patches[row, one]) for one in range(ACTIONS)] for row in range(COUNT)]
    if rows is not None:
        monkeypatch.setattr(rewards, "MAX_CELL_ROWS", rows)
    result = found.context(every).with_actions(every)
    torch.testing.assert_close(result, torch.tensor(expected), rtol=0, atol=1e-6)
    assert found.calls == parts


@torch.no_grad()
def test_probabilities_are_float32_whatever_computes_the_logits() -> None:
    found = Transitions()
    expected = [found.probability(row, found.history[row][None]) for row in range(COUNT)]
    found.classifier.double()
    p = found.context(torch.zeros(COUNT, 1)[:, :0].long()).probability(found.history.double(), found.labels)
    assert p.dtype == torch.float32
    assert p.tolist() == pytest.approx(expected, abs=1e-6)


def test_a_step_is_not_the_last_unless_it_says_so() -> None:
    found = Transitions()
    assert found.context(torch.zeros(COUNT, 1)).final.tolist() == [False] * COUNT
    final = torch.tensor([True, False, True])
    assert found.context(torch.zeros(COUNT, 1), final=final).final is final


# ---- the baseline's patches -----------------------------------------------------------------------------------------

GRID = PatchGrid(grid=3, frame_size=12, patch_size=4)
VIDEOS, VISITS, STEPS = torch.tensor([7, 0]), torch.tensor([2, 5]), 4


@pytest.mark.parametrize("seed", [11, [11, 13]])
def test_random_patches_are_hashes_of_where_they_are_used(seed: int | list[int]) -> None:
    seeds = seed if isinstance(seed, list) else [seed, seed]
    given: dict[str, Any] = {"seed": seed, "videos": VIDEOS, "visits": VISITS, "num_steps": STEPS}
    spaces: Any = SimpleNamespace(grid=GRID, continuous=False)
    drawn = baseline_actions(spaces, 3, **given)
    spaces.continuous = True
    places = baseline_actions(spaces, 3, **given)
    assert (drawn.shape, drawn.dtype) == ((2, STEPS, 3), torch.int64)
    assert (places.shape, places.dtype) == ((2, STEPS, 3, 2), torch.float32)
    for episode in range(2):
        own = derive_seed(seeds[episode], "baseline")
        for frame in range(STEPS):
            for number in range(3):
                counters = [torch.tensor(int(one)) for one in (VIDEOS[episode], VISITS[episode], frame, number)]
                assert int(drawn[episode, frame, number]) == int(hash_randint(GRID.num_actions, own, *counters))
                uniform = torch.stack([hash_uniform(own, *counters, torch.tensor(axis)) for axis in range(2)])
                expected = GRID.origin_position(GRID.uniform_origin(uniform))
                assert torch.equal(places[episode, frame, number], expected)


def test_no_number_of_patches_takes_every_position() -> None:
    spaces: Any = SimpleNamespace(grid=GRID, continuous=False)
    every = baseline_actions(spaces, 0, seed=1, videos=VIDEOS, visits=VISITS, num_steps=STEPS)
    assert torch.equal(every, torch.arange(9).expand(2, STEPS, -1))
    spaces.continuous = True
    places = baseline_actions(spaces, 0, seed=1, videos=VIDEOS, visits=VISITS, num_steps=STEPS)
    assert torch.equal(places, GRID.position(torch.arange(9)).expand(2, STEPS, -1, -1))
