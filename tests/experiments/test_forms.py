"""Every row of a table is the same from the bank, live, and with the deployed networks.

Boxes, kept frames, compute and classes are equal. Logits differ by rounding: the tables of a bank are float16, live
features float32, and the deployed networks fold batch normalisation into convolutions.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adafocus_rl.agents import AGENTS, Agent, PPOAgent
from adafocus_rl.agents.learner import Learner, no_tick
from adafocus_rl.agents.methods import (
    METHODS,
    AdaFocus,
    AdaFocusPlus,
    EarlyExit,
    Method,
    OperatingPoint,
    Outcome,
    Visit,
)
from adafocus_rl.agents.methods.trainer import AfterEpoch
from adafocus_rl.agents.skipping import RandomSkipAgent
from adafocus_rl.data.dataset import make_loader
from adafocus_rl.envs import FrameSkippingVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.experiments.evaluation.live import LiveMethod
from adafocus_rl.experiments.run.features import RunFeatures, tables_of
from adafocus_rl.experiments.run.handover import load_recognizer
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.features import FeatureSource
from adafocus_rl.features.rows import ResidentRows
from adafocus_rl.geometry import PatchGrid

BANK = 5e-3
"""Bound of the difference of logits from the bank and live, in multiples of the largest logit."""

DEPLOYED = 1e-5
"""The same for the deployed networks and the plain ones."""

WIDTHS = {"hidden": 16, "width": 16, "coarse_width": 16, "fine_width": 16, "reduced_channels": 4}
"""Options of agents and methods that keep their networks small, where they have them."""


def _small(options: Any) -> Any:
    """Return options with small networks."""
    changes = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value) or field.name in WIDTHS:
            changes[field.name] = WIDTHS.get(field.name) or _small(value)
    return dataclasses.replace(options, **changes)


class Small:
    """A small trained run, opened once, with all validation clips in one batch.

    Args:
        run: the run.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.recognizer = load_recognizer(run, "stage1")
        self.deployed = run.deploy(self.recognizer)
        (self.clips,) = make_loader(run.clips.val, batches=[[*range(len(run.clips.val))]])

    @cached_property
    def features(self) -> RunFeatures:
        """The banks, with the tables of all registered methods."""
        model = self.run.config.model
        methods = [METHODS.get(name) for name in METHODS.names()]
        extra = [table for kind in methods for table in kind.tables_of(_small(kind.Options()), model)]
        tables = {table.name: table for table in (*tables_of(self.run.config), *extra)}
        return RunFeatures(self.run, self.recognizer, tables=[*tables.values()])

    def env(self, source: FeatureSource) -> PatchSelectionVectorEnv:
        """The environment of stage II."""
        return self.run.env(source, self.recognizer.classifier)

    @cached_property
    def learning(self) -> PatchSelectionVectorEnv:
        """That on the training bank."""
        return self.env(self.features.training("bank"))

    @cached_property
    def acting(self) -> PatchSelectionVectorEnv:
        """That on the validation bank."""
        return self.env(self.features.validation())


class OneEpoch:
    """A trainer that runs the first epoch of each training."""

    def fit(
        self, step: str, learner: Learner, *, epochs: int, ticks: int, after_epoch: AfterEpoch | None = None
    ) -> float:
        scalars = learner.train_epoch(0, no_tick) if epochs else {}
        if after_epoch is not None:
            after_epoch(epochs, scalars)
        return 0.0


