"""Fast ways to train π on a bank: lower precision, CUDA graphs, and how many operations an update takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from adafocus_rl.agents import PPOAgent, PPOOptions
from adafocus_rl.agents.policies import captured
from adafocus_rl.agents.policies.options import Precision
from adafocus_rl.agents.policies.precision import matrix_products
from adafocus_rl.envs import PatchSelectionVectorEnv, RewardConfig
from adafocus_rl.experiments.bench.synthetic import LOCAL_DIM, MAPS, paper_bank
from adafocus_rl.features import FeatureBank
from adafocus_rl.models.classifiers import GRUClassifier

VIDEOS, FRAMES = 5, 2
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::mkldnn_convolution")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bank")
    paper_bank(path, videos=VIDEOS, device=torch.device("cpu"), frames=FRAMES, grid=3, classes=4)
    return path


def _env(
    folder: Path, *, num_envs: int = 2, device: str = "cpu", reward: RewardConfig | None = None
) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    classifier = GRUClassifier(input_dim=MAPS[0] + LOCAL_DIM, num_classes=4, hidden=8).requires_grad_(False)
    bank = FeatureBank(folder, device=torch.device(device), resident="always")
    return PatchSelectionVectorEnv(bank, classifier.to(device), num_envs=num_envs, reward=reward)


def _agent(env: PatchSelectionVectorEnv, *, hidden: int = 12, **options: Any) -> PPOAgent:
    return PPOAgent(env, PPOOptions(reduced_channels=3, hidden=hidden, ent_coef_final=0.0, **options))


def _weights(agent: PPOAgent) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in agent.network.parameters()])


# ---- precision ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["gru", "lstm", "none"])
def test_bfloat16_is_close_and_weights_and_outputs_are_float32(folder: Path, cell: Any) -> None:
    env = _env(folder, num_envs=VIDEOS)
    plain, rounded = _agent(env, cell=cell), _agent(env, cell=cell)
    rounded.precision = "bfloat16"
    outputs = []
    for agent in (plain, rounded):
        agent.network.train()
        agent.keeps_forward = True
        rollout = env.rollout(agent, episodes=env.source.episodes(env.source.videos))
        assert rollout.output.value is not None
        scalars = agent.update(rollout)
        assert {weight.dtype for weight in agent.network.parameters()} == {torch.float32}
        assert {value.dtype for value in (*scalars.values(), rollout.output.value, rollout.reward)} == {torch.float32}
        outputs.append(rollout.output.value)
        # The ratio is 1 exactly, because the update reuses the pass that sampled the actions.
        assert scalars["train/approx_kl"] == 0
    assert not torch.equal(*outputs)
    torch.testing.assert_close(*outputs, rtol=0.02, atol=0.02)
    # In evaluation the precision does not matter.
    rounded.network.load_state_dict(plain.network.state_dict())
    actions = [
        env.rollout(agent, episodes=env.source.episodes(env.source.videos), deterministic=True).output.value
        for agent in (plain, rounded)
        if not agent.network.eval().training
    ]
    assert torch.equal(*actions)


def test_tf32_holds_within_the_context_only() -> None:
    for precision, inside in (("tf32", "high"), ("float32", "highest"), ("bfloat16", "high")):
        name: Precision = precision  # type: ignore[assignment]
        with matrix_products(name):
            assert torch.get_float32_matmul_precision() == inside
        assert torch.get_float32_matmul_precision() == "highest"


# ---- CUDA graphs ----------------------------------------------------------------------------------------------------


def _as_if_on_a_gpu(monkeypatch: pytest.MonkeyPatch, *, waits: bool = False) -> list[str]:
    """Replace a graph by a function that computes anew, from the same memory into the same memory.

    Args:
        waits: whether the host seems to wait for the device in a batch.
    """
    events: list[str] = []

    def record(learn: captured.Learn) -> tuple[Callable[[], None], captured.Scalars]:
        events.append("record")
        results: captured.Scalars = {}

        def replay() -> None:
            events.append("replay")
            for name, value in learn().items():
                results.setdefault(name, torch.empty_like(value)).copy_(value)

        return replay, results

    def on_side_stream(learn: captured.Learn) -> captured.Scalars:
        events.append("warm up")
        return learn()

    monkeypatch.setattr(captured, "record", record)
    monkeypatch.setattr(captured, "on_side_stream", on_side_stream)
    monkeypatch.setattr(captured, "last_warm_up", lambda learn: (on_side_stream(learn), waits))
    monkeypatch.setattr("adafocus_rl.agents.policies.agent.capturable", lambda env: True)
    return events


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_a_graph_repeats_is_the_plain_update(
    folder: Path, monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    """Four passes of batches of 2, 2 and 1 videos; the bonus falls, so each pass needs its own graph."""
    plain = _agent(_env(folder))
    plain.precision = precision
    expected = [plain.train_epoch(_env(folder), epoch, epochs=4) for epoch in range(4)]
    events = _as_if_on_a_gpu(monkeypatch)
    env = _env(folder)
    agent = _agent(env)
    agent.precision = precision
    found = [agent.train_epoch(env, epoch, epochs=4) for epoch in range(4)]
    assert found == expected
    assert torch.equal(_weights(agent), _weights(plain))
    once = ["record", "replay"]
    assert events == ["warm up"] * 3 + once + [*once, "replay"] * 2


def test_a_recording_that_fails_leaves_training_as_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = _agent(_env(folder))
    for epoch in range(3):
        plain.train_epoch(_env(folder), epoch, epochs=3)
    _as_if_on_a_gpu(monkeypatch)

    def record(learn: captured.Learn) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(captured, "record", record)
    env = _env(folder)
    agent = _agent(env)
    with pytest.warns(RuntimeWarning, match="without a CUDA graph") as warned:
        agent.learn(env, epochs=3)
    assert len(warned) == 1
    assert torch.equal(_weights(agent), _weights(plain))


def test_what_waits_for_the_device_is_not_recorded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = _agent(_env(folder))
    for epoch in range(3):
        plain.train_epoch(_env(folder), epoch, epochs=3)
    events = _as_if_on_a_gpu(monkeypatch, waits=True)
    env = _env(folder)
    agent = _agent(env)
    with pytest.warns(RuntimeWarning, match="without a CUDA graph, kernel by kernel: it waits for the device"):
        agent.learn(env, epochs=3)
    assert events == ["warm up"] * 3
    assert torch.equal(_weights(agent), _weights(plain))


@pytest.mark.gpu
@pytest.mark.parametrize("positions", [1, 0])
def test_a_graph_learns_the_same(
    folder: Path, cuda: torch.device, monkeypatch: pytest.MonkeyPatch, positions: int
) -> None:
    """Rollout and update within one graph give the weights of those without one, and do not wait for the device."""
    reward = RewardConfig(baseline_positions=positions)
    env = _env(folder, device="cuda", reward=reward)
    agent, plain = _agent(env), _agent(env)
    for epoch in range(3):
        agent.train_epoch(env, epoch, epochs=8)
    assert agent._updates._replay is not None
    assert not agent._updates.refused
    monkeypatch.setattr("adafocus_rl.agents.policies.agent.capturable", lambda env: False)
    for epoch in range(3):
        plain.train_epoch(env, epoch, epochs=8)
    torch.testing.assert_close(_weights(agent), _weights(plain), rtol=1e-4, atol=1e-5)
    videos = torch.tensor([3, 1], device=cuda)
    agent.network.train()
    torch.cuda.set_sync_debug_mode("error")
    try:
        agent._updates._full_batch(env, videos, 3, 2 / 7)
    finally:
        torch.cuda.set_sync_debug_mode("default")


# ---- how much is computed -------------------------------------------------------------------------------------------


def test_an_update_takes_no_more_products_than_it_needs(folder: Path) -> None:
    """One pass through π to sample and to learn, one sequence call of f_C, one step of f_C for the baseline."""
    env = _env(folder, num_envs=VIDEOS)
    agent = _agent(env)
    agent.train_epoch(env, 0, epochs=3)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
        agent.train_epoch(env, 1, epochs=3)
    counts = {event.key: event.count for event in found.key_averages()}
    # π forward: map, linear layer, inputs and T steps of the GRU, two heads. Backward: twice as many, and the map's
    # weights. f_C: inputs and T steps, two steps' logits, the baseline's product with features and with the state.
    forward = 1 + 1 + 1 + FRAMES + 2
    assert sum(counts.get(name, 0) for name in PRODUCTS) <= 3 * forward + 1 + FRAMES + 5
    assert counts["aten::convolution_backward"] == 1
    assert counts["aten::_fused_adam_"] == 1
    # f_C's weights are not copied for each frame.
    batched = [event.input_shapes for event in found.events() if event.name == "aten::bmm"]
    assert all(MAPS[0] + LOCAL_DIM not in shape for shapes in batched for shape in shapes)


def test_the_baseline_of_all_positions_takes_no_product_with_features(folder: Path) -> None:
    env = _env(folder, num_envs=VIDEOS, reward=RewardConfig(baseline_positions=0))
    agent = _agent(env)
    agent.train_epoch(env, 0, epochs=3)
    products: list[tuple[int, ...]] = []
    project = env.classifier.project
    env.classifier.project = lambda x, first=0: products.append(x.shape) or project(x, first)  # type: ignore[assignment, func-returns-value]
    agent.train_epoch(env, 1, epochs=3)
    assert products == []
