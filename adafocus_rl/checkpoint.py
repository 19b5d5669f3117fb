"""Checkpoints: safetensors files with a JSON manifest in the header.

The file's tensors hold weights and other tensors; the header's metadata holds everything else (architecture, epoch,
optimiser settings, metric) as plain JSON. Loading never unpickles, so a checkpoint from the internet cannot run code.
A checkpoint is written to a temporary name in the same folder, flushed to the disk and renamed, so a reader finds
either the old file or the new one. The manifest begins with a checksum of the whole file, which is verified on every
load and finds every flipped bit. Format version 1 has no checksum and is still read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from adafocus_rl.checksums import BLANK, DIGITS, Checksum, checksum_of
from adafocus_rl.errors import UserError
from adafocus_rl.files import replacing

FORMAT = "adafocus_rl"
FORMAT_VERSION = 2
FIRST_WITH_CHECKSUM = 2
_MANIFEST_KEY = "adafocus_rl_manifest"
# The first entry of the manifest as written in the header; a tensor's name cannot contain an unescaped quote.
_CHECKSUM = re.compile(rb'"adafocus_rl_manifest":"{\\"checksum\\": \\"crc32:([0-9a-f]{8})\\"')


class DamagedCheckpointError(UserError):
    """A file that is not a checkpoint of this package, or is damaged.

    Args:
        path: the file.
        reason: what is wrong with it, for example "it is not a whole safetensors file".
        advice: what the user can do.
    """

    def __init__(self, path: Path | str, reason: str, advice: str) -> None:
        super().__init__(f"checkpoint {path} cannot be used: {reason}; {advice}")
        self.reason = reason


def save(path: Path | str, *, tensors: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically; missing folders are created.

    Args:
        path: file to write or replace, by convention with the suffix ``.safetensors``.
        tensors: any names, shapes, dtypes and devices; tensors that share memory are written separately.
        manifest: values that JSON can hold (tuples come back as lists). The keys ``checksum``, ``format``,
            ``format_version`` and ``torch_version`` are filled in here.

    Raises:
        TypeError: the manifest holds a value that JSON cannot hold.
        OSError: writing failed; an earlier checkpoint of this name is unchanged.
    """
    text = json.dumps(
        {
            "checksum": BLANK,
            **{name: value for name, value in manifest.items() if name != "checksum"},
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "torch_version": str(torch.__version__),
        }
    )
    # safetensors accepts neither shared storage nor channels-last strides.
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    # Written here because safetensors' own writer does not report a full disk as such.
    content = memoryview(serialize(plain, metadata={_MANIFEST_KEY: text}))
    place = _CHECKSUM.search(content)
    assert place is not None
    found = Checksum()
    found.update(content)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content[: place.start(1)])
        file.write(str(found)[-DIGITS:].encode())
        file.write(content[place.end(1) :])


