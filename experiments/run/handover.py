"""What one stage leaves for the next: finished checkpoints in the run folder."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from adafocus_rl import checkpoint
from adafocus_rl.agents import Agent
from adafocus_rl.data.class_names import ClassNames
from adafocus_rl.envs import DecisionVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.experiment import ExperimentConfig
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.run import Run, make_env
from adafocus_rl.experiments.run.steps import POLICY
from adafocus_rl.features import GivenClips
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.models.saving import recognizer_manifest, recognizer_tensors, restore_recognizer


def is_finished(run: Run, name: str) -> bool:
    """Whether ``stage0``, ``stage1``, … has left its checkpoint."""
    return run.folder.checkpoint(name).is_file()


def forget_progress(run: Run, name: str) -> None:
    """Remove the checkpoints from which an unfinished stage would resume: its finished one is written."""
    for path in run.folder.checkpoints.glob(f"{name}.*resume.*"):
        path.unlink()


def save_recognizer(run: Run, name: str, recognizer: Recognizer) -> None:
    """End stage 0 or I."""
    write_recognizer(run.folder, name, recognizer, class_names=run.class_names)
    forget_progress(run, name)


def write_recognizer(
    run: RunFolder, name: str, recognizer: Recognizer, *, class_names: Sequence[str] | None = None
) -> None:
    """The checkpoint of a recognizer after stage 0 or I, wherever it comes from.

    Args:
        run: the folder.
        name: ``stage0`` or ``stage1``.
        recognizer: what to write.
        class_names: what its labels mean, in their order; None when nobody knows.
    """
    manifest = {
        **recognizer_manifest(recognizer),
        "kind": "recognizer",
        "stage": name,
        "class_names": None if class_names is None else [*class_names],
    }
    checkpoint.save(run.checkpoint(name), tensors=recognizer_tensors(recognizer), manifest=manifest)


def load_recognizer(run: Run, name: str) -> Recognizer:
    """The recognizer after stage 0 or I, in evaluation mode.

    Raises:
        UserError: there is no checkpoint, or it is of another architecture, or its classes are not those of the lists.
    """
    path = required_checkpoint(run, name)
    tensors, manifest = checkpoint.load(path, device=run.device)
    _check_classes(run, path, manifest)
    recognizer = run.new_recognizer(with_weights=False)
    restore_recognizer(recognizer, tensors, manifest, what=str(path))
    return recognizer.eval()


def saved_class_names(manifest: Mapping[str, Any]) -> list[str] | None:
    """The class names that a recognizer's checkpoint keeps; None where it keeps none."""
    names = manifest.get("class_names")
    return [str(name) for name in names] if isinstance(names, list) else None


def _check_classes(run: Run, path: Path, manifest: Mapping[str, Any]) -> None:
    """A list may have changed since, and with it what the labels mean.

    Raises:
        UserError: naming the first class that is another one.
    """
    saved, now = saved_class_names(manifest), run.class_names
    if saved is None or now is None:
        return
    known = ClassNames(names=tuple(saved), source=str(path))
    source = str(run.config.data.train_list or "the training list")
    difference = known.difference(ClassNames(names=tuple(now), source=source))
    if difference is not None:
        raise UserError(
            f"the classes are not those that {run.folder.path} was trained with: {difference}; put the list and its "
            "class names back as they were, or train again"
        )


def save_agent(run: Run, agent: Agent, name: str = POLICY.name) -> None:
    """End the training of π, or of a π′."""
    agent.save(run.folder.checkpoint(name))
    forget_progress(run, name)


def load_agent(run: Run, env: DecisionVectorEnv, name: str | None = None) -> Agent:
    """Load the run's trained agent, or make one of another class that has nothing to learn.

    Args:
        run: the run.
        env: an environment like those in which the agent will act.
        name: class of the agent; None takes the run's.

    Raises:
        UserError: there is no checkpoint, or it is of another agent or architecture.
    """
    agent = run.new_agent(env, name)
    return type(agent).load(required_checkpoint(run, POLICY.name), env) if agent.learns else agent


def blank_env(config: ExperimentConfig, recognizer: Recognizer) -> PatchSelectionVectorEnv:
    """The environment of a configuration without videos: for the spaces of agents that act elsewhere."""
    side = recognizer.grid.frame_size
    clips = torch.zeros(1, config.data.num_frames, 3, side, side, dtype=torch.uint8)
    return make_env(config, GivenClips(recognizer, clips), recognizer.classifier, num_envs=1)


def save_classifier(run: Run, name: str, classifier: Classifier, manifest: dict[str, object]) -> None:
    """End stage III, or the training of the whole-frame row's f_C."""
    write_classifier(run.folder, name, classifier, manifest)
    forget_progress(run, name)


def write_classifier(run: RunFolder, name: str, classifier: Classifier, manifest: dict[str, object]) -> None:
    """The checkpoint of an f_C, wherever it comes from."""
    tensors = {f"classifier.{key}": value for key, value in classifier.state_dict().items()}
    checkpoint.save(run.checkpoint(name), tensors=tensors, manifest={**manifest, "kind": "classifier", "stage": name})


def load_classifier(run: Run, name: str, like: Classifier) -> tuple[Classifier, dict[str, object]]:
    """f_C as it was saved, in evaluation mode, and its manifest.

    Args:
        run: the run.
        name: ``stage3``, that of a π′, or ``full_frame``.
        like: an f_C of the same architecture; not changed.

    Raises:
        UserError: there is no checkpoint, or it is of another architecture.
    """
    path = required_checkpoint(run, name)
    tensors, manifest = checkpoint.load(path, device=run.device)
    classifier = copy.deepcopy(like)
    checkpoint.load_into(classifier, tensors, prefix="classifier.", what=str(path))
    return classifier.eval(), manifest


def required_checkpoint(run: Run, name: str) -> Path:
    """Return the checkpoint of a finished step.

    Raises:
        UserError: the step was not run.
    """
    path = run.folder.checkpoint(name)
    if not path.is_file():
        number = name.removeprefix("stage").split(".")[0]
        raise UserError(f"there is no checkpoint {path} to start from; run stage {number} first: add it to --stages")
    return path
