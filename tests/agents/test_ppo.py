from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from adafocus_rl import checkpoint
from adafocus_rl.agents import PPOAgent, PPOOptions
from adafocus_rl.agents.policies.options import Cell
from adafocus_rl.envs import PatchSelectionVectorEnv, PolicyOutput, RewardConfig, Rollout
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import AveragingClassifier, GRUClassifier

MadeUp = Any


def _env(made_up: MadeUp, **options: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    return PatchSelectionVectorEnv(made_up(**options), classifier, num_envs=3)


def _agent(env: PatchSelectionVectorEnv, *, seed: int = 0, **options: Any) -> PPOAgent:
    return PPOAgent(env, PPOOptions(**{"reduced_channels": 3, "hidden": 12, **options}), seed=seed)


# ---- acting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["gru", "lstm", "none"])
def test_step_by_step_equals_whole_episodes(made_up: MadeUp, cell: Cell) -> None:
    env = _env(made_up)
    agent = _agent(env, cell=cell)
    observation, info = env.reset()
    state, start = None, torch.ones(3, dtype=torch.bool)
    for _ in range(3):
        episodes = env.source.episodes(info["video"])
        expected = agent.act(episodes.global_map, info, deterministic=True)
        for step in range(4):
            action, state = agent.predict(observation, state, start, deterministic=True)
            assert torch.equal(action, expected.action[:, step])
            observation, _, start, _, info = env.step(action)
    # Had the starts not mattered, this would not have tested them.
    _, tired = agent.predict(observation, state)
    _, fresh = agent.predict(observation, state, start)
    assert torch.equal(tired, fresh) == (cell == "none")


def test_an_episode_start_resets_its_own_state_only(made_up: MadeUp) -> None:
    agent = _agent(_env(made_up))
    observation = torch.randn(3, 2, 3, 3)
    spoilt = torch.cat((torch.randn(3, 12), torch.full((3, 1), 5.0)), dim=1)
    spoilt[1, :12] = torch.nan
    for start in (torch.tensor([False, True, False]), np.array([False, True, False])):
        _, found = agent.predict(observation, spoilt, start)
        memory = spoilt[:, :12].nan_to_num(0) * torch.tensor([[1.0], [0], [1]])
        expected = agent.network.step(observation, memory)[2]
        torch.testing.assert_close(found[:, :12], expected)
        assert found[:, 12].tolist() == [6, 6, 6]


def test_draws_belong_to_videos_visits_and_frames(made_up: MadeUp) -> None:
    """Not to the batch, its order, or what was drawn before; step by step they are those of whole episodes."""
    env = _env(made_up)
    agent, again = _agent(env), _agent(env)
    observation = env.source.maps
    info = {"video": torch.arange(7), "visit": torch.full((7,), 3)}
    whole = agent.act(observation, info)
    rows = torch.tensor([5, 2])
    part = again.act(observation[rows], {name: value[rows] for name, value in info.items()})
    assert torch.equal(part.action, whole.action[rows])
    state = None
    for frame in range(4):
        output, state = agent.act_step(observation[:, frame], state, info)
        assert torch.equal(output.action, whole.action[:, frame])
    for name in info:
        assert not torch.equal(agent.act(observation, {**info, name: info[name] + 9}).action, whole.action)
    # Each call of predict draws anew, also where episodes begin.
    state, drawn = None, []
    for _ in range(8):
        action, state = agent.predict(observation[:, 0], state, torch.ones(7, dtype=torch.bool))
        drawn.append(tuple(action.tolist()))
    assert len({*drawn}) == 8


def test_positions_are_drawn_by_both_coordinates(made_up: MadeUp) -> None:
    env = PatchSelectionVectorEnv(made_up(), _env(made_up).classifier, num_envs=3, action_space="continuous")
    output = _agent(env).act(env.source.maps, {"video": torch.arange(7), "visit": torch.zeros(7, dtype=torch.long)})
    assert output.sample is not None
    noise = output.sample - _agent(env).act(env.source.maps, {}, deterministic=True).action
    assert len(noise.flatten().unique()) == noise.numel()


def test_what_is_learnt_does_not_depend_on_the_order_of_a_batch(made_up: MadeUp) -> None:
    env = _env(made_up)
    agent = _agent(env, n_minibatches=2)
    info = {"video": torch.arange(7), "visit": torch.zeros(7, dtype=torch.long)}
    order = torch.tensor([3, 0, 6, 1, 2, 5, 4])
    parts = [{*rows.tolist()} for rows in _minibatches(agent, info, 0)]
    turned = {name: value[order] for name, value in info.items()}
    assert [{*order[rows].tolist()} for rows in _minibatches(agent, turned, 0)] == parts
    assert [{*rows.tolist()} for rows in _minibatches(agent, info, 1)] != parts


def _minibatches(agent: PPOAgent, info: dict[str, Tensor], turn: int) -> list[Tensor]:
    count = len(info["video"])
    episodes = SimpleNamespace(join=lambda values: values)
    rollout: Any = SimpleNamespace(info=info, reward=torch.zeros(count, 1), episodes=episodes)
    return [rows for rows, _ in agent._minibatches(rollout, agent._everyone(rollout), turn) if isinstance(rows, Tensor)]


def test_what_an_act_reports_of_its_actions(made_up: MadeUp) -> None:
    env = _env(made_up)
    agent = _agent(env)
    observation = env.source.maps
    output = agent.act(observation, {})
    logits, value = agent.network.sequence(observation)
    assert torch.equal(output.value, value)
    # Pictures show the best actions beside the others' probabilities; training does not need these.
    assert output.probabilities is None
    best = agent.act(observation, {}, deterministic=True)
    torch.testing.assert_close(best.probabilities, logits.softmax(-1).detach())
    # Without facts about them, episodes are the first visits of the videos with the numbers of their rows.
    first = {"video": torch.arange(7), "visit": torch.zeros(7, dtype=torch.long)}
    assert torch.equal(agent.act(observation, first).action, output.action)
    for b in range(7):
        for t in range(4):
            expected = logits[b, t].softmax(-1)[output.action[b, t]].log()
            torch.testing.assert_close(output.log_prob[b, t], expected)
    assert not output.log_prob.requires_grad


@pytest.mark.parametrize(("cell", "memory"), [("gru", 3 * 2 * 12 * 12), ("lstm", 4 * 2 * 12 * 12), ("none", 0)])
def test_macs_of_a_step(made_up: MadeUp, cell: Cell, memory: int) -> None:
    agent = _agent(_env(made_up), cell=cell)
    before = torch.get_rng_state()
    # 1×1 convolution, linear layer, the memory's gates, actor, critic.
    assert agent.macs_per_step() == 9 * 2 * 3 + 27 * 12 + memory + 12 * 9 + 12
    assert torch.equal(torch.get_rng_state(), before)


# ---- one update -----------------------------------------------------------------------------------------------------


def _rollout(agent: PPOAgent, dtype: torch.dtype = torch.float64) -> Rollout:
    """Five episodes of made-up rewards, acted by the agent as it is."""
    draw = torch.Generator().manual_seed(3)
    observation = torch.randn(5, 4, 2, 3, 3, generator=draw, dtype=dtype)
    output: PolicyOutput = agent.act(observation, {})
    reward = torch.randn(5, 4, generator=draw, dtype=dtype)
    empty: Any = None
    episodes: Any = SimpleNamespace(share=1.0, join=lambda values: values)
    return Rollout(
        episodes=episodes, info={}, observation=observation, output=output, reward=reward, logits=empty, states=empty
    )


@pytest.mark.parametrize("lam", [None, 0.9])
def test_one_update_equals_an_independent_computation(made_up: MadeUp, lam: float | None) -> None:
    env = _env(made_up)
    agent, other = (_agent(env, gae_lambda=lam, gamma=0.7, learning_rate=1e-3, ent_coef=0.02) for _ in range(2))
    for one in (agent, other):
        one.network.double()
    rollout = _rollout(agent)
    agent.update(rollout)

    logits, value = other.network.sequence(rollout.observation)
    taken = logits.softmax(-1).gather(-1, rollout.output.action[..., None])[..., 0]
    if lam is None:
        returns = torch.zeros(5, 4, dtype=torch.float64)
        for t in range(4):
            for later in range(t, 4):
                returns[:, t] += 0.7 ** (later - t) * rollout.reward[:, later]
        target = (returns - returns.mean()) / (returns.std() + 1e-5)
        advantage = target - value.detach()
    else:
        following = torch.cat((value.detach()[:, 1:], torch.zeros(5, 1)), dim=1)
        delta = rollout.reward + 0.7 * following - value.detach()
        raw = torch.zeros(5, 4, dtype=torch.float64)
        for t in range(4):
            for later in range(t, 4):
                raw[:, t] += (0.7 * lam) ** (later - t) * delta[:, later]
        target = raw + value.detach()
        advantage = (raw - raw.mean()) / (raw.std() + 1e-5)
    # The ratio is 1, so nothing is clipped and the surrogate's gradient is the policy gradient's.
    entropy = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)
    loss = -(taken / taken.detach() * advantage).mean() + 0.5 * ((value - target) ** 2).mean() - 0.02 * entropy.mean()
    loss.backward()
    for updated, start in zip(agent.network.parameters(), other.network.parameters(), strict=True):
        assert start.grad is not None
        # Adam's first step: both moments are corrected to the gradient and its square.
        expected = start - 1e-3 * start.grad / (start.grad.abs() + 1e-8)
        torch.testing.assert_close(updated, expected, rtol=0, atol=1e-9)