@pytest.fixture(scope="module")
def small(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Small:
    # A copy, because methods add their tables to the bank.
    return Small(Run.open(shutil.copytree(finished, tmp_path_factory.mktemp("forms") / "run")))


def _of_agent(small: Small, name: str) -> AdaFocus:
    agent: Agent = AGENTS.get(name)(small.learning, _small(AGENTS.get(name).Options()), seed=1)
    if agent.learns:
        agent.learn(small.learning, epochs=1)
    return AdaFocus(small.recognizer, env=small.acting, agent=agent.bind(small.acting))


def _registered(small: Small, name: str) -> Method:
    method = METHODS.get(name)(small.recognizer, _small(METHODS.get(name).Options()), seed=1)
    if method.learns:
        method.fit(small.features.training("bank"), small.features.validation(), trainer=OneEpoch())
    return method


def _plus(small: Small) -> Method:
    env, policy = small.acting, PPOAgent(small.acting)
    skipping = FrameSkippingVectorEnv(env, policy, lambda_=0.1)
    points = {0.1: OperatingPoint(env=skipping, agent=RandomSkipAgent(skipping))}
    return AdaFocusPlus(small.recognizer, policy=policy, points=points)


def _exits(small: Small) -> Method:
    method = _of_agent(small, "PPOAgent")
    macs = method.run(small.features.validation().episodes(small.clips.rows)).macs
    # Thresholds of other videos: one of these would be at its own confidence, which rounding decides.
    budgets = [0.6 * float(macs.double().mean()) / 1e9]
    return EarlyExit.for_budgets(method, small.features.training("bank"), budgets, batch_size=4)


ROWS: dict[str, Callable[[Small], Method]] = {
    **{f"agent {name}": partial(_of_agent, name=name) for name in AGENTS.names()},
    **{f"method {name}": partial(_registered, name=name) for name in METHODS.names()},
    "AdaFocus+": _plus,
    "early exit": _exits,
}
"""What makes each row, by name: every registered agent in AdaFocus, every registered method, and what is neither."""


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_the_same_in_three_forms(small: Small, name: str) -> None:
    _check_forms(small, ROWS[name](small))


def _earlier_frames(small: Small, patch: pytest.MonkeyPatch) -> None:
    real = ResidentRows.gather

    def gather(own: ResidentRows, videos: Tensor, *others: Tensor, **options: Any) -> Tensor:
        return real(own, videos, *((others[0] - 1).clamp(min=0), *others[1:]) if others else (), **options)

    patch.setattr(ResidentRows, "gather", gather)


def _next_pixel(small: Small, patch: pytest.MonkeyPatch) -> None:
    real = PatchGrid.crop
    patch.setattr(
        PatchGrid, "crop", lambda own, frames, origin, *rest, **named: real(own, frames, origin - 1, *rest, **named)
    )


def _without_a_bias(small: Small, patch: pytest.MonkeyPatch) -> None:
    biases = [tensor for name, tensor in small.deployed.focus.named_parameters() if name.endswith("bias")]
    patch.setattr(biases[0], "data", torch.zeros_like(biases[0]))


def _more_compute(small: Small, patch: pytest.MonkeyPatch) -> None:
    real = LiveMethod.__call__

    def call(own: LiveMethod, *given: Any) -> Outcome:
        outcome = real(own, *given)
        return dataclasses.replace(outcome, macs=outcome.macs + 1)

    patch.setattr(LiveMethod, "__call__", call)


@pytest.mark.parametrize("fault", [_earlier_frames, _next_pixel, _without_a_bias, _more_compute])
def test_a_fault_in_one_form_is_found(
    small: Small, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Small, pytest.MonkeyPatch], None]
) -> None:
    method = ROWS["agent CenterAgent"](small)
    fault(small, monkeypatch)
    with pytest.raises(AssertionError):
        _check_forms(small, method)


def _check_forms(small: Small, method: Method) -> None:
    """The bank, live features and the deployed networks give the same."""
    batch = small.features.validation().episodes(small.clips.rows)
    device = small.run.device
    for knob in method.knobs or (None,):
        for visit in (Visit(), Visit(number=1)) if method.stochastic else (Visit(),):
            with torch.no_grad():
                stored = method.run(batch, knob=knob, visit=visit)
            live = LiveMethod(method, knob, device=device)(small.clips, visit)
            deployed = LiveMethod(method, knob, device=device, deployed=small.deployed)(small.clips, visit)
            _check(stored, live, BANK)
            _check(deployed, live, DEPLOYED)


def _check(found: Outcome, expected: Outcome, tolerance: float) -> None:
    """The same choices, compute and classes, and logits within a tolerance."""
    for name in ("boxes", "kept", "order", "sizes", "ran"):
        one, other = (getattr(outcome.trace, name) for outcome in (found, expected))
        assert (one is None and other is None) or torch.equal(one, other), name
    assert torch.equal(found.macs, expected.macs)
    assert torch.equal(found.trace.local_macs, expected.trace.local_macs)
    assert torch.equal(found.logits.argmax(-1), expected.logits.argmax(-1))
    scale = float(expected.trace.logits.abs().max())
    torch.testing.assert_close(found.trace.logits, expected.trace.logits, rtol=0, atol=tolerance * scale)
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=tolerance * scale)
