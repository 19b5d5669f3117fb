"""Entry points of ``gymnasium.make("adafocus_rl:AdaFocus/…")``: environments of a run, or of objects.

Without either, an environment uses the run that comes with the package, so that programs that know only an id work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from adafocus_rl.envs.frames import Frames
from adafocus_rl.envs.single import DecisionEnv, PatchSelectionEnv, RenderMode
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.run.handover import load_agent
from adafocus_rl.experiments.run.opened import OpenRun as OpenRun
from adafocus_rl.experiments.run.opened import open_features as open_features
from adafocus_rl.experiments.run.runtime import use_threads
from adafocus_rl.experiments.run.shipped import DEMO
from adafocus_rl.experiments.run.tables import Split
from adafocus_rl.features import FeatureSource
from adafocus_rl.models.classifiers import Classifier

EnvT = TypeVar("EnvT")


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
        run: a run folder; its recognizer after stage I, features, reward and seed are used. Without a run and objects,
            ``demo:``, the run that comes with the package.
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
        UserError: if both a run and objects are given, or as ``open_features``.
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
    if source is not None and classifier is not None and run is None:
        use_threads()
        return PatchSelectionVectorEnv(source, classifier, **options), None
    opened = _open("PatchSelection", run, split, features, {"source=…": source, "classifier=…": classifier})
    options = {"frames": opened.frames, **options}
    return opened.run.env(opened.source, opened.recognizer.classifier, **options), opened.frames


def make_frame_skipping(
    *,
    lambda_: float | None = None,
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
        lambda_: λ, in probability of the true class; None uses the first of the run's ``skip.lambdas``.
        run: a run folder; its recognizer after stage I, features and seed are used, and its agent as π. Without a run
            and objects, ``demo:``, the run that comes with the package.
        split: the run's split, ``train`` or ``val``.
        features: the run's ``bank``, or ``live`` features from the encoders.
        patches: π's environment, to use instead of a run.
        policy: frozen π, with ``patches``.
        render_mode: ``rgb_array`` or ``human``.
        flatten: False keeps maps (C, h, w).
        frames: frames to draw on; None uses the run's clips.
        **options: arguments of ``FrameSkippingVectorEnv``.

    Raises:
        UserError: if both a run and objects are given, the run has not finished stage II, there is no λ, or as
            ``open_features``.
    """
    options = {**options, "num_envs": 1, "autoreset_mode": AutoresetMode.DISABLED}
    env, clips = _frame_skipping(run, split, features, patches, policy, lambda_, options)
    return FrameSkippingEnv(env, render_mode=render_mode, flatten=flatten, frames=clips if frames is None else frames)


def make_frame_skipping_vec(
    *,
    lambda_: float | None = None,
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
    lambda_: float | None,
    options: dict[str, Any],
) -> tuple[FrameSkippingVectorEnv, Frames | None]:
    clips = None
    if patches is not None and policy is not None and run is None:
        use_threads()
    else:
        given = {"patches=… (a PatchSelectionVectorEnv)": patches, "policy=…": policy}
        opened = _open("FrameSkipping", run, split, features, given)
        patches = opened.run.env(opened.source, opened.recognizer.classifier)
        policy = load_agent(opened.run, patches)
        clips = opened.frames
        lambda_ = next(iter(opened.run.config.skip.lambdas), None) if lambda_ is None else lambda_
    if lambda_ is None:
        raise UserError("AdaFocus/FrameSkipping-v0 needs λ, the cost of a frame that is kept; give lambda_=0.01, say")
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
    if source is not None and classifier is not None and run is None:
        use_threads()
        return kind(source, classifier, **options)
    opened = _open(name, run, split, features, {"source=…": source, "classifier=…": classifier})
    options = {"frames": opened.frames, "seed": opened.run.config.seed, **options}
    return kind(opened.source, opened.recognizer.classifier, **options)


def _open(
    name: str, run: str | Path | None, split: Split, features: Literal["bank", "live"], objects: Mapping[str, object]
) -> OpenRun:
    """Open the run of an environment, or the one that comes with the package if neither a run nor objects are given.

    Raises:
        UserError: if any of the objects is given.
    """
    if any(given is not None for given in objects.values()):
        raise UserError(
            f"AdaFocus/{name}-v0 is made either from a run folder or from objects; give run='RUN', or "
            f"{' and '.join(objects)}"
        )
    return open_features(DEMO if run is None else run, split=split, features=features)


for _maker in (make_patch_selection, make_frame_skipping, make_frame_selection, make_last_crop):
    _maker.metadata = DecisionEnv.metadata  # type: ignore[union-attr]  # Gymnasium reads it
