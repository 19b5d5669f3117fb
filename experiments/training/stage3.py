"""Stage III: fine-tune f_C on the patches that the trained policy selects."""

from __future__ import annotations

from adafocus_rl.agents import Agent
from adafocus_rl.agents.methods.classifier import chosen_features, train_classifier
from adafocus_rl.envs import DecisionVectorEnv
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import CLASSIFIER, Step
from adafocus_rl.experiments.training.trainer import RunTrainer
from adafocus_rl.models.classifiers import Classifier


def finetune_classifier(
    run: Run, classifier: Classifier, agent: Agent, env: DecisionVectorEnv, *, step: Step = CLASSIFIER
) -> float:
    """Fine-tune f_C on the agent's deterministic actions (appendix B.1, stage III). The agent does not change.

    Args:
        run: the run.
        classifier: f_C, changed in place.
        agent: selects the patches, or the frames to keep.
        env: the agent's environment on the training videos.
        step: the step of the run.

    Returns:
        Seconds of training.

    Raises:
        UserError: if the training diverges.
    """
    local = chosen_features(agent, env)
    seconds = train_classifier(RunTrainer(run), step.name, classifier, env.source, local, training=run.config.stage3)
    run.clips.note_failures(env.source.failed)
    return seconds
