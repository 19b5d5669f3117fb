"""The whole-frame row's own f_C: f_L on every whole frame, what the patches save compute against."""

from __future__ import annotations

from dataclasses import asdict

from adafocus_rl.checkpoint import tensors_hash
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.handover import is_finished, load_classifier, save_classifier
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import FULL_FRAME
from adafocus_rl.experiments.training.stage3 import train_full_frame_classifier
from adafocus_rl.models.classifiers import AveragingClassifier, Classifier
from adafocus_rl.seeding import seed_all


def full_frame_classifier(run: Run, features: RunFeatures) -> Classifier:
    """An f_C for f_L's features of whole frames. Trained once; again when anything it depends on has changed.

    Args:
        run: the run.
        features: of its videos, by the recognizer after stage I.
    """
    config, recognizer = run.config, features.recognizer
    epochs = config.evaluation.full_frame_epochs
    epochs = config.stage1.epochs + config.stage3.epochs if epochs is None else epochs
    rate, sgd = config.stage1.classifier_learning_rate, config.stage1.sgd
    manifest = {
        "glance": tensors_hash(recognizer.glance), "focus": tensors_hash(recognizer.focus),
        "index": run.clips.train.index.hash(), "epochs": epochs, "rate": rate, "sgd": asdict(sgd),
    }  # fmt: skip
    if is_finished(run, FULL_FRAME.name):
        classifier, found = load_classifier(run, FULL_FRAME.name, recognizer.classifier)
        if all(found.get(key) == value for key, value in manifest.items()):
            return classifier
    seed_all(config.seed, FULL_FRAME.name)
    classifier = run.new_recognizer(with_weights=False).classifier
    if isinstance(classifier, AveragingClassifier):  # it had a beginning of its own in stage 0
        classifier.load_state_dict(recognizer.classifier.state_dict())
    source = features.training(config.stage3.features)
    train_full_frame_classifier(run, classifier, source, epochs=epochs, rate=rate, sgd=sgd)
    save_classifier(run, FULL_FRAME.name, classifier, manifest)
    return classifier.eval()
