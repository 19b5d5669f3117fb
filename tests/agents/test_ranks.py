"""On several ranks, every agent learns what it learns in one process from the same batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adafocus_rl import ranks
from adafocus_rl.agents import AGENTS, CenterAgent
from adafocus_rl.agents.methods.frame_sets import best_frames
from adafocus_rl.agents.methods.kept_share import ShareLearner, calibrate, kept_frames
from adafocus_rl.agents.policies.agent import PolicyAgent
from adafocus_rl.envs import DecisionVectorEnv, FrameSkippingVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import GRUClassifier
from tests.conftest import MadeUpFeatures
from tests.two_ranks import on_ranks

VIDEOS, BATCH = 8, 7
"""With two ranks, a batch has parts of 3 and 4 videos, and the last batch of a pass has one video for the second."""

EPOCHS = 2

AGENT_OPTIONS: dict[str, list[dict[str, Any]]] = {
    "PPOAgent": [
        {},
        {"n_minibatches": 3, "n_epochs": 2, "gae_lambda": 0.9, "max_grad_norm": 0.1, "ent_coef_final": 0.0},
        {"cell": "lstm", "batch_norm": True},
        {"batch_norm": True, "n_minibatches": 4},
    ],
    "GRPOAgent": [{"group_size": 2, "n_minibatches": 3}, {"normalise": True}],
    "AllActionsAgent": [{"n_minibatches": 2, "shift": 1}],
    "DistilAgent": [{"shift": 1}, {"n_minibatches": 7, "temperature": 0.0}],
    "MapCropAgent": [{"n_minibatches": 2}],
    "SoftPatchAgent": [{"n_minibatches": 3}, {"network": "conv", "loss_steps": "last"}],
}
"""Options with which each agent with π's network is tried."""


def agents_of_policies() -> list[str]:
    return [name for name in AGENTS if issubclass(AGENTS.get(name), PolicyAgent)]


def make_env(**options: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(0)
    source = MadeUpFeatures(videos=VIDEOS)
    classifier = GRUClassifier(input_dim=11, num_classes=3, hidden=8)
    return PatchSelectionVectorEnv(source, classifier, num_envs=BATCH, **options)


def make_agent(name: str, env: DecisionVectorEnv, options: dict[str, Any]) -> PolicyAgent:
    kind = AGENTS.get(name)
    given = {"reduced_channels": 3, "hidden": 12, "conv_hidden": 6, "learning_rate": 1e-3, **options}
    agent: PolicyAgent = kind(env, kind.Options(**given), seed=1)
    for group in agent.optimizer.param_groups:
        # Adam divides by the size of a gradient. With a larger ε, one that is 0 but for rounding makes no visible step.
        group["eps"] = 1e-4
    return agent


def weights(agent: PolicyAgent) -> Tensor:
    """Return the weights, and the running statistics of batch normalisation."""
    return torch.cat([value.detach().flatten().double() for value in agent.tensors().values()])


def everything() -> tuple[dict[str, Any], str]:
    """Train each agent with each of its options; return their weights and scalars, and what another agent says."""
    found: dict[str, Any] = {}
    for name, choices in AGENT_OPTIONS.items():
        for number, options in enumerate(choices):
            env, logged = make_env(), []
            agent = make_agent(name, env, options)
            agent.learn(env, epochs=EPOCHS, callback=lambda _, scalars, to=logged: to.append(dict(scalars)))
            found[f"{name} {number}"] = {"weights": weights(agent), "scalars": logged}
    found["continuous"] = continuous()
    found["skipping"] = skipping()
    return found, refused()


def refused() -> str:
    """Return what an agent says that learns in one process only."""
    env = make_env()
    try:
        AGENTS.get("SB3Agent")(env).learn(env, epochs=0)
    except UserError as error:
        return str(error)
    return ""


def continuous() -> dict[str, Any]:
    env, logged = make_env(action_space="continuous", last_action=True), []
    agent = make_agent("PPOAgent", env, {"learn_std": True})
    agent.learn(env, epochs=EPOCHS, callback=lambda _, scalars: logged.append(dict(scalars)))
    return {"weights": weights(agent), "scalars": logged}


def skipping() -> dict[str, Any]:
    """Train a π′ towards a share, calibrate it, and find the best fixed set of frames."""
    patches = make_env()
    env = FrameSkippingVectorEnv(
        patches, CenterAgent(patches), lambda_=0.0, reward="last", observe_classifier=True, num_envs=BATCH
    )
    agent = make_agent("GRPOAgent", env, {"group_size": 2})
    learner = ShareLearner(agent=agent, env=env, epochs=EPOCHS, share=0.3, rate=0.5)
    logged = [dict(learner.train_epoch(epoch, no_tick)) for epoch in range(EPOCHS)]
    kept = calibrate(agent, env, 0.4)
    logged.append({"kept": kept, "price": learner.price})
    return {
        "weights": torch.cat((weights(agent), kept_frames(agent, env).double())),
        "scalars": logged,
        "order": best_frames(patches, CenterAgent(patches)),
    }


def no_tick(steps: int = 1, *, loss: Tensor | None = None, rows: Tensor | None = None) -> None:
    """Check that the ranks report the same loss."""
    assert loss is not None
    assert len({*ranks.gather(float(loss))}) == 1


def test_every_agent_with_a_network_is_tried() -> None:
    """An agent of the registry that is new belongs into ``AGENT_OPTIONS``."""
    assert sorted(AGENT_OPTIONS) == sorted(agents_of_policies())
    learning = {name for name in AGENTS if AGENTS.get(name).learns}
    assert {name for name in learning if AGENTS.get(name).learns_on_ranks} == {*AGENT_OPTIONS}
    assert learning - {*AGENT_OPTIONS} == {"SB3Agent"}


def test_two_ranks_learn_what_one_process_learns() -> None:
    alone, nothing = everything()
    (first, message), (second, _) = on_ranks(everything, timeout=300.0)
    assert nothing == ""
    assert message == (
        "SB3Agent learns in one process only, and this job has 2 ranks; train it without torchrun, or another agent, "
        "such as PPOAgent"
    )
    for name, expected in alone.items():
        assert torch.equal(first[name]["weights"], second[name]["weights"]), name
        assert first[name]["scalars"] == second[name]["scalars"], name
        assert first[name].get("order") == expected.get("order"), name
        torch.testing.assert_close(first[name]["weights"], expected["weights"], rtol=1e-5, atol=1e-6, msg=name)
        for found, wanted in zip(first[name]["scalars"], expected["scalars"], strict=True):
            assert found == pytest.approx(wanted, rel=1e-4, abs=1e-6), name
