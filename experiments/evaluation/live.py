"""Methods on decoded clips instead of features, with the networks of training or in their deployed form."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from adafocus_rl.agents.methods import FIRST_VISIT, Method, Outcome, Visit
from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.features.live import LiveEpisodes
from adafocus_rl.models.captured import CapturedCall
from adafocus_rl.models.recognizer import Recognizer


class LiveMethod:
    """A method at one operating point, as a function of decoded clips.

    Clips reach the device as uint8 and are normalised there. In the deployed form on a GPU, the whole recognition of a
    batch is one CUDA graph for each batch size, unless the method waits for the device.

    Args:
        method: the method.
        knob: its operating point.
        device: device to run on.
        deployed: the deployed form of the method's recognizer (``Run.deploy``); None runs the recognizer itself.
    """

    def __init__(
        self, method: Method, knob: float | None = None, *, device: torch.device, deployed: Recognizer | None = None
    ) -> None:
        self.method = method
        self.knob = knob
        self.device = device
        self.recognizer = method.recognizer if deployed is None else deployed
        captures = deployed is not None and device.type == "cuda"
        self._captured = CapturedCall(self._first_visit, device=device, agree=_agree) if captures else None

    @torch.no_grad()
    def __call__(self, batch: ClipBatch, visit: Visit = FIRST_VISIT) -> Outcome:
        """Recognise B clips."""
        if self._captured is None or visit != FIRST_VISIT:
            return self._run(batch, visit)
        parts = batch.clips, batch.labels, batch.multi_hot, batch.true_boxes, batch.frames, batch.rows
        return self._captured(*parts)

    def _run(self, batch: ClipBatch, visit: Visit) -> Outcome:
        episodes = LiveEpisodes(self.recognizer, batch, device=self.device)
        return self.method.run(episodes, knob=self.knob, visit=visit)

    def _first_visit(
        self, clips: Tensor, labels: Tensor, multi_hot: Tensor, true_boxes: Tensor, frames: Tensor, rows: Tensor
    ) -> Outcome:
        batch = ClipBatch(
            clips=clips, labels=labels, multi_hot=multi_hot, true_boxes=true_boxes, frames=frames, rows=rows, failed=[]
        )
        return self._run(batch, FIRST_VISIT)


def agreement(one: LiveMethod, other: LiveMethod, batches: Iterable[ClipBatch]) -> tuple[int, int]:
    """Return in how many clips two methods predict the same class, and the number of clips."""
    same = total = 0
    for batch in batches:
        if len(batch):
            predicted = [method(batch).logits.argmax(-1) for method in (one, other)]
            same += int((predicted[0] == predicted[1]).sum())
            total += len(batch)
    return same, total


def _agree(one: Outcome, other: Outcome) -> bool:
    return torch.allclose(one.logits, other.logits, rtol=1e-2, atol=1e-2 * float(other.logits.abs().max()))
