"""Listen-to-look, image version: recurrent attention to light features selects the frames that f_L recognises."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl.agents.methods.base import FIRST_VISIT, check_knob
from adafocus_rl.agents.methods.frame_attention import FrameAttention, initialise
from adafocus_rl.agents.methods.frame_heads import frame_ranks, random_scores, recognise_frames
from adafocus_rl.agents.methods.learnt import FrameVectors, LearntMethod
from adafocus_rl.agents.methods.outcome import Cost, Outcome, Visit
from adafocus_rl.agents.methods.published import PREVIEW, RESNET101
from adafocus_rl.agents.policies.options import MOST_UNITS
from adafocus_rl.agents.training_options import ClassifierTraining, SGDConfig
from adafocus_rl.features import EpisodeFeatures, TableSpec
from adafocus_rl.flops import macs
from adafocus_rl.models.config import ModelConfig
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.options import MOST, require, require_range
from adafocus_rl.record import RANDOM_DECISIONS


def _training() -> ClassifierTraining:
    sgd = SGDConfig(batch_size=256, schedule="steps", milestones=[15, 20])
    return ClassifierTraining(epochs=25, learning_rate=0.01, sgd=sgd)


@dataclass(frozen=True, kw_only=True)
class ListenToLookOptions:
    """Options of ``ListenToLook``; the defaults are the published ones."""

    steps: tuple[int, ...] = (3, 5, 7, 10)
    """Each number of steps in evaluation; at least 1, and as many as frames for shorter clips."""

    training_steps: int = 10
    """Number of steps in training; at least 1, and as many as frames for shorter clips."""

    width: int = 512
    """Length of keys and queries."""

    hidden: int = 1024
    """Length of the LSTM's hidden vector."""

    no_reselection: bool = False
    """Whether a frame that was selected in a step cannot be selected again."""

    light_size: int | None = None
    """Input side of the light network f_G in pixels; null is ``model.glance_size``."""

    training: ClassifierTraining = field(default_factory=_training)
    """Training of attention and head."""

    def __post_init__(self) -> None:
        require(self, "steps", len(self.steps) > 0, "at least one number of steps")
        require_range(self, "steps", "training_steps", least=1, most=MOST)
        require_range(self, "width", "hidden", least=1, most=MOST_UNITS)
        require_range(self, "light_size", least=1, most=16_384)


class ListenToLook(LearntMethod):
    """Listen to Look (Gao et al. 2020), image version.

    f_G previews all frames. In each step, ``FrameAttention`` selects a frame, which f_L recognises as a whole; the
    prediction is a linear layer on the mean of the steps' features. In training, a step's feature is the weighted mean
    of all frames' features; in evaluation, it is that of the frame with the largest weight. A frame that is selected
    again counts again, but f_L processes it once.

    Our choices: what the attention reads, keys and the cell's inputs, are f_G's vectors, so that only the preview is
    needed to select frames; the step features, from which the class is predicted, are f_L's. Weights of batch
    normalisation begin with 1. With ``no_reselection``, the frame of the largest weight is closed in training, too.

    Args:
        recognizer: frozen f_G and f_L.
        options: numbers of steps, sizes, and the training.
        seed: seed of the initial weights.
    """

    label = "listen_to_look"
    Options = ListenToLookOptions
    options: ListenToLookOptions
    knob_name = "steps"

    def __init__(self, recognizer: Recognizer, options: ListenToLookOptions | None = None, *, seed: int = 0) -> None:
        size = None if options is None else options.light_size
        self.light = FrameVectors.of("glance", size, recognizer.config)
        self.heavy = FrameVectors.of("focus", None, recognizer.config)
        super().__init__(recognizer, options, seed=seed)
        self.knobs = tuple(float(steps) for steps in self.options.steps)
        preview = self.light.macs(recognizer) + self.attention.frame_macs()
        head = macs(self.networks["head"], torch.zeros(1, self.heavy.dim(recognizer)))
        self._cost = Cost(always=preview, local=self.heavy.macs(recognizer) + head, ahead=preview)
        self._step_macs = self.attention.step_macs()

    @classmethod
    def tables_of(cls, options: ListenToLookOptions, model: ModelConfig) -> tuple[TableSpec, ...]:
        """Return the table of light vectors, unless they are those that every bank has."""
        return FrameVectors.of("glance", options.light_size, model).tables

    @property
    def attention(self) -> FrameAttention:
        """The network that selects frames."""
        attention = self.networks["attention"]
        assert isinstance(attention, FrameAttention)
        return attention

    def _create(self) -> dict[str, nn.Module]:
        options = self.options
        attention = FrameAttention(
            self.light.dim(self.recognizer),
            width=options.width,
            hidden=options.hidden,
            distinct=options.no_reselection,
        )
        head = nn.Linear(self.heavy.dim(self.recognizer), self.recognizer.config.num_classes)
        initialise(head)
        return {"attention": attention, "head": head}

    def loss(self, episodes: EpisodeFeatures, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross-entropy of the prediction from weighted means of frames."""
        steps = min(self.options.training_steps, episodes.num_steps)
        weights = self.attention(self.light.read(episodes), steps)
        logits = self.networks["head"](torch.bmm(weights, self.heavy.read(episodes)).mean(1))
        loss = F.cross_entropy(logits, episodes.labels)
        return loss, {"loss": loss, "top1": (logits.argmax(-1) == episodes.labels).float().mean()}

    @torch.no_grad()
    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        """Recognise B videos in a number of steps."""
        check_knob(self, knob)
        assert knob is not None
        steps = min(int(knob), batch.num_steps)
        times, order = self._look(batch, steps, visit)
        found = recognise_frames(self, self.networks["head"], self.heavy, batch, times, cost=self._cost, order=order)
        spent = steps * (self._step_macs + batch.num_steps * self.options.width)
        return Outcome(logits=found.logits, macs=found.macs + spent, trace=found.trace)

    def _look(self, batch: EpisodeFeatures, steps: int, visit: Visit) -> tuple[Tensor, Tensor]:
        """Return how often each frame is selected, (B, T) int64, and the first step in which it is; −1 if in none."""
        chosen = self.attention(self.light.read(batch), steps).argmax(-1)
        selected = F.one_hot(chosen, batch.num_steps)
        times = selected.sum(1)
        return times, torch.where(times > 0, selected.argmax(1), -1)

    def random_counterpart(self) -> ListenToLook:
        """Return the same method on as many random frames as each clip has selected ones, at the same cost."""
        return _RandomFrames(self)


class _RandomFrames(ListenToLook):
    """Listen-to-look's head on random frames."""

    variant = RANDOM_DECISIONS
    stochastic = True
    learns = False

    def __init__(self, method: ListenToLook) -> None:
        vars(self).update(vars(method))

    def _look(self, batch: EpisodeFeatures, steps: int, visit: Visit) -> tuple[Tensor, Tensor]:
        own, _ = super()._look(batch, steps, visit)
        rank = frame_ranks(random_scores(self, batch, visit))
        looks = rank < (own > 0).sum(1, keepdim=True)
        return looks.long(), torch.where(looks, rank, -1)


def published_gmacs(steps: int) -> float:
    """Return the published GMACs per video with a number of distinct frames (image version, ActivityNet).

    They are a preview of all frames, and ResNet-101 at 224 on each selected frame.
    """
    return PREVIEW + RESNET101 * steps
