"""The stages, one after another, each from the checkpoint of the one before."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from adafocus_rl.agents import Agent
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.folder import results
from adafocus_rl.experiments.run.handover import (
    load_agent,
    load_recognizer,
    save_agent,
    save_classifier,
    save_recognizer,
)
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.skipping import load_skipper, new_skipper, operating_points, unfinished
from adafocus_rl.experiments.training.stage0 import train_encoders
from adafocus_rl.experiments.training.stage1 import train_on_random_patches
from adafocus_rl.experiments.training.stage2 import train_policy
from adafocus_rl.experiments.training.stage3 import finetune_classifier
from adafocus_rl.features import LiveFeatures

Note = Callable[[str, float], None]
"""Takes down the seconds that a part of a stage took."""


def rehearse(run: Run, stages: Sequence[int]) -> None:
    """Builds everything once without training, so that what is wrong shows before anything is written or takes hours.

    Raises:
        UserError: unknown encoder, weights, reward or option; a checkpoint to start from that is missing or of another
            architecture; an oracle without true boxes.
    """
    todo = [stage for stage in stages if unfinished(run, stage)]
    start = "stage0" if 1 in todo else "stage1"
    recognizer = run.new_recognizer() if 0 in todo else load_recognizer(run, start)
    if max(stages) < 2:
        return
    source = LiveFeatures(recognizer, run.clips.val, device=run.device)
    env = run.env(source, recognizer.classifier)
    agent = run.new_agent(env)
    if 3 in todo and 2 not in todo:
        agent = load_agent(run, agent)
    episodes = next(source.batches(1))
    env.rollout(agent, episodes=episodes, with_reward=False)
    for point in operating_points(run):
        ready = load_skipper if 3 in todo and 2 not in todo else new_skipper
        skipper = ready(run, env, agent, point)
        skipper.env.rollout(skipper, episodes=episodes, with_reward=False)


def train(run: Run, stages: Sequence[int]) -> RunFeatures | None:
    """Runs the given stages, in order, each from the checkpoint of the one before.

    Args:
        run: the run.
        stages: some of 0, 1, 2, 3.

    Returns:
        The features of the run's videos, to evaluate it on; None if stage II was not asked for.

    Raises:
        UserError: a checkpoint that a stage starts from is missing or of another architecture, or a bank is stale.
    """
    todo = [name for stage in stages for name in unfinished(run, stage)]
    stale = {*(name.removeprefix("stage") for name in todo), "evaluate"}
    if {"stage0", "stage1"} & {*todo}:
        stale.add("bank")
    seconds = {name: value for name, value in run.folder.read_seconds().items() if name not in stale}

    def note(name: str, spent: float) -> None:
        seconds[name.removeprefix("stage")] = spent
        run.folder.write_results(results([], seconds, run.clips.failed))

    if "stage0" in todo:
        recognizer = run.new_recognizer()
        spent = train_encoders(run, recognizer)
        save_recognizer(run, "stage0", recognizer)
        note("stage0", spent)
    if "stage1" in todo:
        recognizer = load_recognizer(run, "stage0")
        spent = train_on_random_patches(run, recognizer)
        save_recognizer(run, "stage1", recognizer)
        note("stage1", spent)
    if max(stages) < 2:
        return None

    recognizer = load_recognizer(run, "stage1")
    features = RunFeatures(run, recognizer)
    if any(name.startswith("stage2") for name in todo):
        _train_policies(run, features, todo, note)
    if any(name.startswith("stage3") for name in todo):
        _finetune_classifiers(run, features, todo, note)
    return features


def _train_policies(run: Run, features: RunFeatures, todo: Sequence[str], note: Note) -> None:
    """Stage II: π, then a π′ for each price."""
    validation = features.validation()
    training = features.training(run.config.stage2.features)
    env = run.env(training, features.recognizer.classifier)
    if "stage2" in todo:
        agent = run.new_agent(env)
        spent = train_policy(run, agent, validation) if agent.learns else 0.0
        save_agent(run, agent)
        note("stage2", spent)
    for point in operating_points(run):
        name = point.stage(2)
        if name in todo:
            # As it was saved: the same whether it was trained just now or in an earlier process.
            skipper = new_skipper(run, env, load_agent(run, run.new_agent(env)), point)
            spent = train_policy(run, skipper, validation, stage=name, epochs=run.config.skip.epochs)
            save_agent(run, skipper, name)
            note(name, spent)


def _finetune_classifiers(run: Run, features: RunFeatures, todo: Sequence[str], note: Note) -> None:
    """Stage III: an f_C for π, and one for π with each π′; all start from stage I's."""
    classifier = features.recognizer.classifier
    env = run.env(features.training(run.config.stage3.features), classifier)
    agent = load_agent(run, run.new_agent(env))

    def finetune(name: str, agent: Agent) -> None:
        own = copy.deepcopy(classifier)
        spent = finetune_classifier(run, own, agent, agent.env.source, stage=name)
        save_classifier(run, name, own, {})
        note(name, spent)

    if "stage3" in todo:
        finetune("stage3", agent)
    for point in operating_points(run):
        if point.stage(3) in todo:
            finetune(point.stage(3), load_skipper(run, env, agent, point))