def test_the_ratio_is_one_in_the_first_epoch_and_not_after(made_up: MadeUp) -> None:
    env = _env(made_up)
    first = _agent(env)
    scalars = first.update(_rollout(first, torch.float32))
    assert scalars["train/approx_kl"] == 0
    assert scalars["train/clip_fraction"] == 0
    more = _agent(env, n_epochs=3, learning_rate=0.01)
    assert more.update(_rollout(more, torch.float32))["train/approx_kl"] > 0


@pytest.mark.parametrize(
    ("options", "passes"), [({}, 1), ({"n_epochs": 3}, 3), ({"n_minibatches": 2}, 3), ({"batch_norm": True}, 1)]
)
def test_the_first_update_reuses_the_pass_that_sampled_the_actions(
    made_up: MadeUp, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], passes: int
) -> None:
    """Seven videos in a batch: the weights are those of an agent that computes everything anew, to the last bit."""
    torch.manual_seed(0)
    env = PatchSelectionVectorEnv(made_up(), GRUClassifier(input_dim=11, num_classes=3, hidden=8), num_envs=7)
    agent, plain = _agent(env, **options), _agent(env, **options)
    reuses = PPOAgent.reuses_forward.fget
    assert reuses is not None
    monkeypatch.setattr(PPOAgent, "reuses_forward", property(lambda one: one is not plain and reuses(one)))
    calls = 0
    sequence = agent.network.sequence

    def spy(observation: Any) -> Any:
        nonlocal calls
        calls += 1
        return sequence(observation)

    agent.network.sequence = spy  # type: ignore[method-assign]
    for epoch in range(2):
        for one in (agent, plain):
            one.train_epoch(env, epoch, epochs=2)
    assert calls == 2 * passes
    for name, value in plain.network.state_dict().items():
        assert torch.equal(agent.network.state_dict()[name], value), name


