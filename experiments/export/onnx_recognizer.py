"""An exported recogniser under ONNX Runtime: the loop over frames that docs/export.md shows, for batches of videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.export.onnx_files import open_session
from adafocus_rl.experiments.export.write import FACTS, VERSION
from adafocus_rl.files import read_json

Values = dict[str, NDArray[Any]]


class OnnxRecognizer:
    """Recognises clips with the ONNX files of an export.

    Args:
        folder: the folder that ``adafocus export`` wrote.
        threads: number of threads; 0 uses ONNX Runtime's default.

    Attributes:
        facts: content of ``export.json``.

    Raises:
        UserError: if the folder holds no export, or one of a newer format, or ONNX Runtime is not installed.
    """

    def __init__(self, folder: Path, *, threads: int = 0) -> None:
        self.facts = read_json(folder / FACTS, "export")
        if not isinstance(self.facts, dict) or self.facts.get("format_version") != VERSION:
            raise UserError(
                f"{folder / FACTS} is not of format {VERSION}, which this version reads; export the run again"
            )
        self.patch_size = int(self.facts["patch_size"])
        models = self.facts["models"]
        self._inputs = {name: [*model["inputs"]] for name, model in models.items()}
        self._outputs = {name: [*model["outputs"]] for name, model in models.items()}
        self._sessions = {name: open_session(folder / model["file"], threads=threads) for name, model in models.items()}

    def recognise(self, clips: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Recognise clips, frame by frame.

        Args:
            clips: (B, T, 3, S, S), RGB.

        Returns:
            f_C's logits after each frame (B, T, K), and the patches' boxes (B, T, 4) as (top, left, height, width).
        """
        count, frames = clips.shape[:2]
        state: Values = self._initial(count)
        rows, side = np.arange(count), np.arange(self.patch_size)
        logits, boxes = [], []
        for step in range(frames):
            frame = clips[:, step]
            share = np.full(count, step / frames, dtype=np.float32)
            seen = self._run("glance", {**state, "frames": frame, "time_step": share})
            top, left = (seen["origin"][:, axis, None] + side for axis in (0, 1))
            patches = frame[
                rows[:, None, None, None], np.arange(3)[:, None, None], top[:, None, :, None], left[:, None, None]
            ]
            seen |= self._run("focus", {"images": patches})
            seen |= self._run("classifier", {**state, **seen})
            state = {name: seen[entry["next"]] for name, entry in self.facts["states"].items()}
            logits.append(seen["logits"])
            boxes.append(np.concatenate((seen["origin"], np.full((count, 2), self.patch_size)), axis=1))
        return np.stack(logits, axis=1), np.stack(boxes, axis=1)

    def _initial(self, count: int) -> Values:
        """Return the state of ``count`` videos before their first frame."""
        shapes = {
            name: tensor["shape"] for model in self.facts["models"].values() for name, tensor in model["inputs"].items()
        }
        return {
            name: np.full((count, *shapes[name][1:]), entry["initial"], dtype=np.float32)
            for name, entry in self.facts["states"].items()
        }

    def _run(self, name: str, values: Values) -> Values:
        found = self._sessions[name].run(None, {key: values[key] for key in self._inputs[name]})
        return dict(zip(self._outputs[name], found, strict=True))
