"""CUDA graphs of whole computations: one launch instead of hundreds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")

WARM_UPS = 3
"""Calls before a capture, in which cuDNN chooses its algorithms and kernels are compiled."""

_WAITED = "synchronizing CUDA operation"
"""What torch says, in its debug mode, when the host waits for the device."""


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


def last_warm_up(function: Callable[[], Result]) -> tuple[Result, bool]:
    """Call a function as ``on_side_stream`` does.

    Returns:
        Its result, and whether it made the host wait for the device. Such a function cannot be captured, and should not
        be tried: in some versions of torch, a failed capture leaves dropout unusable in this process.
    """
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            result = on_side_stream(function)
        finally:
            torch.cuda.set_sync_debug_mode(before)
    waited = False
    for one in caught:
        if _WAITED in str(one.message):
            waited = True
        elif "debug mode" not in str(one.message):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return result, waited


def capture(function: Callable[[], Result]) -> tuple[torch.cuda.CUDAGraph, Result]:
    """Record the kernels of a function without running them.

    Returns:
        The graph, and the function's result, whose tensors each replay fills.

    Raises:
        RuntimeError: it cannot be captured; nothing has run.
    """
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph):
            result = function()
    except RuntimeError:
        # Some versions of torch leave the stream of the capture current, and the generator as if it were captured.
        torch.cuda.set_stream(stream)
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        generator.graphsafe_set_state(generator.clone_state())
        raise
    return graph, result


class CapturedCall(Generic[Result]):
    """Calls a function of tensors by a CUDA graph for each combination of the inputs' shapes.

    A function that waits for the device, as one does that runs f_L on the kept frames only, cannot be captured; it is
    then called as it is, as on CPU.

    Args:
        function: computes on the device, without gradients; it must depend on the tensors and on constants only. Its
            result is one tensor or a tree of data classes of tensors.
        device: where it computes; inputs are moved there.
        agree: whether two results are the same to rounding. A graph whose result is another than the function's is not
            used.
    """

    def __init__(
        self, function: Callable[..., Result], *, device: torch.device, agree: Callable[[Result, Result], bool]
    ) -> None:
        self.function = function
        self.device = device
        self.agree = agree
        self._graphs: dict[tuple[tuple[torch.Size, torch.dtype], ...], _Captured[Result] | None] = {}

    @torch.no_grad()
    def __call__(self, *inputs: Tensor) -> Result:
        """Return the function's result for tensors on any device; a graph's result is copied from its memory."""
        if self.device.type != "cuda":
            return self._call(inputs)
        key = tuple((one.shape, one.dtype) for one in inputs)
        if key not in self._graphs:
            self._graphs[key] = self._capture(inputs)
        captured = self._graphs[key]
        if captured is None:
            return self._call(inputs)
        for own, given in zip(captured.inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        captured.graph.replay()
        result: Result = _copied(captured.result)
        return result

    def _call(self, inputs: Sequence[Tensor]) -> Result:
        return self.function(*(one.to(self.device, non_blocking=True) for one in inputs))

    def _capture(self, inputs: Sequence[Tensor]) -> _Captured[Result] | None:
        own = [one.to(self.device).clone() for one in inputs]
        for _ in range(WARM_UPS - 1):
            on_side_stream(lambda: self.function(*own))
        expected, waited = last_warm_up(lambda: self.function(*own))
        if waited:
            return None
        try:
            graph, result = capture(lambda: self.function(*own))
        except RuntimeError:
            return None
        graph.replay()
        return _Captured(graph=graph, inputs=own, result=result) if self.agree(result, expected) else None


def _copied(value: Any) -> Any:
    """Return a tree of data classes with copies of its tensors."""
    if isinstance(value, Tensor):
        return value.clone()
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{part.name: _copied(getattr(value, part.name)) for part in fields(value) if part.init})
    return value
