"""Conversion of the public AdaFocus code's checkpoints to the tensor names of this package.

A public checkpoint, ``FILE.pth.tar``, is a pickled dict written by ``torch.save``. It holds the state dicts of the
parts under ``glancer`` (f_G), ``focuser`` (f_L), ``fc`` (f_C) and ``policy`` (π), and besides them the epoch,
accuracies, the optimiser and a second copy of the whole model. Checkpoints of AdaFocus-TSM (Something-Something,
Jester) use other names, and their f_C is a linear layer on f_L whose logits are added to f_G's own. TSM's files, from
which AdaFocus-TSM starts, hold one network under ``state_dict``. Files are not trusted: every name and shape of the
architecture must be present, and unused entries are reported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from adafocus_rl.errors import UserError
from adafocus_rl.models.official_files import load_untrusted, split, state_dict, torchvision_names
from adafocus_rl.models.torchvision_encoders import MobileNetV2Encoder

Family = Literal["adafocus", "adafocus_tsm", "tsm"]


@dataclass(frozen=True, kw_only=True)
class OfficialCheckpoint:
    """The content of a public checkpoint."""

    path: Path
    """The file; the first one if there are two."""
    family: Family
    """AdaFocus, AdaFocus-TSM, or the TSM networks from which the latter starts."""
    options: dict[str, Any]
    """Configuration values that follow from the shapes, by dotted key; no file holds the patch side."""
    recognizer: dict[str, Tensor]
    """Tensors under the names of a ``Recognizer``."""
    policy: dict[str, Tensor] = field(default_factory=dict)
    """Tensors under the names of π's network; empty before stage II."""
    unused: list[str] = field(default_factory=list)
    """Unused entries of the file: heads of single frames, copies of π, the optimiser."""


def read_official(paths: Sequence[Path]) -> OfficialCheckpoint:
    """Read a checkpoint of AdaFocus or AdaFocus-TSM from any stage, or TSM's networks.

    Args:
        paths: one file, or two TSM files with one network each, in any order.

    Raises:
        UserError: the file does not exist, would run code when loaded, or has another layout or architecture.
    """
    contents = [load_untrusted(path) for path in paths]
    networks = [split(state_dict(content.get("state_dict")), "base_model.") for content in contents]
    if all(body for _, body in networks):
        return _tsm(paths, contents, networks)
    if len(paths) > 1:
        raise UserError(
            f"{' and '.join(map(str, paths))} are not two of TSM's files with a state_dict of base_model; give one "
            "checkpoint of the public AdaFocus code"
        )
    return _adafocus(paths[0], contents[0])


def take(path: Path, given: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, part: str) -> dict[str, Tensor]:
    """Select the tensors of a network.

    Args:
        path: the file, for messages.
        given: tensors under the network's names, possibly with others.
        expected: the network's state dict; only names and shapes are used.
        part: the network's name, for messages.

    Returns:
        A tensor for every name; floating-point tensors are converted to float32.

    Raises:
        UserError: names are missing (the message lists up to ten), or a shape differs.
    """
    # Batch counts are bookkeeping: old files lack them, and no result depends on them.
    missing = [name for name in expected if name not in given and not name.endswith("num_batches_tracked")]
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise UserError(
            f"{path} lacks weights of {part}: {', '.join(missing[:10])}{more}; give a whole checkpoint of this network"
        )
    for name, tensor in expected.items():
        if name in given and given[name].shape != tensor.shape:
            raise UserError(
                f"{path} has {part}'s {name} in shape {tuple(given[name].shape)}, expected {tuple(tensor.shape)}; give "
                "the options that it was trained with, or another checkpoint"
            )
    zero = torch.zeros((), dtype=torch.int64)
    found = {name: given.get(name, zero) for name in expected}
    return {name: value.float() if value.is_floating_point() else value for name, value in found.items()}


def _adafocus(path: Path, content: Mapping[str, Any]) -> OfficialCheckpoint:
    parts = {name: state_dict(content.get(name)) for name in ("glancer", "focuser", "fc", "policy")}
    lacking = [name for name in ("glancer", "focuser", "fc") if not parts[name]]
    if lacking:
        raise UserError(
            f"{path} has no weights under {' and '.join(lacking)}, it has {', '.join(content) or 'nothing'}; give a "
            "checkpoint of the public AdaFocus code with glancer, focuser and fc"
        )
    unused = [name for name in content if name not in parts]
    focuser, copies = split(parts["focuser"], "policy.")
    unused += [f"focuser.policy.{name}" for name in copies]
    # Both copies are equal after every update; the old one selects actions.
    policy = parts["policy"] or split(copies, "policy_old.")[1]
    policy = {name.replace("actor.0.", "actor.").replace("critic.0.", "critic."): v for name, v in policy.items()}
    clipwise = any(name.startswith("net.base_model.") for name in focuser)
    focuser, patch_head = split(focuser, "net.base_model.fc." if clipwise else "net.fc.")
    unused += [f"focuser.net.fc.{name}" for name in patch_head]
    glancer, glance_head = split(parts["glancer"], "net.classifier.")
    recognizer = _encoder("glance", split(glancer, "net.")[1])
    recognizer |= _encoder("focus", split(focuser, "net.base_model." if clipwise else "net.")[1])
    if clipwise:
        recognizer |= _summed_heads(path, glance_head, parts["fc"])
    else:
        unused += [f"glancer.net.classifier.{name}" for name in glance_head]
        recognizer |= {f"classifier.{name}": value for name, value in parts["fc"].items()}
    return OfficialCheckpoint(
        path=path,
        family="adafocus_tsm" if clipwise else "adafocus",
        options=_classes(path, recognizer, clipwise=clipwise) | _policy(path, policy, clipwise=clipwise),
        recognizer=recognizer,
        policy=policy,
        unused=unused,
    )