def test_a_pass_is_reused_once_and_only_for_its_own_observations(made_up: MadeUp) -> None:
    env = _env(made_up)
    agent, plain = _agent(env), _agent(env)
    agent.network.train()
    plain.network.train()
    agent.keeps_forward = True
    rollout = env.rollout(agent, episodes=env.source.episodes(torch.arange(3)))
    for one in (agent, plain):
        for _ in range(2):
            one.update(rollout)
    assert torch.equal(_weights(agent), _weights(plain))
    rollout = env.rollout(agent, episodes=env.source.episodes(torch.arange(3)))
    env.rollout(agent, episodes=env.source.episodes(torch.arange(3, 6)))
    for one in (agent, plain):
        one.update(rollout)
    assert torch.equal(_weights(agent), _weights(plain))


def test_gradients_are_clipped_to_the_norm(made_up: MadeUp) -> None:
    agent = _agent(_env(made_up), max_grad_norm=1e-3)
    agent.update(_rollout(agent, torch.float32))
    norm = torch.stack([weight.grad.norm() for weight in agent.network.parameters() if weight.grad is not None]).norm()
    torch.testing.assert_close(norm, torch.tensor(1e-3), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("count", "parts"), [(7, 3), (8, 2), (3, 5), (1, 4)])
def test_minibatches_partition_the_videos(made_up: MadeUp, count: int, parts: int) -> None:
    agent = _agent(_env(made_up), n_minibatches=parts)
    info = {"video": torch.arange(count), "visit": torch.zeros(count, dtype=torch.long)}
    rows = _minibatches(agent, info, 0)
    assert len(rows) == min(parts, count)
    assert sorted(torch.cat(rows).tolist()) == list(range(count))
    assert max(map(len, rows)) - min(map(len, rows)) <= 1


