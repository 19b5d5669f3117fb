from __future__ import annotations

from typing import Any

import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, Space

from adafocus_rl.agents.base import features_of
from adafocus_rl.agents.policies import RecurrentActorCritic
from adafocus_rl.agents.policies.encoder import ObservationEncoder, take_rows
from adafocus_rl.agents.policies.options import Cell
from adafocus_rl.agents.ppo import PPOOptions
from adafocus_rl.errors import UserError

MAP, VECTOR = Box(-9, 9, (2, 3, 3)), Box(-9, 9, (5,))
GRID, POSITION = Discrete(9), Box(0, 1, (2,))
WITH_MORE = Dict({"features": VECTOR, "last_action": Box(-1, 1, (2,)), "time_step": Box(0, 1, (1,))})
CELLS: list[Cell] = ["gru", "lstm", "none"]


def _network(space: Space[Any] = MAP, action: Space[Any] = GRID, **options: Any) -> RecurrentActorCritic:
    torch.manual_seed(0)
    return RecurrentActorCritic(
        observation_space=space,
        action_space=action,
        options=PPOOptions(**{"reduced_channels": 3, "hidden": 8, **options}),
    )


def _observation(space: Space[Any], *shape: int) -> Any:
    if isinstance(space, Dict):
        return {name: _observation(part, *shape) for name, part in space.spaces.items()}
    return torch.randn(*shape, *(space.shape or ()))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("space", [MAP, VECTOR, WITH_MORE])
@pytest.mark.parametrize("action", [GRID, POSITION])
def test_a_sequence_equals_its_steps(cell: Cell, space: Space[Any], action: Space[Any]) -> None:
    network = _network(space, action, cell=cell)
    observation = _observation(space, 4, 6)
    outputs, values = network.sequence(observation)
    assert outputs.shape == (4, 6, 9 if action is GRID else 2)
    state = network.initial_state(4)
    assert state.shape == (4, network.state_dim)
    for step in range(6):
        output, value, state = network.step(take_rows(observation, (slice(None), step)), state)
        torch.testing.assert_close(output, outputs[:, step], rtol=0, atol=1e-5)
        torch.testing.assert_close(value, values[:, step], rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_what_depends_on_the_past(cell: Cell) -> None:
    """The last frame's output, when an earlier frame changes; an earlier one never depends on a later one."""
    network = _network(cell=cell)
    one = _observation(MAP, 2, 5)
    other = one.clone()
    other[:, 1] += 1
    (before, _), (after, _) = network.sequence(one), network.sequence(other)
    assert torch.equal(before[:, 0], after[:, 0])
    assert torch.equal(before[:, 4], after[:, 4]) == (cell == "none")


def test_the_published_network_has_the_names_and_shapes_of_the_public_code() -> None:
    """As in earlier checkpoints, too."""
    network = RecurrentActorCritic(
        observation_space=Box(0, 6, (1280, 7, 7)), action_space=Discrete(49), options=PPOOptions()
    )
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == {
        "state_encoder.0.weight": (32, 1280, 1, 1),
        "state_encoder.3.weight": (1024, 1568), "state_encoder.3.bias": (1024,),
        "gru.weight_ih_l0": (3072, 1024), "gru.weight_hh_l0": (3072, 1024),
        "gru.bias_ih_l0": (3072,), "gru.bias_hh_l0": (3072,),
        "actor.weight": (49, 1024), "actor.bias": (49,), "critic.weight": (1, 1024), "critic.bias": (1,),
    }  # fmt: skip


def test_what_else_is_observed_joins_the_linear_layer() -> None:
    encoder = ObservationEncoder(WITH_MORE, reduced_channels=3, hidden=8, batch_norm=False)
    observation = _observation(WITH_MORE, 4)
    assert encoder.extra is not None
    linear: Any = encoder.state_encoder[0]
    joint = torch.cat((linear.weight, encoder.extra.weight), dim=1)
    inputs = torch.cat([observation[name] for name in ("features", "last_action", "time_step")], dim=1)
    torch.testing.assert_close(encoder.encode(observation), (inputs @ joint.T + linear.bias).relu())


def test_means_are_positions_and_the_spread_is_fixed_or_learnt() -> None:
    fixed, learnt = _network(action=POSITION, action_std=0.1), _network(action=POSITION, learn_std=True)
    outputs, _ = fixed.sequence(100 * _observation(MAP, 3, 4))
    assert ((outputs >= 0) & (outputs <= 1)).all()
    distribution: Any = fixed.distribution(outputs)
    torch.testing.assert_close(distribution.std, torch.full((3, 4, 2), 0.1))
    assert "log_std" not in fixed.state_dict()
    torch.testing.assert_close(dict(learnt.named_parameters())["log_std"].exp(), torch.full((2,), 0.25))
    learnt.distribution(outputs.detach()).log_prob(outputs.detach()).sum().backward()
    assert learnt.log_std.grad is not None


@pytest.mark.parametrize("space", [Discrete(3), Box(0, 1, (3, 3)), Dict({"map": MAP}), Dict({"features": Discrete(2)})])
def test_other_observations_are_refused(space: Space[Any]) -> None:
    with pytest.raises(UserError, match=r"the observation space is .*; give a Box"):
        ObservationEncoder(space, reduced_channels=3, hidden=8, batch_norm=False)


def test_other_actions_are_refused() -> None:
    with pytest.raises(UserError, match="the action space is MultiBinary"):
        _network(action=MultiBinary(3))


def test_features_of_a_dict() -> None:
    observation = _observation(WITH_MORE, 2)
    assert features_of(observation) is observation["features"]


def test_state_encoder_of_adafocus_tsm() -> None:
    """Eight maps on the channels; layers 0, 1, 4 and 5 have weights, as in the official checkpoints."""
    network = _network(Box(-9, 9, (8 * 1280, 7, 7)), POSITION, reduced_channels=64, hidden=1024, batch_norm=True)
    shapes = {name: tuple(value.shape) for name, value in network.named_parameters()}
    assert {name: shape for name, shape in shapes.items() if "gru" not in name} == {
        "state_encoder.0.weight": (64, 10240, 1, 1),
        "state_encoder.1.weight": (64,),
        "state_encoder.1.bias": (64,),
        "state_encoder.4.weight": (1024, 3136),
        "state_encoder.4.bias": (1024,),
        "state_encoder.5.weight": (1024,),
        "state_encoder.5.bias": (1024,),
        "actor.weight": (2, 1024),
        "actor.bias": (2,),
        "critic.weight": (1, 1024),
        "critic.bias": (1,),
    }
    x = torch.randn(3, 1, 10240, 7, 7)
    conv, norm, linear, norm_of_vectors = (network.state_encoder[at] for at in (0, 1, 4, 5))
    with torch.no_grad():
        vectors = linear(norm(conv(x[:, 0])).relu().flatten(1))
        state = torch.gru_cell(
            norm_of_vectors(vectors).relu(),
            torch.zeros(3, 1024),
            *(network.gru.get_parameter(f"{kind}_{part}_l0") for kind in ("weight", "bias") for part in ("ih", "hh")),
        )
        outputs, _ = network.sequence(x)
    torch.testing.assert_close(outputs[:, 0], network.actor(state).sigmoid())


def test_a_single_row_is_normalised_by_running_statistics() -> None:
    network = _network(VECTOR, batch_norm=True)
    row = _observation(VECTOR, 1, 1)
    learning, _ = network.train().sequence(row)
    measured, _ = network.eval().sequence(row)
    assert torch.equal(learning, measured)
