"""Settings that only cost or save time change no number: workers, batches, chunks, shards, reading ahead.

What is equal to the last bit is compared so. Networks on other batch sizes may round otherwise: features in float16
differ by at most one step of the type, and what is computed in float32 by ``ROUNDING``.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from adafocus_rl.agents import Agent, PPOAgent, PPOOptions
from adafocus_rl.agents.methods import AdaFocus
from adafocus_rl.agents.policies.sampling import SamplingAgent
from adafocus_rl.data import dataset
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.experiments.evaluation.measure import acting, measure
from adafocus_rl.experiments.evaluation.systems import Systems
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.handover import load_recognizer
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.store import store_of
from adafocus_rl.features import FeatureBank, LiveFeatures, build_bank
from adafocus_rl.features.read_ahead import ReadAhead
from adafocus_rl.models import Recognizer

CPU = torch.device("cpu")
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}
STEP = {"rtol": 2.0**-10, "atol": 1e-5}
"""One step of float16, whose mantissa has ten bits."""

Parts = tuple[Run, Recognizer]


@pytest.fixture(scope="module")
def parts(finished: Path) -> Parts:
    run = Run.open(finished)
    return run, load_recognizer(run, "stage1")


def _bank(folder: Path, parts: Parts, *, workers: int, shard_videos: int, chunk_videos: int) -> FeatureBank:
    run, recognizer = parts
    build_bank(
        folder, recognizer, run.clips.train_still, device=CPU, workers=workers, shard_videos=shard_videos,
        chunk_videos=chunk_videos,
    )  # fmt: skip
    return FeatureBank(folder, device=CPU)


def _tables(bank: FeatureBank) -> dict[str, Tensor]:
    episodes = bank.episodes(bank.videos)
    every = torch.arange(bank.grid.num_actions).expand(len(bank.videos), bank.num_steps, -1)
    return {
        "videos": bank.videos, "labels": episodes.labels, "map": episodes.global_map,
        "vector": episodes.global_vector, "local": episodes.local(every), "full": episodes.full(),
        "motion": episodes.motion,
    }  # fmt: skip


def test_a_bank_is_the_same_whatever_builds_it(parts: Parts, tmp_path: Path) -> None:
    """Of 12 videos: workers to the last bit; other chunks and shards to a step of float16."""
    plain = _tables(_bank(tmp_path / "plain", parts, workers=0, shard_videos=5, chunk_videos=2))
    for workers in (1, 2):
        name = tmp_path / f"workers{workers}"
        other = _tables(_bank(name, parts, workers=workers, shard_videos=5, chunk_videos=2))
        assert all(torch.equal(other[key], value) for key, value in plain.items())
    for shard_videos, chunk_videos in ((1, 1), (5, 5), (12, 8), (100, 100)):
        name = tmp_path / f"{shard_videos}-{chunk_videos}"
        other = _tables(_bank(name, parts, workers=0, shard_videos=shard_videos, chunk_videos=chunk_videos))
        for key, value in plain.items():
            torch.testing.assert_close(other[key], value, **STEP)


# ---- rollouts and learning ------------------------------------------------------------------------------------------


def _env(parts: Parts, source: FeatureBank | LiveFeatures, num_envs: int) -> PatchSelectionVectorEnv:
    run, recognizer = parts
    return PatchSelectionVectorEnv(
        source, recognizer.classifier, num_envs=num_envs, reward=run.config.env.reward, seed=3
    )


def _rollouts(env: PatchSelectionVectorEnv, agent: Agent, epoch: int) -> dict[str, Tensor]:
    """Everything that a pass over all videos yields, in the order of the videos."""
    found: list[dict[str, Tensor]] = []
    for rollout in env.rollouts(agent, epoch=epoch):
        output = rollout.output
        assert output.log_prob is not None
        assert output.value is not None
        found.append(
            {
                "video": rollout.info["video"], "action": output.action, "log_prob": output.log_prob.detach(),
                "value": output.value.detach(), "reward": rollout.reward, "logits": rollout.logits,
            }
        )  # fmt: skip
    whole = {key: torch.cat([part[key] for part in found]) for key in found[0]}
    order = whole["video"].argsort()
    return {key: value[order] for key, value in whole.items()}


def _sources(run: Run, recognizer: Recognizer) -> dict[str, FeatureBank]:
    """The training bank in memory, and on disk with the next batch read by a thread."""
    store = store_of(run.folder, "train")
    return {resident: FeatureBank(store, device=CPU, resident=resident) for resident in ("always", "never")}


def test_sampled_episodes_do_not_depend_on_their_number_at_a_time(parts: Parts) -> None:
    """Videos, actions and visits to the last bit, what networks compute to rounding."""
    source = _sources(*parts)["always"]
    agent = PPOAgent(_env(parts, source, 12), PPOOptions(hidden=16, reduced_channels=4), seed=5)
    for epoch in (0, 2):
        plain = _rollouts(_env(parts, source, 12), agent, epoch)
        assert plain["video"].tolist() == list(range(12))
        for num_envs in (1, 3, 5, 64):
            other = _rollouts(_env(parts, source, num_envs), agent, epoch)
            assert torch.equal(other["action"], plain["action"])
            for key, value in plain.items():
                torch.testing.assert_close(other[key], value, **ROUNDING)
    assert not torch.equal(plain["action"], _rollouts(_env(parts, source, 12), agent, 0)["action"])


def test_a_bank_on_disk_trains_the_same_agent(parts: Parts) -> None:
    """To the last bit, though a thread reads ahead."""
    episodes, tensors = [], []
    for source in _sources(*parts).values():
        env = _env(parts, source, 5)
        agent = PPOAgent(env, PPOOptions(hidden=16, reduced_channels=4), seed=5)
        agent.learn(env, epochs=2)
        episodes.append(_rollouts(env, agent, 7))
        tensors.append(agent.tensors())
    assert all(torch.equal(episodes[1][key], value) for key, value in episodes[0].items())
    assert all(torch.equal(tensors[1][key], value) for key, value in tensors[0].items())


def test_live_training_does_not_depend_on_workers(parts: Parts) -> None:
    """Augmented clips, the agent that they train, and what it does then, to the last bit."""
    run, recognizer = parts
    found = []
    for workers in (0, 2):
        env = _env(parts, LiveFeatures(recognizer, run.clips.train, device=CPU, workers=workers), 5)
        agent = PPOAgent(env, PPOOptions(hidden=16, reduced_channels=4), seed=5)
        agent.learn(env, epochs=1)
        found.append(agent.tensors() | _rollouts(env, agent, 3))
    assert all(torch.equal(found[1][key], value) for key, value in found[0].items())


# ---- the table ------------------------------------------------------------------------------------------------------


def test_rows_do_not_depend_on_the_batch_of_the_evaluation(parts: Parts) -> None:
    """Hits, compute and average precision, exactly; random agents in all of their visits."""
    run, recognizer = parts
    validation = RunFeatures(run, recognizer).validation()
    systems = Systems(run, recognizer, run.env(validation, recognizer.classifier))
    for method in systems.all(systems.agent()):
        visits = 3 if method.stochastic else 1
        plain, *others = (
            measure(acting(method), validation, batch_size=size, visits=visits, rewards=True) for size in (6, 1, 4, 64)
        )
        for other in others:
            assert other.reward == pytest.approx(plain.reward, abs=1e-5)
            assert dataclasses.replace(other, reward=None) == dataclasses.replace(plain, reward=None)
        assert plain.visits == visits


def test_live_rows_do_not_depend_on_workers(parts: Parts) -> None:
    run, recognizer = parts
    rows = []
    for workers in (0, 1, 2):
        source = LiveFeatures(recognizer, run.clips.val, device=CPU, workers=workers)
        env = run.env(source, recognizer.classifier)
        method = AdaFocus(recognizer, env=env, agent=Systems(run, recognizer, env).agent())
        rows.append(measure(acting(method), source, batch_size=4, rewards=True))
    assert rows[0] == rows[1] == rows[2]


# ---- deliberate faults, each of which a test above must find -------------------------------------------------------


def test_a_seed_of_the_process_is_found(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Augmentations that depend on the worker."""
    real = dataset.derive_seed
    monkeypatch.setattr(dataset, "derive_seed", lambda *names: real(*names, os.getpid()))
    with pytest.raises(AssertionError):
        test_live_training_does_not_depend_on_workers(parts)


