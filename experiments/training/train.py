"""Training of a run: all stages in order, each from the checkpoint of the previous one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from adafocus_rl import ranks
from adafocus_rl.agents import Agent
from adafocus_rl.envs import DecisionVectorEnv
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.handover import (
    forget_progress,
    is_finished,
    load_agent,
    load_recognizer,
    save_agent,
    save_classifier,
    save_recognizer,
)
from adafocus_rl.experiments.run.results import results
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.skipping import (
    load_skipper,
    new_skipper,
    operating_points,
    skipping_env,
    steps_of,
    unfinished,
)
from adafocus_rl.experiments.run.steps import (
    CLASSIFIER,
    ENCODERS,
    POLICY,
    RANDOM_PATCHES,
    SKIPPING,
    SKIPPING_CLASSIFIER,
    Step,
    and_after,
)
from adafocus_rl.experiments.training.stage0 import train_encoders
from adafocus_rl.experiments.training.stage1 import train_on_random_patches
from adafocus_rl.experiments.training.stage2 import report_classifier, train_policy, train_skipper
from adafocus_rl.experiments.training.stage3 import finetune_classifier
from adafocus_rl.features import LiveFeatures
from adafocus_rl.models.recognizer import Recognizer

Note = Callable[[Step, float], None]
"""Records the seconds that a step took."""


def check_names(run: Run, stages: Sequence[int]) -> None:
    """Check the names of networks, weights and the reward without any video.

    Raises:
        UserError: as ``Run.check_names``.
    """
    # Only stage 0 begins with the encoders' weights files, which may be gone later.
    run.check_names(with_weights=0 in stages and not (run.resume and is_finished(run, ENCODERS.name)))


def rehearse(run: Run, stages: Sequence[int]) -> None:
    """Build everything once without training, so that errors show before anything is written or takes hours.

    Raises:
        UserError: if an encoder, weights, a reward or an option is unknown; if a checkpoint to start from is missing or
            of another architecture; if an oracle has no true boxes; or if batch normalisation cannot be synchronised.
    """
    todo = [stage for stage in stages if unfinished(run, stage)]
    start = ENCODERS if 1 in todo else RANDOM_PATCHES
    recognizer = run.new_recognizer() if 0 in todo else load_recognizer(run, start.name)
    if max(stages) < 2:
        return
    source = LiveFeatures(recognizer, run.clips.val, device=run.device)
    env = run.env(source, recognizer.classifier)
    agent = run.new_agent(env)
    if 2 in todo:
        agent.check_ranks()
    if 3 in todo and 2 not in todo:
        agent = load_agent(run, env)
    episodes = next(source.batches(1))
    env.rollout(agent, episodes=episodes, with_reward=False)
    for point in operating_points(run):
        skipping = skipping_env(run, env, agent, point)
        trained = 3 in todo and 2 not in todo
        skipper = load_skipper(run, skipping, point) if trained else new_skipper(run, skipping)
        skipping.rollout(skipper, episodes=episodes, with_reward=False)


def train(
    run: Run, stages: Sequence[int], *, features_of: Callable[[Run, Recognizer], RunFeatures] = RunFeatures
) -> RunFeatures | None:
    """Run the given stages in order, each from the checkpoint of the previous one.

    Args:
        run: the run.
        stages: some of 0, 1, 2, 3.
        features_of: opens the features of the run's videos, given the recognizer of stage I.

    Returns:
        The features of the run's videos, for its evaluation; None if neither stage II nor III is given.

    Raises:
        UserError: if a checkpoint that a stage starts from is missing or of another architecture, or a bank is stale.
    """
    todo = [step for stage in stages for step in unfinished(run, stage)]
    for step in (step for stage in stages for step in steps_of(run, stage) if step not in todo):
        forget_progress(run, step.name)  # left by a process that was killed as it finished the step
    stale = and_after(step.name for step in todo)
    seconds = {
        name: value
        for name, value in run.folder.read_seconds().items()
        if name != "evaluate" and not any(step.took(name) for step in stale)
    }

    def note(step: Step, spent: float) -> None:
        # Before the step's final checkpoint: a process killed between the two then notes them again.
        seconds[step.short_name] = spent
        ranks.first(lambda: run.folder.write_results(results([], seconds, run.clips.failed)))

    if ENCODERS in todo:
        recognizer = run.new_recognizer()
        spent = train_encoders(run, recognizer)
        note(ENCODERS, spent)
        save_recognizer(run, ENCODERS.name, recognizer)
    if RANDOM_PATCHES in todo:
        recognizer = load_recognizer(run, ENCODERS.name)
        spent = train_on_random_patches(run, recognizer)
        note(RANDOM_PATCHES, spent)
        save_recognizer(run, RANDOM_PATCHES.name, recognizer)
    if max(stages) < 2:
        return None

    recognizer = load_recognizer(run, RANDOM_PATCHES.name)
    features = features_of(run, recognizer)
    if any(step.number == POLICY.number for step in todo):
        _train_policies(run, features, todo, note)
    if any(step.number == CLASSIFIER.number for step in todo):
        _finetune_classifiers(run, features, todo, note)
    return features


def _train_policies(run: Run, features: RunFeatures, todo: Sequence[Step], note: Note) -> None:
    """Run stage II: train π, then a π′ for each operating point."""
    validation = features.validation()
    training = features.training(run.config.stage2.features)
    env = run.env(training, features.recognizer.classifier)
    if POLICY in todo:
        report_classifier(run, env, validation)
        agent = run.new_agent(env)
        spent = train_policy(run, agent, env, validation) if agent.learns else 0.0
        note(POLICY, spent)
        save_agent(run, agent)
    for point in operating_points(run):
        step = point.of(SKIPPING)
        if step in todo:
            # Load π as it was saved, so that it does not matter whether this or an earlier process trained it.
            skipping = skipping_env(run, env, load_agent(run, env), point)
            skipper = new_skipper(run, skipping)
            share = point.knob if point.is_share else None
            spent = train_skipper(run, skipper, skipping, validation, step=step, share=share)
            note(step, spent)
            save_agent(run, skipper, step.name)


def _finetune_classifiers(run: Run, features: RunFeatures, todo: Sequence[Step], note: Note) -> None:
    """Run stage III: fine-tune an f_C for π, and one for π with each π′; all start from stage I's."""
    classifier = features.recognizer.classifier
    env = run.env(features.training(run.config.stage3.features), classifier)
    agent = load_agent(run, env)

    def finetune(step: Step, agent: Agent, env: DecisionVectorEnv) -> None:
        own = copy.deepcopy(classifier)
        spent = finetune_classifier(run, own, agent, env, step=step)
        note(step, spent)
        save_classifier(run, step.name, own, {})

    if CLASSIFIER in todo:
        finetune(CLASSIFIER, agent, env)
    for point in operating_points(run):
        step = point.of(SKIPPING_CLASSIFIER)
        if step in todo:
            skipping = skipping_env(run, env, agent, point)
            finetune(step, load_skipper(run, skipping, point), skipping)
