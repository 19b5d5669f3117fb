"""The policies π′ of a run: one per λ, or per share of frames to keep, each an operating point."""

from __future__ import annotations

from dataclasses import dataclass

from adafocus_rl.agents import AGENTS, Agent, PolicyAgent
from adafocus_rl.envs import FrameSkippingVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.experiments.run.handover import is_finished, required_checkpoint
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import SKIPPING, STEPS, Step
from adafocus_rl.models.classifiers import Classifier


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """An operating point of frame skipping: one λ, or one share of frames to keep."""

    knob: float
    """λ, the cost of keeping a frame, in probability of the true class; or the share."""

    is_share: bool
    """Whether the knob is a share."""

    def of(self, step: Step) -> Step:
        """Return the point's own step of one that each point has."""
        return step.at(self.knob, kind=".keep" if self.is_share else "")


def operating_points(run: Run) -> list[OperatingPoint]:
    """Return the operating points of the configuration."""
    skip = run.config.skip
    return [OperatingPoint(knob=knob, is_share=bool(skip.keep)) for knob in skip.knobs]


def knob_name(run: Run) -> str:
    """Return the name of an operating point's knob in tables and messages."""
    return "share kept" if run.config.skip.keep else "λ"


def steps_of(run: Run, stage: int) -> list[Step]:
    """Return the steps of a stage that write a checkpoint: π and each π′ in stage II, f_C for each of them in III."""
    steps = [step for step in STEPS if step.number == stage and step.leaves == "checkpoint"]
    points = operating_points(run)
    return [one for step in steps for one in ([point.of(step) for point in points] if step.knobs else [step])]


def unfinished(run: Run, stage: int) -> list[Step]:
    """Return the steps of a stage still to run: all, or with ``--resume`` those without a final checkpoint."""
    return [step for step in steps_of(run, stage) if not (run.resume and is_finished(run, step.name))]


def skipping_env(
    run: Run,
    patches: PatchSelectionVectorEnv,
    policy: Agent,
    point: OperatingPoint,
    *,
    observer: Classifier | None = None,
) -> FrameSkippingVectorEnv:
    """Return the environment of the π′ of an operating point.

    Args:
        run: the run.
        patches: π's environment.
        policy: π.
        point: the operating point.
        observer: the f_C that π′ observes, if it observes any; None for that of ``patches``.
    """
    skip = run.config.skip
    return FrameSkippingVectorEnv(
        patches,
        policy,
        lambda_=0.0 if point.is_share else point.knob,
        reward=skip.reward,
        observe_classifier=skip.observe_classifier,
        observer=observer,
    )


def new_skipper(run: Run, env: FrameSkippingVectorEnv) -> PolicyAgent:
    """Create an untrained π′: its network has π's shape, and two actions.

    Args:
        run: the run.
        env: an environment like those in which π′ will act.
    """
    skip = run.config.skip
    agent = AGENTS.get(skip.agent)(env, skip.options, seed=run.config.seed)
    assert isinstance(agent, PolicyAgent)
    return agent


def load_skipper(run: Run, env: FrameSkippingVectorEnv, point: OperatingPoint) -> Agent:
    """Load the run's trained π′ of an operating point.

    Args:
        run: the run.
        env: an environment like those in which π′ will act.
        point: the operating point.

    Raises:
        UserError: if there is no checkpoint, or its architecture differs.
    """
    kind: type[Agent] = AGENTS.get(run.config.skip.agent)
    return kind.load(required_checkpoint(run, point.of(SKIPPING).name), env)
