"""Final checkpoints of the stages in the run folder, from which later stages start."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from adafocus_rl import checkpoint, ranks
from adafocus_rl.agents import Agent
from adafocus_rl.data.class_names import ClassNames, read_class_names
from adafocus_rl.envs import DecisionVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.experiment import ExperimentConfig
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.run import Run, make_env
from adafocus_rl.experiments.run.steps import POLICY, RANDOM_PATCHES
from adafocus_rl.features import GivenClips
from adafocus_rl.folders import sync_folder
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.models.saving import recognizer_manifest, recognizer_tensors, restore_recognizer
from adafocus_rl.record import EpisodeRecord


def is_finished(run: Run, name: str) -> bool:
    """Return whether ``stage0``, ``stage1``, … has written its final checkpoint."""
    return run.folder.checkpoint(name).is_file()


def forget_progress(run: Run, name: str) -> None:
    """Remove the checkpoints for resuming a stage, whose final checkpoint has been written."""

    def forget() -> None:
        for path in run.folder.checkpoints.glob(f"{name}.*resume.*"):
            path.unlink(missing_ok=True)
        # Nobody looks for them once the results are written.
        sync_folder(run.folder.checkpoints)

    ranks.first(forget)


def finish_step(run: Run, name: str, write: Callable[[], object]) -> None:
    """Write the final checkpoint of a step, and remove the checkpoints for resuming it.

    Args:
        run: the run.
        name: name of the step.
        write: writes the checkpoint. In a job of several ranks, the first one calls it, and the others wait.
    """

    def finish() -> None:
        write()
        forget_progress(run, name)

    ranks.first(finish)


def save_recognizer(run: Run, name: str, recognizer: Recognizer) -> None:
    """Save the recognizer at the end of stage 0 or I, and remove the checkpoints for resuming it."""
    finish_step(run, name, lambda: write_recognizer(run.folder, name, recognizer, class_names=run.class_names))


def write_recognizer(
    run: RunFolder, name: str, recognizer: Recognizer, *, class_names: Sequence[str] | None = None
) -> None:
    """Write a recognizer as the final checkpoint of stage 0 or I, whether trained or imported.

    Args:
        run: the folder.
        name: ``stage0`` or ``stage1``.
        recognizer: the recognizer.
        class_names: class names in the order of the labels; None if unknown.
    """
    manifest = {
        **recognizer_manifest(recognizer),
        "kind": "recognizer",
        "stage": name,
        "class_names": None if class_names is None else [*class_names],
    }
    checkpoint.save(run.checkpoint(name), tensors=recognizer_tensors(recognizer), manifest=manifest)


def load_recognizer(run: Run, name: str) -> Recognizer:
    """Load the recognizer of stage 0 or I in evaluation mode.

    Raises:
        UserError: if there is no checkpoint, its architecture differs, or its classes are not those of the lists.
    """
    path = required_checkpoint(run, name)
    tensors, manifest = checkpoint.load(path, device=run.device)
    _check_classes(run, path, manifest)
    recognizer = run.new_recognizer(with_weights=False)
    restore_recognizer(recognizer, tensors, manifest, what=str(path))
    return recognizer.eval()


def saved_class_names(manifest: Mapping[str, Any]) -> list[str] | None:
    """Return the class names in the manifest of a recognizer's checkpoint; None if it has none."""
    names = manifest.get("class_names")
    return [str(name) for name in names] if isinstance(names, list) else None


def _check_classes(run: Run, path: Path, manifest: Mapping[str, Any]) -> None:
    """Check that the lists' classes are those of the checkpoint: a list may have changed since training.

    Raises:
        UserError: if they differ; the message names the first difference.
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
    """Save π or a π′ at the end of its training, and remove the checkpoints for resuming it."""
    finish_step(run, name, lambda: agent.save(run.folder.checkpoint(name)))


def load_agent(run: Run, env: DecisionVectorEnv, name: str | None = None) -> Agent:
    """Load the run's trained agent; an agent that does not learn is created instead.

    Args:
        run: the run.
        env: an environment like those in which the agent will act.
        name: another agent, as in ``Run.new_agent``; None uses the run's.

    Raises:
        UserError: if there is no checkpoint, its agent or architecture differs, or options are given that training
            would have needed.
    """
    agent = run.new_agent(env, name)
    if agent.learns and name is not None and ":" in name:
        raise UserError(
            f"{name!r} has options, but this agent learns, so they would need another training: "
            "`adafocus compare RUN --agents` trains it with them"
        )
    return type(agent).load(required_checkpoint(run, POLICY.name), env) if agent.learns else agent


def blank_env(config: ExperimentConfig, recognizer: Recognizer) -> PatchSelectionVectorEnv:
    """Return the configuration's environment on one blank clip, for creating agents without videos."""
    side = recognizer.grid.frame_size
    clips = torch.zeros(1, config.data.num_frames, 3, side, side, dtype=torch.uint8)
    return make_env(config, GivenClips(recognizer, clips), recognizer.classifier, num_envs=1)


def save_classifier(run: Run, name: str, classifier: Classifier, manifest: dict[str, object]) -> None:
    """Save f_C at the end of stage III or of the whole-frame training, and remove the checkpoints for resuming it."""
    finish_step(run, name, lambda: write_classifier(run.folder, name, classifier, manifest))


def write_classifier(run: RunFolder, name: str, classifier: Classifier, manifest: dict[str, object]) -> None:
    """Write an f_C as the final checkpoint of a step, whether trained or imported."""
    tensors = {f"classifier.{key}": value for key, value in classifier.state_dict().items()}
    checkpoint.save(run.checkpoint(name), tensors=tensors, manifest={**manifest, "kind": "classifier", "stage": name})


def load_classifier(run: Run, name: str, like: Classifier) -> tuple[Classifier, dict[str, object]]:
    """Load a saved f_C in evaluation mode, and its manifest.

    Args:
        run: the run.
        name: ``stage3``, the stage III step of a π′, or ``full_frame``.
        like: an f_C of the same architecture; not changed.

    Raises:
        UserError: if there is no checkpoint, or its architecture differs.
    """
    path = required_checkpoint(run, name)
    tensors, manifest = checkpoint.load(path, device=run.device)
    classifier = copy.deepcopy(like)
    checkpoint.load_into(classifier, tensors, prefix="classifier.", what=str(path))
    return classifier.eval(), manifest


def required_checkpoint(run: Run, name: str) -> Path:
    """Return the path of a finished step's checkpoint.

    Raises:
        UserError: if there is no checkpoint.
    """
    path = run.folder.checkpoint(name)
    if not path.is_file():
        number = name.removeprefix("stage").split(".")[0]
        raise UserError(f"there is no checkpoint {path} to start from; run stage {number} first: add it to --stages")
    return path


def class_names_of(run: Run) -> list[str]:
    """Return K class names: those saved at training, else the episode record's or the class file's, else numbers."""
    count, listed = run.config.model.num_classes, run.config.data.classes
    names = saved_class_names(checkpoint.load(run.folder.checkpoint(RANDOM_PATCHES.name))[1])
    if names is None and run.folder.episodes.is_file():
        names = EpisodeRecord.load(run.folder.episodes).class_names
    if names is None and listed and Path(listed).is_file():
        names = [*read_class_names(Path(listed)).names]
    return [*(names or [])[:count], *(str(number) for number in range(len(names or []), count))]
