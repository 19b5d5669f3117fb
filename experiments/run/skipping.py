"""The policies π′ of a run: one per λ, each an operating point."""

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
    """An operating point of frame skipping: one λ."""

    lambda_: float
    """Cost of keeping a frame, in probability of the true class."""

    def stage(self, number: Literal[2, 3]) -> str:
        """Return the name of its step in a stage, which is used in logs and as the stem of its checkpoints."""
        return (SKIPPING if number == SKIPPING.number else SKIPPING_CLASSIFIER).at(self.lambda_).name


def operating_points(run: Run) -> list[OperatingPoint]:
    """Return the operating points of the configuration."""
    return [OperatingPoint(lambda_=lambda_) for lambda_ in run.config.skip.lambdas]


def steps_of(run: Run, stage: int) -> list[Step]:
    """Return the steps of a stage that write a checkpoint: π and each π′ in stage II, f_C for each of them in III."""
    steps = [step for step in STEPS if step.number == stage and step.leaves == "checkpoint"]
    knobs = run.config.skip.lambdas
    return [one for step in steps for one in ([step.at(knob) for knob in knobs] if step.knobs else [step])]


def unfinished(run: Run, stage: int) -> list[Step]:
    """Return the steps of a stage still to run: all, or with ``--resume`` those without a final checkpoint."""
    return [step for step in steps_of(run, stage) if not (run.resume and is_finished(run, step.name))]


def new_skipper(run: Run, env: FrameSkippingVectorEnv) -> PPOAgent:
    """Create an untrained π′: a PPO agent whose network has π's shape and observations, with two actions.

    Args:
        run: the run.
        env: an environment like those in which π′ will act.
    """
    return PPOAgent(env, run.config.skip.options, seed=run.config.seed)


def load_skipper(run: Run, env: FrameSkippingVectorEnv, point: OperatingPoint) -> Agent:
    """Load the run's trained π′ of an operating point.

    Args:
        run: the run.
        env: an environment like those in which π′ will act.
        point: the operating point.

    Raises:
        UserError: if there is no checkpoint, or its architecture differs.
    """
    return PPOAgent.load(required_checkpoint(run, point.stage(2)), env)
