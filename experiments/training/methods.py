"""The methods that stand beside those of a run's agents, trained where there is something to learn."""

from __future__ import annotations

from adafocus_rl.agents.methods import Method, WholeFrames
from adafocus_rl.experiments.evaluation.systems import configured_methods
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.training.full_frame import full_frame_classifier


def other_methods(run: Run, features: RunFeatures) -> list[Method]:
    """Those that the configuration names, then f_L on whole frames unless it is left out.

    Args:
        run: the run.
        features: of its videos, by the recognizer after stage I.

    Raises:
        UserError: a method cannot be made here.
    """
    found = configured_methods(run, features.recognizer)
    if run.config.evaluation.full_frame_epochs != 0:
        found.append(WholeFrames(features.recognizer, classifier=full_frame_classifier(run, features)))
    return found
