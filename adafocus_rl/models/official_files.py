"""Files of others: read without running code, and the names in them turned into torchvision's."""

from __future__ import annotations

import _codecs
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adafocus_rl.errors import UserError
from adafocus_rl.models.torch_files import load_plain

# MobileNet-V2 as TSM's code has it numbers a block's layers through; torchvision puts each convolution with its
# normalisation into a list of its own. Left: number there (activations have no weights). The first block expands not.
_FIRST_BLOCK = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}
_BLOCK = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}
# ResNets as a plain sequence of torchvision's layers, the last ones cut off.
_RESNET = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


def load_untrusted(path: Path) -> dict[str, Any]:
    """The dict in a file that ``torch.save`` has written: tensors and plain values, and nothing that could run code.

    Raises:
        UserError: no such file, no dict, or one that holds anything else.
    """
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist; give a .pth.tar file of the public AdaFocus code")
    try:
        with torch.serialization.safe_globals(_plain_numbers()):
            content: Any = load_plain(path)
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


def state_dict(value: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, without the ``module.`` of a parallel wrapper; none of anything else."""
    if not isinstance(value, Mapping):
        return {}
    return {str(name).removeprefix("module."): tensor for name, tensor in value.items() if isinstance(tensor, Tensor)}


def split(tensors: Mapping[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors whose name does not begin with a prefix, and those whose name does, then without it."""
    others = {name: value for name, value in tensors.items() if not name.startswith(prefix)}
    own = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    return others, own


def torchvision_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of a MobileNet-V2 or ResNet as torchvision calls them; those that it calls so already stay.

    In TSM's code ``features.2.conv.0.net.weight`` (the shift wraps the convolution) is torchvision's
    ``features.2.conv.0.0.weight``, and ``4.0.conv1.net.weight`` is ``layer1.0.conv1.weight``.
    """
    if any(re.match(r"features\.\d+\.conv\.\d\.\d\.", name) for name in tensors):
        return dict(tensors)
    return {_torchvision_name(name): value for name, value in tensors.items()}


def _torchvision_name(name: str) -> str:
    if match := re.fullmatch(r"features\.(\d+)\.conv\.(\d)(?:\.net)?\.(\w+)", name):
        block, layer, rest = match.groups()
        table = _FIRST_BLOCK if block == "1" else _BLOCK
        return f"features.{block}.conv.{table[layer]}.{rest}" if layer in table else name
    first, _, rest = name.partition(".")
    return f"{_RESNET.get(first, first)}.{rest}".replace(".conv1.net.", ".conv1.")
