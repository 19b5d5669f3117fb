"""The folder of an export: ONNX files, ``export.json``, and a page for browsers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from adafocus_rl import __version__
from adafocus_rl.agents.methods import AdaFocus
from adafocus_rl.agents.methods.adafocus import patch_cost
from adafocus_rl.envs.spaces import NOWHERE
from adafocus_rl.experiments.config.clips import transform_of
from adafocus_rl.experiments.export.cells import cells_of
from adafocus_rl.experiments.export.onnx_files import OPSET, require_onnx, write_cell
from adafocus_rl.experiments.export.page import write_page
from adafocus_rl.experiments.export.web_runtime import WebRuntime
from adafocus_rl.experiments.predict import Predictor
from adafocus_rl.files import new_folder, write_json
from adafocus_rl.folders import replacing_folder

VERSION = 1
"""Version of the format of ``export.json``; increased by every change that breaks a reader of the previous version."""

FACTS = "export.json"
PAGE = "try.html"

STATES = {"memory": "next_memory", "last_action": "position", "state": "next_state"}
"""Inputs that the next frame takes from an output of the present one, and that output."""


def export_onnx(
    predictor: Predictor,
    out: Path,
    *,
    runtime: WebRuntime | None = None,
    progress: Callable[[Path, str], None] | None = None,
) -> dict[str, Any]:
    """Write the networks of a run as ONNX files, with what a program must know to run them.

    Args:
        predictor: the run and its method, on CPU.
        out: folder to write, new or empty.
        runtime: ONNX Runtime Web for the page ``try.html``; None writes no page.
        progress: called with the path of each file, once all are written, and a remark.

    Returns:
        The content of ``export.json``. The folder gets its name when it is complete.

    Raises:
        UserError: if ``out`` holds something, the packages of the extra ``onnx`` are missing, or the method, its agent
            or one of its networks cannot be exported.
    """
    require_onnx()
    folder = new_folder(out, "export folder")
    cells = cells_of(predictor.method)
    assert isinstance(predictor.method, AdaFocus)
    models: dict[str, dict[str, Any]] = {}
    remarks: dict[str, str] = {}
    with replacing_folder(folder) as part:
        for cell in cells:
            file = f"{cell.name}.onnx"
            tensors, difference = write_cell(cell, part / file)
            models[cell.name] = {"file": file, **tensors}
            remarks[file] = f"{(part / file).stat().st_size / 1e6:.1f} MB, within {difference:.1g} of PyTorch"
        facts = {**_facts(predictor, predictor.method), "models": models, "states": _states(models)}
        if runtime is not None:
            write_page(part, PAGE, facts, runtime)
            remarks[PAGE] = f"ONNX Runtime Web {runtime.version}"
        write_json(part / FACTS, facts)
        remarks[FACTS] = "sizes, classes, boxes, compute"
    for file, remark in remarks.items():
        if progress is not None:
            progress(folder / file, remark)
    return facts


def _facts(predictor: Predictor, method: AdaFocus) -> dict[str, Any]:
    config, recognizer = predictor.run.config, predictor.recognizer
    model, grid, costs = recognizer.config, recognizer.grid, method.costs
    every = torch.arange(grid.num_actions)
    return {
        "format_version": VERSION,
        "adafocus_rl": __version__,
        "opset": OPSET,
        "name": config.name,
        "agent": method.agent.label,
        "classes": predictor.names,
        "frames": config.data.num_frames,
        "frame_size": model.frame_size,
        "short_side": transform_of(config).short_side,
        "glance_size": model.glance_size,
        "patch_size": model.patch_size,
        "mean": [*model.mean],
        "std": [*model.std],
        "boxes": None if method.agent.continuous else grid.box(grid.action_origin(every)).tolist(),
        "gmacs": {
            "glance": costs.glance / 1e9,
            "policy": method.policy_macs / 1e9,
            "focus_patch": costs.focus_patch / 1e9,
            "focus_full": costs.focus_full / 1e9,
            "classifier": costs.classifier / 1e9,
            "frame": patch_cost(method, method.policy_macs).most / 1e9,
            "whole_frame": predictor.full_frame.cost.most / 1e9,
        },
    }


def _states(models: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return, by name, each input that belongs to the state: its value before the first frame, and its next value."""
    inputs = {name for model in models.values() for name in model["inputs"]}
    return {
        name: {"initial": NOWHERE if name == "last_action" else 0.0, "next": following}
        for name, following in STATES.items()
        if name in inputs
    }