def test_a_single_episode_of_one_frame_leaves_the_weights_finite(made_up: MadeUp) -> None:
    env = _env(made_up, videos=1, frames=1)
    agent = _agent(env)
    agent.learn(env, epochs=2)
    assert all(weight.isfinite().all() for weight in agent.network.parameters())


# ---- learning -------------------------------------------------------------------------------------------------------


class Log:
    def __init__(self) -> None:
        self.scalars: list[Mapping[str, float]] = []

    def __call__(self, done: int, scalars: Mapping[str, float]) -> None:
        self.scalars.append({"done": done, **scalars})

    def of(self, name: str) -> list[float]:
        return [scalars[name] for scalars in self.scalars]


def test_the_entropy_bonus_falls_linearly(made_up: MadeUp) -> None:
    log = Log()
    agent = _agent(_env(made_up), ent_coef=0.05, ent_coef_final=0.01)
    agent.learn(_env(made_up), epochs=5, callback=log)
    assert log.of("done") == [1, 2, 3, 4, 5]
    assert log.of("train/ent_coef") == pytest.approx([0.05, 0.04, 0.03, 0.02, 0.01])
    resumed, constant = Log(), Log()
    agent.learn(_env(made_up), epochs=5, start_epoch=3, callback=resumed)
    assert resumed.of("train/ent_coef") == pytest.approx([0.02, 0.01])
    _agent(_env(made_up), ent_coef=0.05).learn(_env(made_up), epochs=2, callback=constant)
    assert constant.of("train/ent_coef") == [0.05, 0.05]


def test_a_pass_s_scalars_count_every_video_once(made_up: MadeUp) -> None:
    env = _env(made_up)  # seven videos in batches of 3, 3 and 1
    rewards: list[Tensor] = []
    agent, log = _agent(env), Log()
    update = agent.update

    def spy(rollout: Rollout, *args: Any, **options: Any) -> dict[str, Tensor]:
        rewards.append(rollout.reward)
        return update(rollout, *args, **options)

    agent.update = spy  # type: ignore[method-assign]
    agent.learn(env, epochs=1, callback=log)
    assert [len(reward) for reward in rewards] == [3, 3, 1]
    assert log.of("rollout/ep_rew_mean")[0] == pytest.approx(float(torch.cat(rewards).sum(1).mean()), rel=1e-5)


def _weights(agent: PPOAgent) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in agent.network.parameters()])


def test_learning_follows_from_the_seed(made_up: MadeUp) -> None:
    env = _env(made_up)
    runs = [_agent(env, seed=seed, n_minibatches=2).learn(env, epochs=2) for seed in (1, 1, 2)]
    assert torch.equal(_weights(runs[0]), _weights(runs[1]))
    assert not torch.equal(_weights(runs[0]), _weights(runs[2]))


