"""Methods besides those of the run's agent, and their training."""

from __future__ import annotations

from adafocus_rl import checkpoint
from adafocus_rl.agents.methods import METHODS, Method, WholeFrames
from adafocus_rl.agents.training_options import ClassifierTraining
from adafocus_rl.checkpoint import tensors_hash
from adafocus_rl.experiments.evaluation.systems import make_method
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.handover import finish_step, forget_progress
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.training.skip_baselines import skipping_baselines
from adafocus_rl.experiments.training.trainer import RunTrainer
from adafocus_rl.models.classifiers import AveragingClassifier
from adafocus_rl.models.recognizer import Recognizer


def other_methods(run: Run, features: RunFeatures) -> list[Method]:
    """Return the methods beside those of the run's agents, all trained.

    These are the baselines of π′ if the run skips frames, the methods that the configuration names, and whole frames
    unless they are left out. A method that can decide at random instead is followed by this counterpart.

    Args:
        run: the run.
        features: features of its videos from the recognizer of stage I.

    Raises:
        UserError: if a method cannot be constructed, or its training diverges.
    """
    # Whole frames are listed without being named, and have keys of their own.
    names = [name for name in run.config.methods if METHODS.get(name) is not WholeFrames]
    found: list[Method] = [*skipping_baselines(run, features)] if run.config.skip.knobs else []
    found += [make_method(run, features.recognizer, name) for name in names]
    if run.config.evaluation.full_frame_epochs != 0:
        found.append(whole_frames(run, features.recognizer))
    for method in found:
        if method.learns:
            fit_method(run, features, method)
    counterparts = [method.random_counterpart() for method in found]
    return [*found, *(method for method in counterparts if method is not None)]


def new_method(run: Run, recognizer: Recognizer, name: str) -> Method:
    """Return a registered method, untrained, as the run would train it.

    Args:
        run: the run.
        recognizer: the recognizer of stage I.
        name: name of the method's class.

    Raises:
        UserError: if no method has this name, its options are out of range, or it does not fit the recognizer.
    """
    if METHODS.get(name) is WholeFrames:
        return whole_frames(run, recognizer)
    return make_method(run, recognizer, name)


def whole_frames(run: Run, recognizer: Recognizer) -> WholeFrames:
    """Return the untrained whole-frame method with a new f_C.

    By default, its training is as long as that of stages I and III together, so that its accuracy is comparable with
    AdaFocus's.

    Args:
        run: the run.
        recognizer: the recognizer of stage I.
    """
    config = run.config
    epochs = config.evaluation.full_frame_epochs
    training = ClassifierTraining(
        epochs=config.stage1.epochs + config.stage3.epochs if epochs is None else epochs,
        learning_rate=config.stage1.classifier_learning_rate,
        sgd=config.stage1.sgd,
    )
    classifier = run.new_recognizer(with_weights=False).classifier
    if isinstance(classifier, AveragingClassifier):  # stage 0 initialised it
        classifier.load_state_dict(recognizer.classifier.state_dict())
    return WholeFrames(recognizer, classifier=classifier, training=training)


def fit_method(run: Run, features: RunFeatures, method: Method) -> None:
    """Train a method, or load it if it was trained before and nothing that it depends on has changed.

    Args:
        run: the run; the checkpoint is named after the method's stem.
        features: features of its videos from the recognizer of stage I.
        method: a new method; changed in place.

    Raises:
        UserError: if the training diverges, or the checkpoint does not fit.
    """
    recognizer, path = features.recognizer, run.folder.checkpoint(method.stem)
    facts = {
        "recognizer": [tensors_hash(part) for part in (recognizer.glance, recognizer.focus, recognizer.classifier)],
        "index": run.clips.train.index.hash(),
    }
    if path.is_file():
        tensors, manifest = checkpoint.load(path, device=run.device)
        wanted = {**facts, **method.facts()}
        if all(manifest.get(name) == value for name, value in wanted.items()):
            method.load_tensors(tensors, what=str(path))
            forget_progress(run, method.stem)
            return
    training = features.training(run.config.stage3.features)
    method.fit(training, features.validation(), trainer=RunTrainer(run))
    run.clips.note_failures(training.failed)
    finish_step(run, method.stem, lambda: method.save(path, facts=facts))
