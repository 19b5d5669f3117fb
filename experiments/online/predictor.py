"""Recognise a stream online: one frame at a time, with the state of the networks kept between frames."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adafocus_rl.agents.methods import Method
from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.data.transform_options import TransformConfig
from adafocus_rl.data.transforms import apply_transform, build_transform, stored_boxes
from adafocus_rl.errors import UserError
from adafocus_rl.features.live import LiveEpisodes
from adafocus_rl.models.recognizer import Recognizer


@dataclass(frozen=True, kw_only=True)
class FramePrediction:
    """What a stream is recognised as after one more frame."""

    names: list[str]
    """Names of the K classes."""
    probabilities: Tensor
    """(K,) float32, from all frames so far."""
    box: tuple[int, int, int, int]
    """(top, left, height, width) of the patch, in pixels of the frame after resizing and cropping."""
    stored_box: tuple[float, float, float, float]
    """The same in pixels of the frame as it came, not rounded."""
    looked: bool
    """Whether f_L processed the frame; if not, ``box`` is where it would have."""
    side: int
    """Side in pixels of f_L's input, which is resized from the box by some methods; 0 if f_L did not run."""
    frames: int
    """Number of frames so far, this one included."""
    gmacs: float
    """10⁹ multiply-accumulates spent on all frames so far."""
    ms: float
    """Milliseconds from the decoded frame to the prediction."""
    stopped: bool
    """Whether the stream is over, because the confidence or the method's own rule is reached."""

    @property
    def confidence(self) -> float:
        """The highest class probability."""
        return float(self.probabilities.max())

    @property
    def label(self) -> str:
        """Name of the most probable class."""
        return self.names[int(self.probabilities.argmax())]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """Return the most probable classes with their probabilities, in descending order."""
        return most_probable(self.probabilities, self.names, count)


class OnlinePredictor:
    """Recognises one stream; ``Predictor.stream`` creates one.

    After the frames of a clip, the probabilities equal those of ``Predictor.predict`` on this clip. A stream may go on
    longer, in constant memory. The networks have learnt from clips of T frames, which are spread over a whole video:
    choose the distance of the frames accordingly.

    Args:
        method: the method.
        knob: operating point of the method; None if it has only one.
        names: names of the K classes.
        transform: from frames as they come to those of a clip.
        device: device of the networks.
        exit_at: stop once the confidence reaches this; None for no such rule.
        deployed: the deployed form of the method's recognizer (``Run.deploy``); None runs the recognizer itself.

    Raises:
        UserError: if the method cannot recognise frame by frame, or ``exit_at`` is not in (0, 1].
    """

    def __init__(
        self,
        method: Method,
        *,
        knob: float | None,
        names: list[str],
        transform: TransformConfig,
        device: torch.device,
        exit_at: float | None = None,
        deployed: Recognizer | None = None,
    ) -> None:
        if exit_at is not None and not 0 < exit_at <= 1:
            raise UserError(f"the confidence to stop at is {exit_at:g}; give a number above 0, and at most 1")
        self.method = method
        self.recognizer = method.recognizer if deployed is None else deployed
        self.knob = knob
        self.names = names
        self.device = device
        self.exit_at = exit_at
        self._config = transform
        self._transform = build_transform(transform, train=False)
        self.reset()

    def reset(self) -> None:
        """Forget all frames; the next one begins a new stream."""
        self._stream = self.method.stream(knob=self.knob)
        self._before: LiveEpisodes | None = None
        self._frames = 0
        self._macs = 0
        self._stopped = False

    @torch.no_grad()
    def step(self, frame: NDArray[np.uint8]) -> FramePrediction:
        """Process the next frame of the stream.

        Args:
            frame: (H, W, 3) uint8 RGB.

        Raises:
            ValueError: if the frame has another shape or type.
            UserError: if the frame is too small, or the stream is over.
        """
        if self._stopped:
            raise UserError("the stream is over, because the prediction was certain enough; call reset() first")
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"the frame is {frame.dtype} {frame.shape}; expected uint8 (H, W, 3)")
        size = self._config.frame_size
        if not self._config.short_side and min(frame.shape[:2]) < size:
            raise UserError(f"the frame has {frame.shape[0]}×{frame.shape[1]} pixels, smaller than frame_size, {size}")
        started = time.perf_counter()
        pixels = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None]
        clip, _ = apply_transform(self._transform, pixels, torch.full((1, 4), torch.nan))
        batch = ClipBatch.unlabelled(clip[None], len(self.names), rows=torch.zeros(1, dtype=torch.long))
        episodes = LiveEpisodes(self.recognizer, batch, device=self.device, before=self._before)
        steps = self._stream.step(episodes)
        probabilities = steps.logits[0, 0].float().cpu().softmax(-1)  # waits for the device
        spent = 1000 * (time.perf_counter() - started)
        self._before = episodes
        self._frames += 1
        self._macs += int(steps.macs[0, 0])
        over = self._stream.over
        certain = self.exit_at is not None and float(probabilities.max()) >= self.exit_at
        self._stopped = certain or (over is not None and bool(over[0]))
        box = steps.boxes[0, 0].cpu()
        top, left, height, width = box.tolist()
        y, x, stored_height, stored_width = stored_boxes(self._config, box, (frame.shape[0], frame.shape[1])).tolist()
        looked = bool(steps.looks[0, 0])
        return FramePrediction(
            names=self.names,
            probabilities=probabilities,
            box=(top, left, height, width),
            stored_box=(y, x, stored_height, stored_width),
            looked=looked,
            side=int(steps.sizes[0, 0]) if steps.sizes is not None else height if looked else 0,
            frames=self._frames,
            gmacs=self._macs / 1e9,
            ms=spent,
            stopped=self._stopped,
        )


def most_probable(probabilities: Tensor, names: Sequence[str], count: int) -> list[tuple[str, float]]:
    """Return the most probable of K classes with their probabilities (K,), in descending order."""
    values, places = probabilities.topk(min(count, len(probabilities)))
    return [(names[place], value) for value, place in zip(values.tolist(), places.tolist(), strict=True)]