def test_a_seed_of_the_place_in_the_batch_is_found(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Actions drawn by the row of the batch instead of the video."""
    monkeypatch.setattr(
        SamplingAgent, "episode_counters",
        staticmethod(lambda info, count, device: (info["visit"], torch.arange(count, device=device))),
    )  # fmt: skip
    with pytest.raises(AssertionError):
        test_sampled_episodes_do_not_depend_on_their_number_at_a_time(parts)


def test_statistics_of_the_chunk_are_found(parts: Parts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Batch norms that normalise with the statistics of the chunk, as in training."""
    monkeypatch.setattr(nn.BatchNorm2d, "forward", lambda own, x: (x - x.mean((0, 2, 3), keepdim=True)) / x.std())
    with pytest.raises(AssertionError):
        test_a_bank_is_the_same_whatever_builds_it(parts, tmp_path)


def test_rows_that_are_read_too_late_are_found(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch before, instead of the one that was read ahead."""
    real = ReadAhead.rows
    # Of the batches of 5, 5 and 2 videos, the second, which has the size of the first.
    monkeypatch.setattr(ReadAhead, "rows", lambda own, number, name: real(own, number - (number == 1), name))
    with pytest.raises(AssertionError):
        test_a_bank_on_disk_trains_the_same_agent(parts)
