"""The methods that stand beside those of a run's agents, trained where there is something to learn."""

from __future__ import annotations

from adafocus_rl import checkpoint
from adafocus_rl.agents.methods import METHODS, Method, WholeFrames
from adafocus_rl.checkpoint import tensors_hash
from adafocus_rl.experiments.evaluation.systems import make_method
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.handover import forget_progress
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.training.full_frame import full_frame_classifier
from adafocus_rl.experiments.training.trainer import RunTrainer
from adafocus_rl.plain import plain_options


def other_methods(run: Run, features: RunFeatures) -> list[Method]:
    """Those that the configuration names, then f_L on whole frames unless it is left out.

    Args:
        run: the run.
        features: of its videos, by the recognizer after stage I.

    Raises:
        UserError: a method cannot be made here, or its training diverges.
    """
    # f_L on whole frames has keys of its own, and stands in the table without being named.
    names = [name for name in run.config.methods if METHODS.get(name) is not WholeFrames]
    found = [make_method(run, features.recognizer, name) for name in names]
    for method in found:
        if method.learns:
            fit_method(run, features, method)
    if run.config.evaluation.full_frame_epochs != 0:
        found.append(WholeFrames(features.recognizer, classifier=full_frame_classifier(run, features)))
    return found


def fit_method(run: Run, features: RunFeatures, method: Method) -> None:
    """Train a method once; again when anything that it depends on has changed.

    Args:
        run: the run; the checkpoint is called like the method's label.
        features: of its videos, by the recognizer after stage I.
        method: new; changed in place.

    Raises:
        UserError: the training diverges, or the checkpoint does not fit.
    """
    recognizer, path = features.recognizer, run.folder.checkpoint(method.label)
    facts = {
        "recognizer": [tensors_hash(part) for part in (recognizer.glance, recognizer.focus, recognizer.classifier)],
        "index": run.clips.train.index.hash(),
    }
    if path.is_file():
        tensors, manifest = checkpoint.load(path, device=run.device)
        wanted = {**facts, "options": plain_options(method.options), "seed": method.seed}
        if all(manifest.get(name) == value for name, value in wanted.items()):
            method.load_tensors(tensors, what=str(path))
            return
    training = features.training(run.config.stage3.features)
    method.fit(training, features.validation(), trainer=RunTrainer(run))
    method.save(path, facts=facts)
    forget_progress(run, method.label)
