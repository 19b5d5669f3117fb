"""Entry points of ``gymnasium.make("adafocus_rl:AdaFocus/…", run="RUN")``: environments of a run, or of objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from gymnasium.vector import AutoresetMode

from adafocus_rl.envs import (
    FrameSelectionEnv,
    FrameSelectionVectorEnv,
    FrameSkippingEnv,
    FrameSkippingVectorEnv,
    LastCropEnv,
    LastCropVectorEnv,
    PatchSelectionVectorEnv,
    Policy,
    RewardConfig,
)
from adafocus_rl.envs.frames import ClipFrames, Frames
from adafocus_rl.envs.single import DecisionEnv, PatchSelectionEnv, RenderMode
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.run.clips import check_videos
from adafocus_rl.experiments.run.features import open_bank
from adafocus_rl.experiments.run.handover import load_agent, load_recognizer
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.runtime import use_threads
from adafocus_rl.experiments.run.steps import RANDOM_PATCHES
from adafocus_rl.features import FeatureSource, LiveFeatures
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.models.recognizer import Recognizer

Split = Literal["train", "val"]
EnvT = TypeVar("EnvT")


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """The parts of a run that environments are built from."""

    run: Run
    """The run."""

    recognizer: Recognizer
    """The recognizer after stage I, in evaluation mode."""

    source: FeatureSource
    """Features of the split's videos."""

    frames: Frames
    """The clips, as frames to draw on."""


def open_features(run: str | Path, *, split: Split = "train", features: Literal["bank", "live"] = "bank") -> OpenRun:
    """Open a run's recognizer and the features of a split, without writing anything or starting a process.

    The bank does not need the video files. It needs the lists, to check that the bank was built from them.

    Args:
        run: the run folder.
        split: training or validation videos, with the evaluation transforms; live training videos are augmented.
        features: ``bank`` reads the run's feature bank, ``live`` runs the encoders.

    Raises:
        UserError: if there is no such run or split, stage I, a list or the bank is missing, the bank is stale or
            incomplete, or none of the videos for live features can be decoded.
    """
    if split not in ("train", "val") or features not in ("bank", "live"):
        raise UserError(f"split is {split!r} and features {features!r}; give 'train' or 'val', and 'bank' or 'live'")
    opened = Run.open(run)
    recognizer = load_recognizer(opened, RANDOM_PATCHES.name)
    if features == "bank":
        dataset = opened.clips.train_still if split == "train" else opened.clips.val
        source: FeatureSource = open_bank(opened, recognizer, split, build=False)
    else:
        dataset = opened.clips.train if split == "train" else opened.clips.val
        opened.clips.note_failures(check_videos(dataset, opened.lists[split]))
        source = LiveFeatures(recognizer, dataset, device=opened.device)
    return OpenRun(run=opened, recognizer=recognizer, source=source, frames=ClipFrames(dataset))


def make_patch_selection(
    *,
    run: str | Path | None = None,
    split: Split = "train",
    features: Literal["bank", "live"] = "bank",
    source: FeatureSource | None = None,
    classifier: Classifier | None = None,
    render_mode: RenderMode | None = None,
    flatten: bool = True,
    frames: Frames | None = None,
    **options: Any,
) -> PatchSelectionEnv:
    """Make ``AdaFocus/PatchSelection-v0``.

    Args:
        run: a run folder; its recognizer after stage I, features, reward and seed are used.
        split: the run's split, ``train`` or ``val``.
        features: the run's ``bank``, or ``live`` features from the encoders.
        source: features to use instead of a run.
        classifier: f_C, with ``source``.
        render_mode: ``rgb_array`` or ``human``.
        flatten: False keeps maps (C, h, w).
        frames: frames to draw on; None uses the run's clips.
        **options: arguments of ``PatchSelectionVectorEnv``, which override the run's; ``reward`` may be the name of a
            reward.

    Raises:
        UserError: unless either a run or objects are given, or as ``open_features``.
    """
    options = {**options, "num_envs": 1, "autoreset_mode": AutoresetMode.DISABLED}
    env, clips = _patch_selection(run, split, features, source, classifier, options)
    return PatchSelectionEnv(env, render_mode=render_mode, flatten=flatten, frames=clips if frames is None else frames)