def _tsm(
    paths: Sequence[Path],
    contents: Sequence[Mapping[str, Any]],
    networks: Sequence[tuple[dict[str, Tensor], dict[str, Tensor]]],
) -> OfficialCheckpoint:
    """Convert TSM's ResNet, or its MobileNet-V2 and its ResNet."""
    recognizer: dict[str, Tensor] = {}
    heads: dict[str, dict[str, Tensor]] = {}
    unused = []
    for content, (others, body) in zip(contents, networks, strict=True):
        part = "glance" if any(name.startswith("features.") for name in body) else "focus"
        if part in heads:
            raise UserError(f"{' and '.join(map(str, paths))} hold the same kind of network; give one file of each")
        recognizer |= _encoder(part, body)
        rest, heads[part] = split(others, "new_fc.")
        unused += [*(name for name in content if name != "state_dict"), *rest]
    if "focus" not in heads:
        raise UserError(f"{paths[0]} holds TSM's MobileNet-V2 alone; give the file with its ResNet-50 beside it")
    recognizer |= _summed_heads(paths[0], *(heads[part] for part in ("glance", "focus") if part in heads))
    options = _classes(paths[0], recognizer, clipwise=True)
    return OfficialCheckpoint(path=paths[0], family="tsm", options=options, recognizer=recognizer, unused=unused)


def _encoder(part: str, body: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{part}.net.{name}": value for name, value in torchvision_names(body).items()}


def _summed_heads(path: Path, *heads: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """f_C over the concatenated vectors whose logits are the sum of the heads'; frames are averaged before it."""
    weights = [_shaped(path, head, "weight", dims=2) for head in heads]
    biases = [_shaped(path, head, "bias", dims=1) for head in heads]
    if len({len(part) for part in (*weights, *biases)}) > 1:
        raise UserError(
            f"{path} has heads of {[len(part) for part in weights]} classes; expected the same number twice"
        )
    return {"classifier.fc.weight": torch.cat(weights, dim=1), "classifier.fc.bias": torch.stack(biases).sum(0)}


def _classes(path: Path, recognizer: Mapping[str, Tensor], *, clipwise: bool) -> dict[str, Any]:
    classes, width = _shaped(path, recognizer, "classifier.fc.weight", dims=2).shape
    return {"model.num_classes": classes} | ({} if clipwise else {"model.classifier.hidden": width})


def _policy(path: Path, policy: Mapping[str, Tensor], *, clipwise: bool) -> dict[str, Any]:
    if not policy:
        return {}
    linear = "state_encoder.4.weight" if "state_encoder.1.weight" in policy else "state_encoder.3.weight"
    outputs, hidden = _shaped(path, policy, "actor.weight", dims=2).shape
    reduced, stacked = _shaped(path, policy, "state_encoder.0.weight", dims=4).shape[:2]
    places = _shaped(path, policy, linear, dims=2).shape[1] // reduced
    grid, side = math.isqrt(outputs), math.isqrt(places)
    continuous = outputs == 2
    if side * side != places or not (continuous or grid * grid == outputs):
        raise UserError(
            f"{path} holds a policy with {outputs} actions on a map of {places} places; expected square numbers, or 2 "
            "coordinates"
        )
    options: dict[str, Any] = {
        "model.glance_size": 32 * side,  # f_G's stride
        "agent.reduced_channels": reduced,
        "agent.hidden": hidden,
        "env.action_space": "continuous" if continuous else "grid",
    }
    if not continuous:
        options["model.grid"] = grid
    if clipwise:
        options["model.glance.num_frames"] = stacked // MobileNetV2Encoder.map_channels
        options["agent.batch_norm"] = "state_encoder.1.weight" in policy
    return options


def _shaped(path: Path, tensors: Mapping[str, Tensor], name: str, *, dims: int) -> Tensor:
    if name not in tensors or tensors[name].ndim != dims:
        raise UserError(
            f"{path} has no {dims}-dimensional {name}, so it is not of AdaFocus's architecture; give a checkpoint of "
            "MobileNet-V2 and ResNet-50 with the paper's f_C and policy"
        )
    return tensors[name]
