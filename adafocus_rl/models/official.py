"""Checkpoints of the public AdaFocus code, as tensors under our names.

A public checkpoint is a pickled dict that ``torch.save`` has written, ``FILE.pth.tar``: the state dicts of the parts
under ``glancer`` (f_G), ``focuser`` (f_L), ``fc`` (f_C) and ``policy`` (π), beside the epoch, accuracies, the optimiser,
and the whole model a second time. It is read without running code, and nothing of it is taken on trust: the names and
shapes that the architecture has must all be there, and what is there besides is told.
"""

from __future__ import annotations

import _codecs
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adafocus_rl.errors import UserError
from adafocus_rl.models.recognizer import ClassifierConfig, EncoderConfig, ModelConfig


@dataclass(frozen=True, kw_only=True)
class OfficialCheckpoint:
    """What a public checkpoint holds."""

    path: Path
    """The file."""
    model: ModelConfig
    """The architecture, read off the shapes; the patch side is in no file, and the default here."""
    recognizer: dict[str, Tensor]
    """Tensors by the names of a :class:`~adafocus_rl.models.recognizer.Recognizer`."""
    policy: dict[str, Tensor] = field(default_factory=dict)
    """Tensors by the names of π's network; empty before stage II."""
    unused: list[str] = field(default_factory=list)
    """Entries of the file that nothing was made of: heads of single frames, copies of π, the optimiser."""

    @property
    def policy_options(self) -> dict[str, int]:
        """π's sizes, as the agent's options have them."""
        channels, hidden = self.policy["state_encoder.0.weight"].shape[0], self.policy["actor.weight"].shape[1]
        return {"reduced_channels": channels, "hidden": hidden}


def read_official(path: Path) -> OfficialCheckpoint:
    """Reads a checkpoint of the public code's experiments on ActivityNet, FCVID and Mini-Kinetics, of any stage.

    Raises:
        UserError: no such file, one that would run code when it is read, no such layout, or an architecture that is not
            AdaFocus's.
    """
    content = load_untrusted(path)
    parts = {name: _tensors(content.get(name)) for name in ("glancer", "focuser", "fc", "policy")}
    lacking = [name for name in ("glancer", "focuser", "fc") if not parts[name]]
    if lacking:
        raise UserError(
            f"{path} has no weights under {' and '.join(lacking)}, it has {', '.join(map(repr, content)) or 'nothing'}; "
            "give a checkpoint of the public AdaFocus code with glancer, focuser and fc"
        )
    unused = [name for name in content if name not in parts]
    focuser, copies = _split(parts["focuser"], "policy.")
    policy = parts["policy"] or _split(copies, "policy.policy_old.", strip=True)[1]
    unused += [f"focuser.{name}" for name in copies]

    recognizer: dict[str, Tensor] = {}
    heads = {"glancer": "net.classifier.", "focuser": "net.fc."}
    for theirs, ours, tensors in (("glancer", "glance", parts["glancer"]), ("focuser", "focus", focuser)):
        body, head = _split(tensors, heads[theirs])
        recognizer |= {f"{ours}.{name}": value for name, value in body.items()}
        unused += [f"{theirs}.{name}" for name in head]
    recognizer |= {f"classifier.{name}": value for name, value in parts["fc"].items()}
    policy = {name.replace("actor.0.", "actor.").replace("critic.0.", "critic."): v for name, v in policy.items()}
    model = _architecture(path, recognizer, policy)
    return OfficialCheckpoint(path=path, model=model, recognizer=recognizer, policy=policy, unused=unused)


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


def load_untrusted(path: Path) -> dict[str, Any]:
    """The dict in a file that ``torch.save`` has written: tensors and plain values, and nothing that could run code.

    Raises:
        UserError: no such file, no dict, or one that holds anything else.
    """
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist; give a .pth.tar file of the public AdaFocus code")
    try:
        with torch.serialization.safe_globals(_plain_numbers()):
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged pickle raises is anyone's guess
        # torch's own message recommends to switch its protection off, so it is not passed on.
        raise UserError(
            f"{path} cannot be read as tensors and plain values; it is damaged, or holds objects that could run code, "
            "which are refused; give a checkpoint as the public AdaFocus code writes it"
        ) from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}; expected a dict with glancer, focuser and fc")
    return {str(name): value for name, value in content.items()}


def _plain_numbers() -> list[Any]:
    """What NumPy's numbers are pickled with, by the names of its versions: accuracies are often such.

    None of it can do more than make a number.
    """
    scalar: Any = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    kinds = {type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.bool_)}
    return [*((scalar, name) for name in names), np.dtype, *kinds, _codecs.encode]


def _tensors(value: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, without the ``module.`` of a parallel wrapper; none of anything else."""
    if not isinstance(value, Mapping):
        return {}
    return {str(name).removeprefix("module."): tensor for name, tensor in value.items() if isinstance(tensor, Tensor)}


def _split(
    tensors: Mapping[str, Tensor], prefix: str, *, strip: bool = False
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors whose name does not begin with a prefix, and those whose name does."""
    others = {name: value for name, value in tensors.items() if not name.startswith(prefix)}
    own = {name: value for name, value in tensors.items() if name.startswith(prefix)}
    return others, {name.removeprefix(prefix): value for name, value in own.items()} if strip else own


def _architecture(path: Path, recognizer: Mapping[str, Tensor], policy: Mapping[str, Tensor]) -> ModelConfig:
    classes, hidden = _shape(path, recognizer, "classifier.fc.weight", dims=2)
    grid, glance_size = ModelConfig().grid, ModelConfig().glance_size
    if policy:
        actions, _ = _shape(path, policy, "actor.weight", dims=2)
        channels = _shape(path, policy, "state_encoder.0.weight", dims=4)[0]
        places = _shape(path, policy, "state_encoder.3.weight", dims=2)[1] // channels
        grid, side = math.isqrt(actions), math.isqrt(places)
        if grid * grid != actions or side * side != places:
            raise UserError(
                f"{path} holds a policy with {actions} actions on {places} places of a map; expected square numbers"
            )
        glance_size = 32 * side  # f_G's stride
    return ModelConfig(
        glance=EncoderConfig(name="mobilenet_v2"),
        focus=EncoderConfig(name="resnet50"),
        classifier=ClassifierConfig(hidden=hidden),
        glance_size=glance_size,
        grid=grid,
        num_classes=classes,
    )


def _shape(path: Path, tensors: Mapping[str, Tensor], name: str, *, dims: int) -> tuple[int, ...]:
    if name not in tensors or tensors[name].ndim != dims:
        raise UserError(
            f"{path} has no {dims}-dimensional {name}, so it is not of AdaFocus's architecture; give a checkpoint of "
            "MobileNet-V2, ResNet-50 and a GRU"
        )
    return tuple(tensors[name].shape)
