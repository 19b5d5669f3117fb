"""Encoders for recognition only: the same features as the originals' in less time, on CPU and GPU."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.errors import UserError, first_line
from adafocus_rl.models.encoders import Encoder
from adafocus_rl.models.folding import LowPrecisionEncoder


class DeployedEncoder(Encoder):
    """A copy of an encoder for recognition: batch norms folded, channels-last, compiled if wanted.

    Images and features stay float32.

    Args:
        encoder: the encoder; it is copied.
        dtype: type of weights and activations. With ``torch.float32`` features equal the encoder's to rounding.
        compiled: whether ``torch.compile`` compiles the network, at the first batch of each shape. After eight shapes,
            torch's limit, further ones are not compiled, and torch says so.
    """

    def __init__(self, encoder: Encoder, *, dtype: torch.dtype = torch.float32, compiled: bool = False) -> None:
        super().__init__()
        self.map_channels, self.vector_dim, self.temporal = encoder.map_channels, encoder.vector_dim, encoder.temporal
        self.folded = LowPrecisionEncoder(encoder, dtype).eval().requires_grad_(False)
        self._maps = self.folded.forward_map
        if compiled and next(self.folded.parameters(), None) is not None:
            on_cpu = next(self.folded.parameters()).device.type == "cpu"
            # Freezing makes weights constants, which are then laid out for the CPU's kernels only once.
            options: dict[str, Any] = {"freezing": True} if on_cpu else {}
            self._maps = torch.compile(_with_own_code(self.folded.forward_map), dynamic=False, options=options)

    def forward_map(self, x: Tensor) -> Tensor:
        """Feature maps (N, C, h, w), float32, of normalised images (N, 3, H, W)."""
        maps: Tensor = self._maps(x)
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        """Vectors (N, D), float32, of maps (N, C, h, w)."""
        return self.folded.pool(maps)

    def eager(self) -> Encoder:
        """Return the encoder that is compiled."""
        return self.folded

    def set_num_frames(self, num_frames: int) -> None:
        """Set T for a ``temporal`` network."""
        self.folded.set_num_frames(num_frames)


def _with_own_code(method: Callable[..., Any]) -> MethodType:
    """Return a bound method with its own copy of the code.

    ``torch.compile`` compiles a piece of code for eight shapes, and then runs it as it is. Networks that share a class
    share its code, so that f_L on a second batch size would be left uncompiled because of f_G's shapes.
    """
    own: Any = method
    function = own.__func__
    copied = FunctionType(
        function.__code__.replace(), function.__globals__, function.__name__, function.__defaults__,
        function.__closure__,
    )  # fmt: skip
    return MethodType(copied, own.__self__)


def check_compiler(device: torch.device) -> None:
    """Compile a sum, to learn whether ``torch.compile`` works on a device.

    Raises:
        UserError: it does not, because the compiler is missing or does not support this version of Python.
    """
    try:
        torch.compile(torch.add, dynamic=False)(torch.zeros(2, device=device), 1)
    except Exception as error:  # torch raises many kinds, of its own, of triton and of the system
        raise UserError(
            f"torch.compile does not work here ({first_line(error)}); install a C++ compiler, such as g++ (and "
            "Triton on a GPU), or leave --compile out"
        ) from error
