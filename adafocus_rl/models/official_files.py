"""Third-party checkpoint files: loading without running code, and conversion of their names to torchvision's."""

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

# TSM's MobileNet-V2 numbers all layers of a block consecutively; torchvision groups each convolution with its
# normalisation. Keys are TSM's numbers (activations have no weights). The first block has no expansion.
_FIRST_BLOCK = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}
_BLOCK = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}
# ResNets as a plain sequence of torchvision's layers without the last ones.
_RESNET = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


def load_untrusted(path: Path) -> dict[str, Any]:
    """Load a dict of tensors and plain values that ``torch.save`` wrote, without running code.

    Raises:
        UserError: the file does not exist, is not a dict, or holds other objects.
    """
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist; give a .pth.tar file of the public AdaFocus code")
    try:
        with torch.serialization.safe_globals(_plain_numbers()):
            content: Any = load_plain(path)
    except Exception as error:  # a damaged pickle may raise anything
        # Not passed on, because torch's own message recommends switching its protection off.
        raise UserError(
            f"{path} cannot be read as tensors and plain values; it is damaged, or holds objects that could run code, "
            "which are refused; give a checkpoint as the public AdaFocus code writes it"
        ) from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}; expected a dict with glancer, focuser and fc")
    return {str(name): value for name, value in content.items()}


def _plain_numbers() -> list[Any]:
    """Globals with which NumPy's numbers are pickled, for all its versions: accuracies are often NumPy numbers.

    They can only construct numbers.
    """
    scalar: Any = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    kinds = {type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.bool_)}
    return [*((scalar, name) for name in names), np.dtype, *kinds, _codecs.encode]


def state_dict(value: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, without the ``module.`` of a parallel wrapper; empty for any other value."""
    if not isinstance(value, Mapping):
        return {}
    return {str(name).removeprefix("module."): tensor for name, tensor in value.items() if isinstance(tensor, Tensor)}


def split(tensors: Mapping[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split tensors into those whose names lack a prefix and those whose names have it, with the prefix removed."""
    others = {name: value for name, value in tensors.items() if not name.startswith(prefix)}
    own = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    return others, own


def torchvision_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the parameters of a MobileNet-V2 or ResNet to torchvision's names; torchvision's names stay unchanged.

    TSM's ``features.2.conv.0.net.weight`` (the shift wraps the convolution) is torchvision's
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