def make_patch_selection_vec(
    *,
    num_envs: int = 1,
    run: str | Path | None = None,
    split: Split = "train",
    features: Literal["bank", "live"] = "bank",
    source: FeatureSource | None = None,
    classifier: Classifier | None = None,
    **options: Any,
) -> PatchSelectionVectorEnv:
    """Make ``AdaFocus/PatchSelection-v0`` for ``gymnasium.make_vec``: device tensors; ``to_numpy(env)`` for NumPy.

    Arguments are those of ``make_patch_selection``, without the ones for pictures and flat maps, and ``num_envs``, B.

    Raises:
        UserError: as ``make_patch_selection``.
    """
    env, _ = _patch_selection(run, split, features, source, classifier, {**options, "num_envs": num_envs})
    return env


def _patch_selection(
    run: str | Path | None,
    split: Split,
    features: Literal["bank", "live"],
    source: FeatureSource | None,
    classifier: Classifier | None,
    options: dict[str, Any],
) -> tuple[PatchSelectionVectorEnv, Frames | None]:
    if isinstance(options.get("reward"), str):
        options = {**options, "reward": RewardConfig(kind=options["reward"])}
    if run is not None and source is None and classifier is None:
        opened = open_features(run, split=split, features=features)
        options = {"frames": opened.frames, **options}
        return opened.run.env(opened.source, opened.recognizer.classifier, **options), opened.frames
    env = _of_source(
        PatchSelectionVectorEnv, "PatchSelection", run=run, source=source, classifier=classifier, **options
    )
    return env, None


def make_frame_skipping(
    *,
    lambda_: float,
    run: str | Path | None = None,
    split: Split = "train",
    features: Literal["bank", "live"] = "bank",
    patches: PatchSelectionVectorEnv | None = None,
    policy: Policy | None = None,
    render_mode: RenderMode | None = None,
    flatten: bool = True,
    frames: Frames | None = None,
    **options: Any,
) -> FrameSkippingEnv:
    """Make ``AdaFocus/FrameSkipping-v0``.

    Args:
        lambda_: λ, in probability of the true class.
        run: a run folder; its recognizer after stage I, features and seed are used, and its agent as π.
        split: the run's split, ``train`` or ``val``.
        features: the run's ``bank``, or ``live`` features from the encoders.
        patches: π's environment, to use instead of a run.
        policy: frozen π, with ``patches``.
        render_mode: ``rgb_array`` or ``human``.
        flatten: False keeps maps (C, h, w).
        frames: frames to draw on; None uses the run's clips.
        **options: arguments of ``FrameSkippingVectorEnv``.

    Raises:
        UserError: unless either a run or objects are given, if the run has not finished stage II, or as
            ``open_features``.
    """
    options = {**options, "num_envs": 1, "autoreset_mode": AutoresetMode.DISABLED}
    env, clips = _frame_skipping(run, split, features, patches, policy, lambda_, options)
    return FrameSkippingEnv(env, render_mode=render_mode, flatten=flatten, frames=clips if frames is None else frames)


def make_frame_skipping_vec(
    *,
    lambda_: float,
    num_envs: int = 1,
    run: str | Path | None = None,
    split: Split = "train",
    features: Literal["bank", "live"] = "bank",
    patches: PatchSelectionVectorEnv | None = None,
    policy: Policy | None = None,
    **options: Any,
) -> FrameSkippingVectorEnv:
    """Make ``AdaFocus/FrameSkipping-v0`` for ``gymnasium.make_vec``: device tensors; ``to_numpy(env)`` for NumPy.

    Arguments are those of ``make_frame_skipping``, without the ones for pictures and flat maps, and ``num_envs``, B.

    Raises:
        UserError: as ``make_frame_skipping``.
    """
    options = {**options, "num_envs": num_envs}
    return _frame_skipping(run, split, features, patches, policy, lambda_, options)[0]


