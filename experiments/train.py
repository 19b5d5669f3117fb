"""The whole job: stages 0–III, then the table."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from adafocus_rl.experiments.context import Context
from adafocus_rl.experiments.evaluate import evaluate, results
from adafocus_rl.experiments.features import RunFeatures
from adafocus_rl.experiments.handover import (
    is_finished,
    load_agent,
    load_recognizer,
    save_agent,
    save_classifier,
    save_recognizer,
)
from adafocus_rl.experiments.stages import finetune_classifier, train_encoders, train_on_random_patches, train_policy
from adafocus_rl.features import LiveFeatures


def to_do(context: Context, stages: Sequence[int]) -> list[int]:
    """Those of the stages that are not done already (only ``--resume`` keeps what is done)."""
    return [stage for stage in stages if not (context.resume and is_finished(context, f"stage{stage}"))]


def rehearse(context: Context, stages: Sequence[int]) -> None:
    """Builds everything once without training, so that what is wrong shows before anything is written or takes hours.

    Raises:
        UserError: unknown encoder, weights, reward or option; a checkpoint to start from that is missing or of another
            architecture; an oracle without true boxes.
    """
    todo = to_do(context, stages)
    start = "stage0" if 1 in todo else "stage1"
    recognizer = context.recognizer() if 0 in todo else load_recognizer(context, start)
    if max(stages) < 2:
        return
    source = LiveFeatures(recognizer, context.val, device=context.device)
    env = context.env(source, recognizer.classifier)
    agent = context.agent(env)
    if 3 in todo and 2 not in todo:
        agent = load_agent(context, agent)
    env.rollout(agent, episodes=next(source.batches(1)), with_reward=False)


def train(context: Context, stages: Sequence[int]) -> dict[str, Any]:
    """Runs the given stages, in order, each from the checkpoint of the one before, and evaluates.

    Args:
        context: the run.
        stages: some of 0, 1, 2, 3.

    Returns:
        The content of results.json; without rows if stage II was not asked for.

    Raises:
        UserError: a checkpoint that a stage starts from is missing or of another architecture, or a bank is stale.
    """
    todo = to_do(context, stages)
    stale = {*map(str, todo), "evaluate", *(["bank"] if {0, 1} & {*todo} else [])}
    seconds = {name: value for name, value in context.run.read_seconds().items() if name not in stale}

    def note(name: str, spent: float) -> None:
        seconds[name] = spent
        context.run.write_results(results(context, [], seconds))

    if 0 in todo:
        recognizer = context.recognizer()
        spent = train_encoders(context, recognizer)
        save_recognizer(context, "stage0", recognizer)
        note("0", spent)
    if 1 in todo:
        recognizer = load_recognizer(context, "stage0")
        spent = train_on_random_patches(context, recognizer)
        save_recognizer(context, "stage1", recognizer)
        note("1", spent)
    if max(stages) < 2:
        return results(context, [], seconds)

    recognizer = load_recognizer(context, "stage1")
    features = RunFeatures(context, recognizer)
    validation = features.validation()
    if 2 in todo:
        training = features.training(context.config.stage2.features)
        agent = context.agent(context.env(training, recognizer.classifier))
        spent = train_policy(context, agent, validation) if agent.learns else 0.0
        save_agent(context, agent)
        note("2", spent)
    if 3 in todo:
        training = features.training(context.config.stage3.features)
        agent = load_agent(context, context.agent(context.env(training, recognizer.classifier)))
        classifier = copy.deepcopy(recognizer.classifier)
        spent = finetune_classifier(context, classifier, agent, training)
        save_classifier(context, "stage3", classifier, {})
        note("3", spent)
    return evaluate(context, features)