def load(path: Path | str, *, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load a checkpoint and verify its checksum.

    Returns:
        The tensors, on ``device``, and the manifest.

    Raises:
        DamagedCheckpointError: the file is not a safetensors file, has no manifest of this package, or is damaged.
        UserError: the file does not exist, or has a newer format version.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist; give a file that a training run has written")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            manifest = _manifest(path, file.metadata() or {})
            _verify(path, manifest)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        # Besides damage: dtypes that torch lacks, and missing read permission.
        raise DamagedCheckpointError(
            path,
            f"it is not a whole safetensors file ({error})",
            "expected one written by adafocus, other formats (.pt, .pth, .pkl) are refused because reading them can "
            "run code",
        ) from error
    return {name: tensor.to(device) for name, tensor in tensors.items()}, manifest


def _manifest(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Parse the manifest and check its format version."""
    try:
        manifest = json.loads(metadata[_MANIFEST_KEY])
        ours = manifest["format"] == FORMAT and type(manifest["format_version"]) is int
    except (KeyError, TypeError, ValueError, RecursionError):
        ours = False
    if not ours:
        raise DamagedCheckpointError(
            path,
            f"it has no {FORMAT} manifest, so another program wrote it, or it is damaged",
            "give a file that a training run has written, or name it as an encoder's weights",
        )
    found: dict[str, Any] = manifest
    if found["format_version"] > FORMAT_VERSION:
        raise UserError(
            f"checkpoint {path} has format version {found['format_version']}, but this adafocus_rl reads up to "
            f"{FORMAT_VERSION}; upgrade adafocus_rl"
        )
    return found


def _verify(path: Path, manifest: dict[str, Any]) -> None:
    """Remove the checksum from the manifest and compare it with the file's."""
    given = manifest.pop("checksum", None)
    if given is None and manifest["format_version"] < FIRST_WITH_CHECKSUM:
        return
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        head = file.read(length)
    place = _CHECKSUM.search(head)
    if place is None or checksum_of(path, without=8 + place.start(1)) != given:
        raise DamagedCheckpointError(
            path,
            "it is damaged, its content does not have the checksum that it was written with",
            "take a copy that is whole, or make it again",
        )


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Report errors in a manifest's values, raised within the context, as damage of the checkpoint.

    Raises:
        DamagedCheckpointError: a value is missing, has another type, or is out of range.
    """
    try:
        yield
    except UserError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        text = " ".join(str(error).split())[:200]
        raise DamagedCheckpointError(
            path,
            f"its manifest does not hold what was expected ({type(error).__name__}: {text})",
            "take a copy that is whole, or make it again",
        ) from error


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], *, prefix: str, what: str) -> None:
    """Copy the tensors whose names begin with ``prefix`` into ``module``; names and shapes must match exactly.

    Args:
        module: receives parameters and buffers, each in its own dtype and on its own device.
        tensors: a checkpoint's tensors; names without the prefix belong to other modules and are ignored.
        prefix: beginning of the names, with its dot (``"glance."``), or ``""`` for all.
        what: the checkpoint's name, for the message.

    Raises:
        UserError: a name or a shape differs, or a number is not finite; the message names the first. The module is
            left unchanged.
    """
    module.load_state_dict(check_fit(module, tensors, prefix=prefix, what=what), strict=True)


def check_fit(module: nn.Module, tensors: Mapping[str, Tensor], *, prefix: str, what: str) -> dict[str, Tensor]:
    """Return the tensors that ``load_into`` would copy, under the module's own names.

    The module may be on the ``meta`` device.

    Raises:
        UserError: a name or a shape differs, or a number is not finite; the message names the first.
    """
    given = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    difference = _first_difference(given, module.state_dict(), prefix)
    if difference is not None:
        raise UserError(
            f"checkpoint {what} was made with another architecture: {difference}; "
            "use the configuration it was trained with, or another checkpoint"
        )
    if (spoilt := not_finite(given)) is not None:
        raise UserError(
            f"checkpoint {what} holds numbers that are NaN or infinite in {prefix}{spoilt}: the training that wrote it "
            "has diverged; train that stage again with a lower rate"
        )
    return given


def _first_difference(given: Mapping[str, Tensor], expected: Mapping[str, Tensor], prefix: str) -> str | None:
    for name, tensor in expected.items():
        if name not in given:
            return f"it lacks {prefix}{name}"
        if given[name].shape != tensor.shape:
            return f"{prefix}{name} has shape {tuple(given[name].shape)}, expected {tuple(tensor.shape)}"
    extra = next((name for name in given if name not in expected), None)
    return None if extra is None else f"it has {prefix}{extra}, which this architecture lacks"


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor with NaN or infinity, or None; synchronises with the device once."""
    floating = {name: value for name, value in tensors.items() if value.is_floating_point()}
    if not floating:
        return None
    # Optimisers keep part of their state on CPU.
    device = next(iter(floating.values())).device
    # The largest magnitude is NaN or infinite if any entry is, and is several times faster than isfinite on each.
    largest = torch.stack([_largest(value).to(device) for value in floating.values()])
    return next((name for name, sound in zip(floating, largest.isfinite().tolist(), strict=True) if not sound), None)


def _largest(value: Tensor) -> Tensor:
    value = value.detach()
    return value.abs().max().float() if value.numel() else torch.zeros((), device=value.device)


def tensors_hash(source: nn.Module | Mapping[str, Tensor]) -> str:
    """Return the first 16 hex digits of the SHA-256 of all names, dtypes, shapes and bytes, for any order and device.

    Args:
        source: a module (its state dict is used) or a mapping from names to tensors.
    """
    tensors = source.state_dict() if isinstance(source, nn.Module) else source
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        # Viewed as bytes because NumPy has no bfloat16.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