def _frame_skipping(
    run: str | Path | None,
    split: Split,
    features: Literal["bank", "live"],
    patches: PatchSelectionVectorEnv | None,
    policy: Policy | None,
    lambda_: float,
    options: dict[str, Any],
) -> tuple[FrameSkippingVectorEnv, Frames | None]:
    clips = None
    if run is not None and patches is None and policy is None:
        opened = open_features(run, split=split, features=features)
        patches = opened.run.env(opened.source, opened.recognizer.classifier)
        policy = load_agent(opened.run, patches)
        clips = opened.frames
    else:
        use_threads()
    if patches is None or policy is None or (run is not None and clips is None):
        raise UserError(
            "AdaFocus/FrameSkipping-v0 is made either from a run folder or from objects; give run='RUN', or patches=… "
            "(a PatchSelectionVectorEnv) and policy=…"
        )
    return FrameSkippingVectorEnv(patches, policy, lambda_=lambda_, **{"frames": clips, **options}), clips


def make_frame_selection(
    *, render_mode: RenderMode | None = None, flatten: bool = True, frames: Frames | None = None, **options: Any
) -> FrameSelectionEnv:
    """Make ``AdaFocus/FrameSelection-v0``; ``options`` and errors are those of ``make_frame_selection_vec``."""
    env = make_frame_selection_vec(**{**options, "num_envs": 1, "autoreset_mode": AutoresetMode.DISABLED})
    return FrameSelectionEnv(env, render_mode=render_mode, flatten=flatten, frames=frames)


def make_frame_selection_vec(**options: Any) -> FrameSelectionVectorEnv:
    """Make ``AdaFocus/FrameSelection-v0`` for ``gymnasium.make_vec``; arguments are as in ``make_patch_selection``."""
    return _of_source(FrameSelectionVectorEnv, "FrameSelection", **options)


def make_last_crop(
    *, render_mode: RenderMode | None = None, flatten: bool = True, frames: Frames | None = None, **options: Any
) -> LastCropEnv:
    """Make ``AdaFocus/LastCrop-v0``; ``options`` and errors are those of ``make_last_crop_vec``."""
    env = make_last_crop_vec(**{**options, "num_envs": 1, "autoreset_mode": AutoresetMode.DISABLED})
    return LastCropEnv(env, render_mode=render_mode, flatten=flatten, frames=frames)


def make_last_crop_vec(**options: Any) -> LastCropVectorEnv:
    """Make ``AdaFocus/LastCrop-v0`` for ``gymnasium.make_vec``; arguments are as in ``make_patch_selection``."""
    if isinstance(options.get("reward"), str):
        options["reward"] = RewardConfig(kind=options["reward"])
    return _of_source(LastCropVectorEnv, "LastCrop", **options)


def _of_source(
    kind: Callable[..., EnvT],
    name: str,
    *,
    run: str | Path | None = None,
    split: Split = "train",
    features: Literal["bank", "live"] = "bank",
    source: FeatureSource | None = None,
    classifier: Classifier | None = None,
    **options: Any,
) -> EnvT:
    """Return a vector environment on the features and the f_C of a run, or on given ones."""
    if run is not None and source is None and classifier is None:
        opened = open_features(run, split=split, features=features)
        options = {"frames": opened.frames, "seed": opened.run.config.seed, **options}
        return kind(opened.source, opened.recognizer.classifier, **options)
    if run is None and source is not None and classifier is not None:
        use_threads()
        return kind(source, classifier, **options)
    raise UserError(
        f"AdaFocus/{name}-v0 is made either from a run folder or from objects; give run='RUN', or source=… and "
        "classifier=…"
    )


for _maker in (make_patch_selection, make_frame_skipping, make_frame_selection, make_last_crop):
    _maker.metadata = DecisionEnv.metadata  # type: ignore[union-attr]  # Gymnasium reads it
