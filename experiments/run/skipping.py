"""π′ of a run: one for each λ, an operating point each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adafocus_rl.agents import Agent, PPOAgent
from adafocus_rl.envs import FrameSkippingVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.experiments.run.handover import is_finished, load_agent
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import SKIPPING, SKIPPING_CLASSIFIER, STEPS, Step


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """One λ, and what belongs to it."""

    lambda_: float
    """What looking at a frame costs, in probability of the true class."""

    def stage(self, number: Literal[2, 3]) -> str:
        """Name of its part of a stage: in logs, and stem of its checkpoints."""
        return (SKIPPING if number == SKIPPING.number else SKIPPING_CLASSIFIER).at(self.lambda_).name


def operating_points(run: Run) -> list[OperatingPoint]:
    """Those that the configuration asks for."""
    return [OperatingPoint(lambda_=lambda_) for lambda_ in run.config.skip.lambdas]


def steps_of(run: Run, stage: int) -> list[Step]:
    """The steps of a stage that leave a checkpoint: π and each π′ in stage II, f_C for each of them in III."""
    steps = [step for step in STEPS if step.number == stage and step.leaves == "checkpoint"]
    knobs = run.config.skip.lambdas
    return [one for step in steps for one in ([step.at(knob) for knob in knobs] if step.knobs else [step])]


def unfinished(run: Run, stage: int) -> list[Step]:
    """Those steps of a stage that are to do: all, but with ``--resume`` those that have left no checkpoint."""
    return [step for step in steps_of(run, stage) if not (run.resume and is_finished(run, step.name))]


def new_skipper(run: Run, patches: PatchSelectionVectorEnv, policy: Agent, point: OperatingPoint) -> PPOAgent:
    """A π′, untrained: PPO with a network of π's shape on e^G, with two actions.

    Args:
        run: the run.
        patches: π's environment.
        policy: frozen π.
        point: λ.
    """
    env = FrameSkippingVectorEnv(patches, policy, lambda_=point.lambda_)
    return PPOAgent(env, run.config.skip.options, seed=run.config.seed)


def load_skipper(run: Run, patches: PatchSelectionVectorEnv, policy: Agent, point: OperatingPoint) -> Agent:
    """The run's trained π′ of a λ.

    Raises:
        UserError: there is no checkpoint, or it is of another architecture.
    """
    return load_agent(run, new_skipper(run, patches, policy, point), point.stage(2))
