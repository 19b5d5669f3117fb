"""π′ of a run: one for each λ, an operating point each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adafocus_rl.agents import Agent, PPOAgent
from adafocus_rl.envs import FrameSkippingVectorEnv
from adafocus_rl.experiments.run.handover import is_finished, required_checkpoint
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


def new_skipper(run: Run, env: FrameSkippingVectorEnv) -> PPOAgent:
    """Make a π′, untrained: PPO with a network of π's shape on what π observes, with two actions.

    Args:
        run: the run.
        env: an environment like those in which π′ will act.
    """
    return PPOAgent(env, run.config.skip.options, seed=run.config.seed)


def load_skipper(run: Run, env: FrameSkippingVectorEnv, point: OperatingPoint) -> Agent:
    """Load the run's trained π′ of a λ.

    Args:
        run: the run.
        env: an environment like those in which π′ will act.
        point: λ.

    Raises:
        UserError: there is no checkpoint, or it is of another architecture.
    """
    return PPOAgent.load(required_checkpoint(run, point.stage(2)), env)
