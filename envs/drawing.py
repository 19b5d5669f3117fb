"""Rendering of the current step of running environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from adafocus_rl.envs.frames import Frames
from adafocus_rl.envs.render import Box, Picture, draw_step
from adafocus_rl.envs.running import Stepped


class StepPictures:
    """Draws steps, and caches the clips of the running episodes.

    Args:
        frames: source of the frames to draw on.
        num_steps: number of steps of an episode.
    """

    def __init__(self, frames: Frames, num_steps: int) -> None:
        self._frames = frames
        self._num_steps = num_steps
        self._clips: dict[tuple[int, int], NDArray[np.uint8]] = {}

    def draw(
        self, info: Mapping[str, Any], *, step: int, box: Box | None = None, confidence: float | None = None
    ) -> Picture:
        """Draw the frame of the last action, or the first frame before any action.

        Args:
            info: info of one environment, with ``video``, ``visit`` and ``true_box`` (T, 4). If it has ``frame`` (N,),
                these frames are drawn instead, side by side.
            step: number of steps taken.
            box: box of the selected patch; None draws none.
            confidence: probability of the true class after the step.

        Raises:
            UserError: the video is missing or cannot be decoded.
        """
        key = int(info["video"]), int(info["visit"])
        if key not in self._clips:
            self._clips[key] = self._frames(key[0]).permute(0, 2, 3, 1).cpu().numpy()
        pictures = [
            draw_step(
                self._clips[key][at],
                step=step,
                num_steps=self._num_steps,
                confidence=confidence,
                box=box,
                true_box=info["true_box"][at],
            )
            for at in info.get("frame", [max(0, step - 1)])
        ]
        return pictures[0] if len(pictures) == 1 else np.concatenate(pictures, axis=1)

    def draw_all(self, running: Stepped, boxes: Tensor | None, logits: Tensor | None) -> tuple[Picture, ...]:
        """Draw one picture for each of B environments.

        Args:
            running: the running episodes.
            boxes: (B, 4) boxes of f_L's inputs in the last step, empty where f_L was not run; None before the first.
            logits: (B, K) logits of f_C after the last step.

        Raises:
            UserError: see ``draw``.
        """
        known = ("video", "visit", "true_box", "frame")
        facts = {name: running.info[name].cpu() for name in known if name in running.info}
        rows = range(len(running.steps))
        infos = [{name: value[row] for name, value in facts.items()} for row in rows]
        under_way = {(int(info["video"]), int(info["visit"])) for info in infos}
        self._clips = {key: clip for key, clip in self._clips.items() if key in under_way}
        sure: list[float] = []
        if logits is not None:
            sure = logits.float().softmax(-1).gather(-1, running.info["label"][:, None])[:, 0].tolist()
        return tuple(
            self.draw(infos[row], step=int(running.steps[row]))
            if running.steps[row] == 0 or boxes is None
            else self.draw(infos[row], step=int(running.steps[row]), box=boxes[row], confidence=sure[row])
            for row in rows
        )

    def forget(self) -> None:
        """Drop the cached clips when new episodes begin."""
        self._clips.clear()
