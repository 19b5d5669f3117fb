"""Weights for encoders: a published set by name, or a file. Only plain tensors are unpickled."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from adafocus_rl.errors import UserError, first_line
from adafocus_rl.models.config import FILE_SUFFIXES, IN_PACKAGE
from adafocus_rl.models.torch_files import load_plain

if TYPE_CHECKING:
    from adafocus_rl.models.encoders import Encoder


def load_encoder_weights(encoder: Encoder, weights: str, *, name: str, option: str) -> None:
    """Load weights into an encoder, in place.

    Names in the file may be the encoder's own, or the same without the leading ``net.`` (torchvision's names), or
    either with the prefix ``module.``. Tensors of another floating-point dtype are cast; the weights of the removed
    classifier are ignored.

    Args:
        encoder: the network to fill.
        weights: the name of a published set of weights, the path of a file, or ``package:NAME/FILE``.
        name: the encoder's name, for messages.
        option: the configuration key of the weights, for messages.

    Raises:
        UserError: the weights are unknown, unreachable, unreadable, or made for another network.
    """
    path = _file_in_package(weights, option) if weights.startswith(IN_PACKAGE) else Path(weights)
    if path.suffix in FILE_SUFFIXES or len(path.parts) > 1:
        tensors = read_weights_file(path, option=option)
    else:
        tensors = _download(encoder.published_weights(), weights, name=name, option=option)
    _fill(encoder, tensors, what=f"weights {weights}", name=name, option=option)


def _file_in_package(weights: str, option: str) -> Path:
    """Return the path of ``package:NAME/FILE``; the package is located, not imported.

    Raises:
        UserError: there is no such package, or it has no such file.
    """
    name, _, file = weights.removeprefix(IN_PACKAGE).partition("/")
    # Only of a module inside another would the search import something.
    spec = find_spec(name) if name.isidentifier() else None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, file)
        if path.is_file() and path.resolve().is_relative_to(Path(folder).resolve()):
            return path
    what = f"the package {name} has no file {file!r}" if spec else f"no package {name!r} is installed"
    raise UserError(f"weights {weights} were not found: {what}; give another file with --{option}=FILE")


def read_weights_file(path: Path, *, option: str) -> dict[str, Tensor]:
    """Read named tensors from a ``.safetensors`` file, or from the state dict in a ``.pth`` or ``.pt`` file.

    The state dict may also be stored under the key ``state_dict`` or ``model`` of a training checkpoint.

    Raises:
        UserError: the file is missing, of another kind, damaged, or holds other objects.
    """
    if not path.is_file():
        raise UserError(f"weights file {path} does not exist; give the path of a file with --{option}=FILE")
    if path.suffix not in FILE_SUFFIXES:
        kinds = ", ".join(FILE_SUFFIXES)
        raise UserError(f"weights file {path} is of an unknown kind; give one of {kinds} with --{option}=FILE")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content: Any = load_plain(path)
    except Exception as error:  # a damaged pickle may raise anything
        # Not passed on, because torch's own message recommends switching its protection off.
        raise UserError(
            f"weights file {path} cannot be read as plain tensors; it is damaged, or holds objects that "
            "could run code; expected a state dict, best as .safetensors"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"weights file {path} holds no state dict; expected tensors by name and nothing else")
    return {str(key): value for key, value in content.items()}


def _download(published: Mapping[str, str], weights: str, *, name: str, option: str) -> dict[str, Tensor]:
    if weights not in published:
        known = ", ".join(("none", *published))
        raise UserError(
            f"encoder {name} has no weights named {weights!r}; "
            f"expected one of {known}, or a file given with --{option}=FILE"
        )
    url = published[weights]
    try:
        content = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", progress=sys.stderr.isatty(), check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:  # urllib's errors are OSErrors; a wrong hash is a RuntimeError
        raise UserError(
            f"weights {weights} of {name} could not be downloaded ({first_line(error).rstrip('.')}); "
            f"fetch {url} on a machine with a network, bring {url.rsplit('/', 1)[-1]} here, "
            f"and give --{option}=FILE"
        ) from error
    return dict(content)


def _fill(encoder: Encoder, tensors: dict[str, Tensor], *, what: str, name: str, option: str) -> None:
    own = encoder.state_dict()
    if tensors and all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    if not any(key in own for key in tensors):
        tensors = {f"net.{key}": value for key, value in tensors.items()}
    if encoder.head_keys:
        tensors = {key: value for key, value in tensors.items() if not key.startswith(encoder.head_keys)}

    # Batch counts are bookkeeping: old files lack them, and no result depends on them.
    missing = [key for key in own if key not in tensors and not key.endswith("num_batches_tracked")]
    extra = [key for key in tensors if key not in own]
    problem = None
    if missing:
        problem = f"{missing[0]} is missing" + (f" with {len(missing) - 1} more" if len(missing) > 1 else "")
    elif extra:
        problem = f"{extra[0]} has no place" + (f" with {len(extra) - 1} more" if len(extra) > 1 else "")
    else:
        for key, value in tensors.items():
            if value.shape != own[key].shape:
                problem = f"{key} has shape {tuple(value.shape)}, expected {tuple(own[key].shape)}"
            elif value.is_floating_point() != own[key].is_floating_point():
                problem = f"{key} is {value.dtype}, expected floating point"
            elif value.is_floating_point() and not bool(torch.isfinite(value).all()):
                problem = f"{key} holds values that are not finite"
            if problem:
                break
    if problem:
        raise UserError(
            f"{what} do not fit encoder {name}: {problem}; give weights made for {name} with --{option}=FILE"
        )
    encoder.load_state_dict(tensors, strict=False)
