"""f_L on every whole frame: the reference for the compute that patches save."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adafocus_rl import checkpoint
from adafocus_rl.agents.methods.base import FIRST_VISIT, Method
from adafocus_rl.agents.methods.classifier import train_classifier
from adafocus_rl.agents.methods.learnt import whole_frame_boxes
from adafocus_rl.agents.methods.outcome import Cost, Outcome, Steps, Visit
from adafocus_rl.agents.methods.stream import Stream, check_single_frames
from adafocus_rl.agents.methods.trainer import Trainer
from adafocus_rl.agents.training_options import ClassifierTraining
from adafocus_rl.features import EpisodeFeatures, FeatureSource
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.record import WHOLE_FRAMES


class WholeFrames(Method):
    """f_G and f_L on every whole frame, and an f_C of its own.

    Args:
        recognizer: frozen f_G and f_L.
        options: none.
        seed: not used.
        classifier: the f_C, trained or to be trained by ``fit``; None uses a copy of the recognizer's.
        training: epochs, learning rate and optimiser of ``fit``; None uses those of stage III.
    """

    label = WHOLE_FRAMES
    learns = True

    def __init__(
        self,
        recognizer: Recognizer,
        options: Any = None,
        *,
        seed: int = 0,
        classifier: Classifier | None = None,
        training: ClassifierTraining | None = None,
    ) -> None:
        super().__init__(recognizer, options, seed=seed)
        self.classifier = (copy.deepcopy(recognizer.classifier) if classifier is None else classifier).eval()
        self.training = ClassifierTraining() if training is None else training

    def fit(self, train: FeatureSource, val: FeatureSource, *, trainer: Trainer) -> None:
        """Train f_C on f_L's features of whole frames.

        Raises:
            UserError: if the training diverges.
        """

        def local(episodes: EpisodeFeatures, epoch: int) -> Tensor:
            return episodes.full()

        train_classifier(trainer, self.label, self.classifier, train, local, training=self.training)

    def facts(self) -> dict[str, Any]:
        """Return the options, the seed, and the options of f_C's training."""
        return {**super().facts(), "training": dataclasses.asdict(self.training)}

    @torch.no_grad()
    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        """Recognise B videos; nothing is selected."""
        return Outcome.after(self._steps(self.classifier(self._inputs(batch))))

    def stream(self, *, knob: float | None = None, count: int = 1) -> Stream:
        """Begin to recognise streams online."""
        check_single_frames(self.recognizer, self.label)
        return _WholeFramesStream(self, count)

    def _inputs(self, batch: EpisodeFeatures) -> Tensor:
        return torch.cat((batch.global_vector, batch.full()), dim=-1)

    def _steps(self, logits: Tensor) -> Steps:
        boxes = whole_frame_boxes(self.recognizer, logits[..., 0])
        return Steps(logits=logits, boxes=boxes, cost=self.cost)

    @property
    def cost(self) -> Cost:
        """Cost of a step."""
        return Cost(always=self.costs.glance + self.costs.classifier, local=self.costs.focus_full)

    def tensors(self) -> dict[str, Tensor]:
        """Return f_C's weights."""
        return {f"classifier.{name}": value for name, value in self.classifier.state_dict().items()}

    def load_tensors(self, tensors: Mapping[str, Tensor], *, what: str) -> None:
        """Restore f_C's weights."""
        checkpoint.load_into(self.classifier, tensors, prefix="classifier.", what=what)


class _WholeFramesStream(Stream):
    def __init__(self, method: WholeFrames, count: int) -> None:
        self.method = method
        weight = next(method.classifier.parameters())
        self.state = method.classifier.initial_state(count, device=weight.device, dtype=weight.dtype)

    @torch.no_grad()
    def step(self, frame: EpisodeFeatures) -> Steps:
        """Process the whole frame."""
        method = self.method
        self.state = method.classifier.cell(method._inputs(frame)[:, 0], self.state)
        return method._steps(method.classifier.logits(self.state)[:, None])
