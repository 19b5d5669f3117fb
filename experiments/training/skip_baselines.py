"""Methods that π′ must beat at the same share of frames, each with an f_C of its own, trained as in stage III."""

from __future__ import annotations

from collections.abc import Sequence

from adafocus_rl import checkpoint
from adafocus_rl.agents.methods import FINE_TUNED, RANDOM_PATCHES, ScheduledSkipping
from adafocus_rl.agents.methods.frame_sets import best_frames, schedule
from adafocus_rl.agents.methods.kept_share import kept_frames
from adafocus_rl.agents.training_options import ClassifierTraining
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.handover import is_finished, load_agent
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.skipping import knob_name, load_skipper, operating_points, skipping_env
from adafocus_rl.experiments.run.steps import SKIPPING_CLASSIFIER

RANDOM_SKIP, BY_NUMBER, FIXED = "random_skip", "random_by_number", "fixed_frames"
"""Labels: random frames at the share that π′ keeps; with the share that π′ keeps of each frame number; and the best
fixed set of frames."""


def skipping_baselines(
    run: Run, features: RunFeatures, labels: Sequence[str] = (RANDOM_SKIP, BY_NUMBER, FIXED)
) -> list[ScheduledSkipping]:
    """Return the baselines of the run's π′, untrained, for each variant that the run has trained.

    The shares are those that π′ keeps of the validation videos, so that all methods look at the same number of frames.
    Their labels are not used: which frames the best fixed set holds is decided on the training videos. Only some of
    those come with the shipped run, so its baselines keep the shares that they were trained with.

    Args:
        run: the run.
        features: features of its videos from the recognizer of stage I.
        labels: the baselines to return.

    Raises:
        UserError: if a π′ was not trained.
    """
    recognizer = features.recognizer
    env = run.env(features.training(run.config.stage2.features), recognizer.classifier)
    policy = load_agent(run, env)
    shipped = run.folder.shipped
    order = best_frames(env, policy) if FIXED in labels and not shipped else []
    seen = env.like(features.validation())
    stage3 = run.config.stage3
    training = ClassifierTraining(epochs=stage3.epochs, learning_rate=stage3.learning_rate, sgd=stage3.sgd)
    found: list[ScheduledSkipping] = []
    for point in operating_points(run):
        skipping = skipping_env(run, seen, policy, point)
        if shipped:
            paths = {label: run.folder.checkpoint(f"{label}{point.knob}") for label in labels}
            schedules = {label: checkpoint.load(path)[1]["schedule"] for label, path in paths.items()}
        else:
            by_number = kept_frames(load_skipper(run, skipping, point), skipping).tolist()
            share = sum(by_number) / len(by_number)
            schedules = {RANDOM_SKIP: [share] * len(by_number), BY_NUMBER: by_number}
            if FIXED in labels:
                schedules[FIXED] = schedule(order, share)
        tuned = is_finished(run, point.of(SKIPPING_CLASSIFIER).name)
        found += [
            ScheduledSkipping(
                recognizer,
                label=label,
                patches=env,
                policy=policy,
                knob=point.knob,
                schedule=shares,
                training=training if variant == FINE_TUNED else None,
                variant=variant,
                knob_name=knob_name(run),
                seed=run.config.seed,
            )
            for variant in ([RANDOM_PATCHES, FINE_TUNED] if tuned else [RANDOM_PATCHES])
            for label, shares in schedules.items()
            if label in labels
        ]
    return found
