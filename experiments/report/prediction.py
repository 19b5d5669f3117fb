"""The result of recognising one video, in the clip's pixels and in the video's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adafocus_rl.agents.methods import Steps
from adafocus_rl.data.decode import decode_frames
from adafocus_rl.data.decode_error import DecodeError
from adafocus_rl.data.webcam import Recording
from adafocus_rl.envs.render import Crop
from adafocus_rl.experiments.online.predictor import most_probable
from adafocus_rl.experiments.report.shown import ShownVideo
from adafocus_rl.files import user_path


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The result of recognising one video."""

    path: str
    """The path as given."""
    names: list[str]
    """Names of the K classes."""
    probabilities: Tensor
    """(K,) float32, after the last frame."""
    boxes: Tensor
    """(T, 4) int64 (top, left, height, width) of the patches, in pixels of the clip's frames."""
    size: tuple[int, int]
    """(H, W) of the video's own frames in pixels."""
    stored_boxes: Tensor
    """(T, 4) float64, ``boxes`` in pixels of the video's own frames, not rounded (``transforms.stored_boxes``)."""
    crop: Crop
    """The part of the video's own frames that the clip contains."""
    kept: Tensor
    """(T,) bool, whether f_L processed the frame."""
    frames: Tensor
    """(T,) int64, the frames' numbers in the video."""
    gmacs: float
    """10⁹ multiply-accumulates spent."""
    full_frame_gmacs: float
    """The same for f_L on every whole frame, without a policy."""
    ms: float
    """Milliseconds from decoded frames to the prediction, of one run."""
    clip: Tensor
    """(T, 3, S, S) uint8, the whole clip; for AdaFocus-TSM all T_G + T_L frames, f_G's first."""
    shown: ShownVideo
    """The video for films and pictures."""
    trace: Steps
    """The method's steps, as a batch of one video; AdaFocus-TSM has one step for all frames."""

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """Return the most probable classes with their probabilities, in descending order."""
        return most_probable(self.probabilities, self.names, count)

    def shown_on(self, pixels: NDArray[np.uint8]) -> ShownVideo:
        """Return the video for films and pictures, on its own frames instead of the clip's.

        Args:
            pixels: (T, H, W, 3) uint8 RGB, the frames with the numbers ``frames``, as ``stored_frames`` returns them.
        """
        height, width = self.size
        whole = self.crop.box == (0.0, 0.0, float(height), float(width))
        return replace(
            self.shown,
            clip=torch.from_numpy(pixels).permute(0, 3, 1, 2),
            panels=[replace(panel, boxes=self.stored_boxes) for panel in self.shown.panels],
            crop=None if whole else self.crop,
        )


class PredictionError(Exception):
    """Raised if a video cannot be recognised; ``reason`` says why, in plain words."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def stored_frames(
    path: str, numbers: Sequence[int], *, recording: Recording | None = None, template: str | None = None
) -> NDArray[np.uint8]:
    """Return frames of a video as they are stored, upright, before any resizing or cropping.

    Args:
        path: a video file or a folder of frames.
        numbers: numbers of the frames.
        recording: the frames of a webcam, which are used instead of the path; None reads the path.
        template: names of the frames in a folder; None finds them.

    Returns:
        (n, H, W, 3) uint8 RGB.

    Raises:
        PredictionError: if they cannot be decoded; the reason says why.
    """
    if recording is not None:
        return recording.frames[list(numbers)]
    try:
        return decode_frames(user_path(path).absolute(), numbers, template=template)
    except DecodeError as error:
        raise PredictionError(path, error.reason) from None
