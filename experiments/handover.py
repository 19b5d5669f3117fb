"""What one stage leaves for the next: finished checkpoints in the run folder."""

from __future__ import annotations

import copy
from pathlib import Path

from adafocus_rl import checkpoint
from adafocus_rl.agents import Agent
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.context import Context
from adafocus_rl.experiments.run_folder import RunFolder
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.models.saving import recognizer_manifest, recognizer_tensors, restore_recognizer


def is_finished(context: Context, name: str) -> bool:
    """Whether ``stage0``, ``stage1``, … has left its checkpoint."""
    return context.run.checkpoint(name).is_file()


def forget_progress(context: Context, name: str) -> None:
    """Removes the checkpoints from which an unfinished stage would resume: its finished one is written."""
    for path in context.run.checkpoints.glob(f"{name}.*resume.*"):
        path.unlink()


def save_recognizer(context: Context, name: str, recognizer: Recognizer) -> None:
    """Ends stage 0 or I."""
    write_recognizer(context.run, name, recognizer)
    forget_progress(context, name)


def write_recognizer(run: RunFolder, name: str, recognizer: Recognizer) -> None:
    """The checkpoint of a recognizer after stage 0 or I, wherever it comes from."""
    manifest = {**recognizer_manifest(recognizer), "kind": "recognizer", "stage": name}
    checkpoint.save(run.checkpoint(name), tensors=recognizer_tensors(recognizer), manifest=manifest)


def load_recognizer(context: Context, name: str) -> Recognizer:
    """The recognizer after stage 0 or I, in evaluation mode.

    Raises:
        UserError: there is no checkpoint, or it is of another architecture.
    """
    path = _required(context, name)
    tensors, manifest = checkpoint.load(path, device=context.device)
    recognizer = context.recognizer(with_weights=False)
    restore_recognizer(recognizer, tensors, manifest, what=str(path))
    return recognizer.eval()


def save_agent(context: Context, agent: Agent, name: str = "stage2") -> None:
    """Ends the training of π, or of a π′."""
    agent.save(context.run.checkpoint(name))
    forget_progress(context, name)


def load_agent(context: Context, untrained: Agent, name: str = "stage2") -> Agent:
    """The run's trained agent, on the environment of ``untrained``; that one itself when it has nothing to learn.

    Args:
        context: the run.
        untrained: an agent of the same class.
        name: ``stage2`` for π; the checkpoint of a π′.

    Raises:
        UserError: there is no checkpoint, or it is of another agent or architecture.
    """
    if not untrained.learns:
        return untrained
    return type(untrained).load(_required(context, name), untrained.env)


def save_classifier(context: Context, name: str, classifier: Classifier, manifest: dict[str, object]) -> None:
    """Ends stage III, or the training of the whole-frame row's f_C."""
    write_classifier(context.run, name, classifier, manifest)
    forget_progress(context, name)


def write_classifier(run: RunFolder, name: str, classifier: Classifier, manifest: dict[str, object]) -> None:
    """The checkpoint of an f_C, wherever it comes from."""
    tensors = {f"classifier.{key}": value for key, value in classifier.state_dict().items()}
    checkpoint.save(run.checkpoint(name), tensors=tensors, manifest={**manifest, "kind": "classifier", "stage": name})


def load_classifier(context: Context, name: str, like: Classifier) -> tuple[Classifier, dict[str, object]]:
    """f_C as it was saved, in evaluation mode, and its manifest.

    Args:
        context: the run.
        name: ``stage3``, that of a π′, or ``full_frame``.
        like: an f_C of the same architecture; not changed.

    Raises:
        UserError: there is no checkpoint, or it is of another architecture.
    """
    path = _required(context, name)
    tensors, manifest = checkpoint.load(path, device=context.device)
    classifier = copy.deepcopy(like)
    checkpoint.load_into(classifier, tensors, prefix="classifier.", what=str(path))
    return classifier.eval(), manifest


def _required(context: Context, name: str) -> Path:
    path = context.run.checkpoint(name)
    if not path.is_file():
        number = name.removeprefix("stage").split(".")[0]
        raise UserError(f"there is no checkpoint {path} to start from; run stage {number} first: add it to --stages")
    return path
