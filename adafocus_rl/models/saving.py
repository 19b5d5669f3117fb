"""Saving a recogniser to a checkpoint, and loading it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adafocus_rl import checkpoint
from adafocus_rl.errors import UserError
from adafocus_rl.models.config import ModelConfig
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.plain import build

PREFIX = "recognizer."

ADDED = {"patch_scales": [1.0]}
"""Entries of the signature that checkpoints of earlier versions lack, with the values that they stand for."""


def recognizer_tensors(recognizer: Recognizer) -> dict[str, Tensor]:
    """Parameters and batch statistics, with the prefix ``recognizer.``; they share memory with the module."""
    return {PREFIX + name: tensor.detach() for name, tensor in recognizer.state_dict().items()}


def recognizer_manifest(recognizer: Recognizer) -> dict[str, Any]:
    """Entries of a checkpoint's manifest from which the recogniser can be rebuilt."""
    return {"model": asdict(recognizer.config), "signature": recognizer.signature()}


def save_recognizer(path: Path, recognizer: Recognizer, *, manifest: Mapping[str, Any] | None = None) -> None:
    """Write a checkpoint that contains only the recogniser.

    Args:
        path: the file.
        recognizer: the recogniser to save.
        manifest: additional plain values.
    """
    content = {**(manifest or {}), **recognizer_manifest(recognizer)}
    checkpoint.save(path, tensors=recognizer_tensors(recognizer), manifest=content)


def restore_recognizer(
    recognizer: Recognizer, tensors: Mapping[str, Tensor], manifest: Mapping[str, Any], *, what: str
) -> None:
    """Load a checkpoint's tensors into a recogniser, in place.

    Args:
        recognizer: a recogniser with the checkpoint's architecture.
        tensors: the checkpoint's tensors; those of other objects are ignored.
        manifest: the checkpoint's manifest.
        what: the checkpoint's name, for the message.

    Raises:
        UserError: the checkpoint holds no recogniser, or one of another architecture; the message names the first
            difference.
    """
    found = manifest.get("signature")
    if not isinstance(found, Mapping):
        raise _no_recognizer(what)
    found = {**ADDED, **found}
    for name, expected in recognizer.signature().items():
        if found.get(name) != expected:
            raise UserError(
                f"checkpoint {what} was made with another architecture: {name} is {found.get(name)!r} there "
                f"and {expected!r} here; use the configuration it was trained with, or train anew"
            )
    checkpoint.load_into(recognizer, tensors, prefix=PREFIX, what=what)


def load_recognizer(
    path: Path, *, device: torch.device | str = "cpu"
) -> tuple[Recognizer, dict[str, Tensor], dict[str, Any]]:
    """Load a recogniser from a checkpoint, in evaluation mode.

    Torch's global generator keeps its state. The configuration of the result names no weights files for the encoders:
    the original files may be gone, and the checkpoint holds the trained weights.

    Args:
        path: the file.
        device: device of the recogniser and the tensors.

    Returns:
        The recogniser, all tensors of the checkpoint, and its manifest.

    Raises:
        UserError: the file is missing, is not a checkpoint, or holds no recogniser.
    """
    tensors, manifest = checkpoint.load(path, device=device)
    if not isinstance(manifest.get("model"), Mapping):
        raise _no_recognizer(str(path))
    with checkpoint.reading(path):
        try:
            config = _config(manifest["model"])
            blank = _blank(config)
        except UserError as error:
            raise UserError(f"checkpoint {path} holds a recognizer that cannot be made here: {error}") from error
        if blank is not None:
            # Sizes are compared with those of the tensors before memory is allocated for them.
            checkpoint.check_fit(blank, tensors, prefix=PREFIX, what=str(path))
        with torch.random.fork_rng(devices=[]):  # the weights drawn here are overwritten
            recognizer = Recognizer(config).to(device)
    restore_recognizer(recognizer, tensors, manifest, what=str(path))
    return recognizer.eval(), tensors, manifest


def _no_recognizer(what: str) -> UserError:
    return UserError(f"checkpoint {what} holds no recognizer; give one that a training stage has written")


def _blank(config: ModelConfig) -> Recognizer | None:
    """Create the recogniser on the ``meta`` device; None if another package's encoder does not support that."""
    try:
        with torch.device("meta"):
            return Recognizer(config)
    except RuntimeError:
        return None


def _config(values: Mapping[str, Any]) -> ModelConfig:
    """Read the configuration from a manifest, without the encoders' weights files."""
    plain = dict(values)
    for name in ("glance", "focus"):
        plain[name] = {key: value for key, value in values[name].items() if key != "weights"}
    return build(ModelConfig, plain, "model")
