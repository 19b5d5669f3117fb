"""Stage II: train π, or a π′, by reinforcement learning on frozen features (AdaFocus, section 3.3; appendix B.1)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from functools import partial

from adafocus_rl import ranks
from adafocus_rl.agents import Agent, PolicyAgent, RandomAgent
from adafocus_rl.agents.methods import Cost, Outcome, Visit, act
from adafocus_rl.agents.methods.agent_learner import AgentLearner
from adafocus_rl.agents.methods.kept_share import ShareLearner, calibrate
from adafocus_rl.envs import DecisionVectorEnv, FrameSkippingVectorEnv
from adafocus_rl.experiments.evaluation.measure import Measured, measure
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import POLICY, Step
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.experiments.training.live_view import LiveView
from adafocus_rl.experiments.training.trainer import RunTrainer
from adafocus_rl.features import EpisodeFeatures, FeatureSource
from adafocus_rl.statistics import standard_error


def report_classifier(run: Run, env: DecisionVectorEnv, validation: FeatureSource) -> None:
    """Print how well stage I's f_C recognises random patches of the validation videos; warn if that is chance.

    A π cannot learn from the reward of an f_C that has learnt nothing.

    Args:
        run: the run.
        env: π's environment, with that f_C.
        validation: features of the validation videos.
    """
    there = env.like(validation)
    found = measure(partial(_act, RandomAgent(there), there), there.source, batch_size=env.num_envs)
    error = standard_error(found.rates, run.clips.val.index.groups(found.rows))
    for line in classifier_report(found, error):
        say(line)


def classifier_report(found: Measured, error: float) -> list[str]:
    """Return the line to print, and a warning unless the accuracy is above the most frequent class's by 2 ``error``."""
    most = max(Counter(found.labels).values()) / found.videos
    lines = [
        f"stage I: f_C recognises {found.top1:.1%} ± {error:.1%} of the validation videos on random patches; the most "
        f"frequent class alone is {most:.1%}"
    ]
    if found.top1 - 2 * error <= most:
        lines.append(
            "warning: f_C is not clearly better than that, so its reward says little about patches; train it longer "
            "(stage0.epochs, stage1.epochs), with other learning rates, or on more videos"
        )
    return lines


def train_policy(run: Run, agent: Agent, env: DecisionVectorEnv, validation: FeatureSource) -> float:
    """Train π on its environment, with a validation pass and a checkpoint after every epoch.

    Args:
        run: the run.
        agent: π; changed in place.
        env: π's environment, on the training features with stage I's f_C.
        validation: features of the validation videos.

    Returns:
        Seconds of training.

    Raises:
        UserError: if the loss or a parameter is not finite; nothing of that epoch is written.
    """
    return _train(run, AgentLearner(agent=agent, env=env, epochs=run.config.stage2.epochs), validation, POLICY)


def train_skipper(
    run: Run,
    agent: PolicyAgent,
    env: FrameSkippingVectorEnv,
    validation: FeatureSource,
    *,
    step: Step,
    share: float | None,
) -> float:
    """Train a π′ on its environment, in the same way.

    Args:
        run: the run.
        agent: π′; changed in place.
        env: its environment, on the training features with stage I's f_C.
        validation: features of the validation videos.
        step: the step of the run.
        share: share of the frames to keep; the decision is calibrated on the validation videos, without their
            labels, in the end. None uses the environment's λ.

    Returns:
        Seconds of training.

    Raises:
        UserError: if the loss or a parameter is not finite; nothing of that epoch is written.
    """
    skip = run.config.skip
    if share is None:
        return _train(run, AgentLearner(agent=agent, env=env, epochs=skip.epochs), validation, step)
    learner = ShareLearner(agent=agent, env=env, epochs=skip.epochs, share=share, rate=skip.price_rate)
    seconds = _train(run, learner, validation, step)
    started = time.monotonic()
    # On the videos that π′ and f_C were trained on, f_C is surer than on others, and a π′ that knows it keeps less.
    kept = calibrate(agent, env.like(validation), share)
    say(f"{step.name}: keeps {kept:.1%} of the frames of the validation videos")
    return seconds + time.monotonic() - started


def _train(run: Run, learner: AgentLearner | ShareLearner, validation: FeatureSource, step: Step) -> float:
    agent, env, epochs = learner.agent, learner.env, learner.epochs
    if isinstance(agent, PolicyAgent):
        agent.precision = run.config.stage2.precision
    source, there = env.source, env.like(validation)
    view = LiveView(run, there, stage=step.name, epochs=epochs)
    began, passes = time.monotonic(), 0

    def after_epoch(done: int, scalars: Mapping[str, float]) -> Mapping[str, float]:
        nonlocal passes
        passes += 1
        spent = time.monotonic() - began
        run.clips.note_failures(source.failed)
        found = measure(partial(_act, agent, there), there.source, batch_size=env.num_envs)
        ranks.first(partial(view.after_epoch, agent, done))
        kept = {} if found.kept is None else {"eval/kept": found.kept}
        fps = len(source.videos) * source.num_steps * passes / max(spent, 1e-9)
        return {"eval/top1": found.top1, "eval/mAP": found.map, "time/fps": fps, **kept}

    return RunTrainer(run).fit(step.name, learner, epochs=epochs, ticks=1, after_epoch=after_epoch)


def _act(agent: Agent, env: DecisionVectorEnv, batch: EpisodeFeatures, visit: Visit) -> Outcome:
    """Take the agent's best actions in another environment than the one it learns on; their cost is not counted."""
    return act(env, agent.bind(env), batch, cost=Cost(always=0, local=0), visit=visit)
