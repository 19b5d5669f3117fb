"""CUDA graphs of whole computations: one launch instead of hundreds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")

WARM_UPS = 3
"""Calls before a capture, in which cuDNN chooses its algorithms and kernels are compiled."""


@dataclass(kw_only=True)
class _Captured(Generic[Result]):
    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    result: Result


def on_side_stream(function: Callable[[], Result]) -> Result:
    """Call a function on another stream, as torch's notes on CUDA graphs demand of the calls before a capture."""
    here, side = torch.cuda.current_stream(), torch.cuda.Stream()
    side.wait_stream(here)
    with torch.cuda.stream(side):
        result = function()
    here.wait_stream(side)
    return result


class CapturedCall(Generic[Result]):
    """Calls a function of tensors by a CUDA graph for each combination of the inputs' shapes.

    A function that waits for the device, as one does that runs f_L on the kept frames only, cannot be captured; it is
    then called as it is, as on CPU.

    Args:
        function: computes on the tensors' device, without gradients; it must depend on the tensors and on constants
            only. Its result is one tensor or a tree of data classes of tensors, which ``copy.deepcopy`` copies.
        agree: whether two results are the same to rounding. A graph whose result is another than the function's is not
            used.
    """

    def __init__(self, function: Callable[..., Result], *, agree: Callable[[Result, Result], bool]) -> None:
        self.function = function
        self.agree = agree
        self._graphs: dict[tuple[tuple[torch.Size, torch.dtype], ...], _Captured[Result] | None] = {}

    @torch.no_grad()
    def __call__(self, *inputs: Tensor) -> Result:
        """Return the function's result for tensors on one device; a graph's result is copied from its memory."""
        if inputs[0].device.type != "cuda":
            return self.function(*inputs)
        key = tuple((one.shape, one.dtype) for one in inputs)
        if key not in self._graphs:
            self._graphs[key] = self._capture(inputs)
        captured = self._graphs[key]
        if captured is None:
            return self.function(*inputs)
        for own, given in zip(captured.inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        captured.graph.replay()
        return copy.deepcopy(captured.result)

    def _capture(self, inputs: Sequence[Tensor]) -> _Captured[Result] | None:
        own = [one.clone() for one in inputs]
        for _ in range(WARM_UPS):
            expected = on_side_stream(lambda: self.function(*own))
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                result = self.function(*own)
        except RuntimeError:
            # The function waits for the device.
            return None
        graph.replay()
        return _Captured(graph=graph, inputs=own, result=result) if self.agree(result, expected) else None
