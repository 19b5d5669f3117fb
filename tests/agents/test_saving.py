"""Every registered agent can be saved, and loaded as what it was."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from adafocus_rl import checkpoint
from adafocus_rl.agents import (
    AGENTS,
    Agent,
    CenterAgent,
    GaussianAgent,
    GaussianOptions,
    PPOAgent,
    PPOOptions,
    RandomAgent,
)
from adafocus_rl.agents.oracles import Oracle
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import GRUClassifier

MadeUp = Any


def _env(made_up: MadeUp, **options: Any) -> PatchSelectionVectorEnv:
    source = made_up(**options)
    source.true_boxes = torch.rand(*source.true_boxes.shape, generator=torch.Generator().manual_seed(0)) * 8
    source.has_boxes = True
    torch.manual_seed(0)  # one agent looks into f_C
    return PatchSelectionVectorEnv(source, GRUClassifier(input_dim=11, num_classes=3, hidden=8), num_envs=4)


@pytest.mark.parametrize("name", AGENTS.names())
def test_a_registered_agent_is_loaded_as_it_was(made_up: MadeUp, tmp_path: Path, name: str) -> None:
    kind = AGENTS.get(name)
    assert kind.__name__ == name  # the file names the class, the registry finds it
    env = _env(made_up)
    agent = kind(env, seed=3)
    assert agent.learn(env, epochs=1) is agent
    agent.save(tmp_path / "agent.safetensors")
    before = env.rollout(agent, episodes=env.source.episodes(torch.arange(7)), deterministic=True)
    for load in (Agent.load, kind.load):
        loaded = load(tmp_path / "agent.safetensors", _env(made_up))
        assert type(loaded) is kind
        assert (loaded.options, loaded.seed) == (agent.options, agent.seed)
        after = env.rollout(loaded, episodes=env.source.episodes(torch.arange(7)), deterministic=True)
        assert torch.equal(after.output.action, before.output.action)
        assert torch.equal(after.logits, before.logits)


@pytest.mark.parametrize("name", AGENTS.names())
def test_an_agent_keeps_no_environment(made_up: MadeUp, name: str) -> None:
    """It is given one to learn on, and bound to one to act in; only who reads the features of one keeps it."""
    env = _env(made_up)
    parts = (env, env.source, env.classifier)
    kept = [value for value in vars(AGENTS.get(name)(env)).values() if any(value is part for part in parts)]
    assert kept == ([env] if issubclass(AGENTS.get(name), Oracle) else [])


def test_labels_tell_agents_apart() -> None:
    labels = [AGENTS.get(name).label for name in AGENTS.names()]
    assert len(set(labels)) == len(labels)


def test_options_are_kept(made_up: MadeUp, tmp_path: Path) -> None:
    env = _env(made_up)
    PPOAgent(env, PPOOptions(hidden=5, gae_lambda=0.9)).save(tmp_path / "ppo.safetensors")
    loaded = PPOAgent.load(tmp_path / "ppo.safetensors", env)
    assert isinstance(loaded, PPOAgent)
    assert loaded.network.hidden == 5
    assert loaded.options == PPOOptions(hidden=5, gae_lambda=0.9)
    GaussianAgent(env, GaussianOptions(std=0.1), seed=4).save(tmp_path / "gaussian.safetensors")
    _, manifest = checkpoint.load(tmp_path / "gaussian.safetensors")
    assert manifest["options"] == {"seed": 4, "std": 0.1}
    gaussian = Agent.load(tmp_path / "gaussian.safetensors", env)
    assert (gaussian.options, gaussian.seed) == (GaussianOptions(std=0.1), 4)


def test_an_option_is_defined_once() -> None:
    """Its name, type and default stand in one dataclass for all agents that have it, and nowhere else."""
    kinds = [AGENTS.get(name).Options for name in AGENTS.names()]
    owners = {owner for kind in kinds for owner in kind.__mro__ if dataclasses.is_dataclass(owner)}
    files = {inspect.getfile(kind) for name in AGENTS.names() for kind in AGENTS.get(name).__mro__[:-1]}
    files |= {inspect.getfile(owner) for owner in owners}
    source = "\n".join(Path(file).read_text() for file in files)
    names = [name for owner in owners for name in vars(owner).get("__annotations__", {})]
    assert len({*names}) > 20
    for name in {*names} - {"options"}:  # the word for all of them, too
        assert len(re.findall(rf"^ +{name}: .* = ", source, re.MULTILINE)) == names.count(name), name


def test_options_of_another_class_are_refused(made_up: MadeUp) -> None:
    with pytest.raises(TypeError, match="CenterAgent takes NoOptions, not PPOOptions"):
        CenterAgent(_env(made_up), PPOOptions())


def test_an_agent_of_another_class_is_refused(made_up: MadeUp, tmp_path: Path) -> None:
    env = _env(made_up)
    CenterAgent(env).save(tmp_path / "center.safetensors")
    with pytest.raises(UserError, match=r"holds a CenterAgent; load it with CenterAgent\.load or Agent\.load"):
        RandomAgent.load(tmp_path / "center.safetensors", env)


def test_what_is_no_agent_is_refused(made_up: MadeUp, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    checkpoint.save(path, tensors={"a": torch.zeros(1)}, manifest={"kind": "recognizer"})
    with pytest.raises(UserError, match="of kind 'recognizer', not of an agent"):
        Agent.load(path, _env(made_up))
    checkpoint.save(path, tensors={}, manifest={"kind": "agent", "agent": "CentreAgent", "options": {}})
    with pytest.raises(UserError, match="unknown agent 'CentreAgent'; did you mean 'CenterAgent'"):
        Agent.load(path, _env(made_up))


def test_a_policy_of_another_grid_is_refused(made_up: MadeUp, tmp_path: Path) -> None:
    PPOAgent(_env(made_up), PPOOptions(hidden=4)).save(tmp_path / "ppo.safetensors")
    with pytest.raises(UserError, match=r"another architecture: policy\.actor\.weight has shape \(9, 4\)"):
        Agent.load(tmp_path / "ppo.safetensors", _env(made_up, grid=4))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"agent": 3}, "agent.safetensors is 3; expected text"),
        ({"agent": ["os.system"]}, "expected text"),
        ({"agent": "os.system"}, "unknown agent 'os.system'"),
        ({"options": 3}, "manifest does not hold what was expected"),
        ({"options": {"hidden": {"x": 1}}}, "cannot be made here: agent.hidden is {'x': 1}; expected a whole number"),
        ({"options": {"cell": ["gru"]}}, "cannot be made here: agent.cell is ['gru']; expected"),
        ({"options": {"hidden": 10**12}}, "agent.hidden is 1000000000000"),
        ({"options": {"hiden": 5}}, "unknown key 'agent.hiden' of PPOAgent; did you mean 'agent.hidden'?"),
        ({"options": {"seed": "x"}}, "agent.seed is x; expected a whole number"),
        ({"options": {"gamma": float("nan")}}, "gamma is nan"),
    ],
)
def test_a_hostile_manifest_is_one_sentence_that_names_the_file(
    made_up: MadeUp, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    env = _env(made_up)
    path = tmp_path / "agent.safetensors"
    PPOAgent(env, PPOOptions(hidden=5)).save(path)
    tensors, manifest = checkpoint.load(path)
    checkpoint.save(path, tensors=tensors, manifest={**manifest, **change})
    with pytest.raises(UserError) as caught:
        Agent.load(path, env)
    assert said in str(caught.value)
    assert path.name in str(caught.value) or "unknown agent" in str(caught.value)
