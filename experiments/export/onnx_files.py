"""ONNX files of a recogniser's cells, each compared with PyTorch under ONNX Runtime."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adafocus_rl.errors import UserError, needs_extra
from adafocus_rl.experiments.export.cells import Cell
from adafocus_rl.files import replacing

OPSET = 18
"""Version of ONNX's operators, which ONNX Runtime has known since 1.14, and ONNX Runtime Web as well."""

TOLERANCE = 1e-4
"""Largest difference between PyTorch and ONNX Runtime, relative to an output's largest value if that is above 1."""

PACKAGES = ("onnx", "onnxruntime")


def require_onnx() -> None:
    """Check that the packages of the extra ``onnx`` are installed.

    Raises:
        UserError: if one is missing.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise needs_extra("ONNX", *missing, extra="onnx")


def write_cell(cell: Cell, path: Path) -> tuple[dict[str, Any], float]:
    """Write a cell as an ONNX file, whose batch may have any size, and compare it with PyTorch.

    Args:
        cell: the cell, on CPU and in evaluation mode.
        path: the file.

    Returns:
        ``inputs`` and ``outputs`` by name, each with ``dtype`` and ``shape``, in which a string is a free size; and
        the largest difference to PyTorch, as ``TOLERANCE`` measures it.

    Raises:
        UserError: if the exporter does not know an operation, or the file computes something else.
    """
    examples = cell.examples()
    names = [*examples[0]]
    axes = {name: {0: "batch"} for name in (*names, *cell.outputs)}
    if cell.images is not None:
        axes[cell.images] |= {2: "height", 3: "width"}
    with replacing(path) as temporary:
        try:
            with warnings.catch_warnings():
                # Of constants in the trace; whether they are constants is what the comparison shows.
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    cell,
                    tuple(examples[0].values()),
                    str(temporary),
                    input_names=names,
                    output_names=[*cell.outputs],
                    dynamic_axes=axes,
                    opset_version=OPSET,
                    # Tracing takes a second where torch.export takes a minute for MobileNet-V2, and no third package.
                    dynamo=False,
                )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(
                f"{cell.name} cannot be exported: PyTorch's exporter says {reason!r}; use another encoder or classifier"
            ) from error
        session = open_session(temporary)
        difference = max(_difference(cell, session, example) for example in examples)
        if not difference <= TOLERANCE:
            raise UserError(
                f"{cell.name} cannot be exported: ONNX Runtime's results differ from PyTorch's by {difference:.2g}, "
                f"more than {TOLERANCE:g}; use another encoder or classifier"
            )
        tensors = {"inputs": _described(session.get_inputs()), "outputs": _described(session.get_outputs())}
    return tensors, difference


def open_session(path: Path, *, threads: int = 0) -> Any:
    """Return an ``onnxruntime.InferenceSession`` of a file, on CPU.

    Args:
        path: the ONNX file.
        threads: number of threads; 0 uses ONNX Runtime's default.

    Raises:
        UserError: if ONNX Runtime is not installed, or cannot load the file.
    """
    require_onnx()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a class of its own for each status
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"ONNX Runtime cannot load {path} ({reason}); export the run again") from error


@torch.no_grad()
def _difference(cell: Cell, session: Any, example: dict[str, Tensor]) -> float:
    """Return the largest difference in the outputs for an input; infinity if shapes or most patches differ."""
    outputs = cell(*example.values())
    expected = [outputs] if isinstance(outputs, Tensor) else outputs
    try:
        found = session.run(None, {name: value.numpy() for name, value in example.items()})
    except Exception:  # as in ``open_session``
        return float("inf")
    worst = 0.0
    for tensor, other in zip(expected, found, strict=True):
        value = tensor.numpy()
        if value.shape != other.shape:
            return float("inf")
        if np.issubdtype(value.dtype, np.integer):
            # Two patches may be equally good up to rounding, so one row may differ.
            differing = int((value != other).reshape(len(value), -1).any(1).sum())
            worst = max(worst, 0.0 if differing <= len(value) // 5 else float("inf"))
        elif value.size:
            worst = max(worst, float(np.abs(value - other).max()) / max(1.0, float(np.abs(value).max())))
    return worst


def _described(tensors: Any) -> dict[str, dict[str, Any]]:
    """Return NumPy's type and the shape of ONNX Runtime's descriptions of tensors, by name."""
    types = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(uint8)": "uint8"}
    return {tensor.name: {"dtype": types[tensor.type], "shape": [*tensor.shape]} for tensor in tensors}
