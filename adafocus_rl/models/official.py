"""Checkpoints of the public AdaFocus code, as tensors under our names.

A public checkpoint is a pickled dict that ``torch.save`` has written, ``FILE.pth.tar``: the state dicts of the parts
under ``glancer`` (f_G), ``focuser`` (f_L), ``fc`` (f_C) and ``policy`` (π), beside the epoch, accuracies, the optimiser
and the whole model a second time. AdaFocus-TSM's (Something-Something, Jester) differ in names and in that f_C is a
linear layer on f_L, to whose logits f_G's own are added. TSM's files, which AdaFocus-TSM starts from, hold one network
under ``state_dict``. Nothing in a file is taken on trust: the names and shapes that the architecture has must all be
there, and what is there besides is told.
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
    """What a public checkpoint holds."""

    path: Path
    """The file; of two the first."""
    family: Family
    """AdaFocus, AdaFocus-TSM, or TSM's networks that the latter starts from."""
    options: dict[str, Any]
    """What the shapes tell of a recipe's keys, by dotted name; the patch side is in no file."""
    recognizer: dict[str, Tensor]
    """Tensors by the names of a ``Recognizer``."""
    policy: dict[str, Tensor] = field(default_factory=dict)
    """Tensors by the names of π's network; empty before stage II."""
    unused: list[str] = field(default_factory=list)
    """Entries of the file that nothing was made of: heads of single frames, copies of π, the optimiser."""


def read_official(paths: Sequence[Path]) -> OfficialCheckpoint:
    """Reads a checkpoint of either family of the public code's experiments, of any stage; or TSM's networks.

    Args:
        paths: one file; or two of TSM's, one with each network, in any order.

    Raises:
        UserError: no such file, one that would run code when it is read, no such layout, or an architecture that is not
            AdaFocus's.
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
    """The tensors that a network needs, and no others.

    Args:
        path: the file, for messages.
        given: tensors under the network's names, and perhaps more.
        expected: its state dict; only names and shapes are looked at.
        part: what it is, for messages.

    Returns:
        A tensor for every name, float32 where it is floating point.

    Raises:
        UserError: names are missing (ten are told), or a shape is another.
    """
    # The count of batches is bookkeeping that old files lack and that no result depends on.
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
    # Both copies are the same after every update; the old one acts.
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
    """TSM's ResNet, or its MobileNet-V2 and its ResNet."""
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
    """f_C of the joined vectors whose logits are the sum of the heads'; the mean over frames is taken before."""
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