def test_an_agent_leaves_the_global_generators_alone(made_up: MadeUp) -> None:
    env = _env(made_up)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    _agent(env, n_minibatches=2).learn(env, epochs=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]


def test_learning_is_resumed_exactly(made_up: MadeUp, tmp_path: Path) -> None:
    options = {"n_epochs": 2, "n_minibatches": 2, "ent_coef_final": 0.0, "gae_lambda": 0.8, "max_grad_norm": 0.5}
    path = tmp_path / "resume.safetensors"
    whole = _agent(_env(made_up), **options)

    def save(done: int, scalars: Mapping[str, float]) -> None:
        if done == 2:
            tensors, plain = whole.training_state()
            checkpoint.save(path, tensors=tensors, manifest={"training": plain})

    whole.learn(_env(made_up), epochs=4, callback=save)
    resumed = _agent(_env(made_up), **options)
    tensors, manifest = checkpoint.load(path)
    resumed.load_training_state(tensors, manifest["training"], what=str(path))
    resumed.learn(_env(made_up), epochs=4, start_epoch=2)
    assert torch.equal(_weights(resumed), _weights(whole))


def test_ppo_finds_the_patch(made_up: MadeUp) -> None:
    """One place of the map is bright; the patch there tells the class, all others tell nothing."""
    source = made_up(videos=64, frames=4, classes=3)
    target = torch.randint(9, (64, 4), generator=torch.Generator().manual_seed(1))
    source.maps = torch.zeros(64, 4, 2, 9).scatter(3, target[:, :, None, None].expand(-1, -1, 2, 1), 1.0)
    source.maps = source.maps.unflatten(3, (3, 3))
    source.patches = torch.zeros(64, 4, 9, 6)
    source.patches[torch.arange(64)[:, None], torch.arange(4), target, source.labels[:, None]] = 1.0
    source.vectors = source.vectors * 0
    classifier = AveragingClassifier(input_dim=11, num_classes=3)
    with torch.no_grad():
        classifier.fc.bias.zero_()
        classifier.fc.weight.copy_(torch.eye(3, 11).roll(5, 1) * 4)
    env = PatchSelectionVectorEnv(source, classifier, num_envs=32, reward=RewardConfig(baseline_positions=0))
    agent = _agent(env, learning_rate=3e-3, reduced_channels=8, hidden=32, n_epochs=2)
    episodes = source.episodes(source.videos)

    def hits() -> float:
        action = agent.act(episodes.global_map, {}, deterministic=True).action
        return float((action == target).float().mean())

    assert hits() < 0.4
    log = Log()
    agent.learn(env, epochs=80, callback=log)
    assert hits() > 0.95
    assert log.of("rollout/ep_rew_mean")[-1] > log.of("rollout/ep_rew_mean")[0] + 0.5
    # It also answers on other videos, of another environment with the same grid.
    elsewhere = made_up(videos=9, frames=6)
    elsewhere.maps = torch.zeros(9, 6, 2, 9)
    elsewhere.maps[..., 4] = 1.0
    elsewhere.maps = elsewhere.maps.unflatten(3, (3, 3))
    rollout = PatchSelectionVectorEnv(elsewhere, classifier, num_envs=9).rollout(agent, deterministic=True)
    assert (rollout.output.action == 4).float().mean() > 0.9


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("learning_rate", 0.0), ("beta1", 1.0), ("beta2", -0.1), ("gamma", 1.1), ("gamma", float("nan")),
        ("n_epochs", 0), ("n_minibatches", 0), ("clip_range", 0.0), ("gae_lambda", -0.1), ("max_grad_norm", -1.0),
        ("reduced_channels", 0), ("hidden", 0), ("cell", "rnn"), ("action_std", 0.0),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(option: str, value: float | str) -> None:
    with pytest.raises(UserError, match=rf"^{option} is {value}; give "):
        PPOOptions(**{option: value})  # type: ignore[arg-type]
