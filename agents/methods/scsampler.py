"""SCSampler: a light network ranks the frames, and a heavy one recognises the most salient ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl import ranks
from adafocus_rl.agents.methods.base import FIRST_VISIT, check_knob
from adafocus_rl.agents.methods.frame_heads import frame_ranks, head_training, random_scores, recognise_frames
from adafocus_rl.agents.methods.learnt import FrameVectors, LearntMethod
from adafocus_rl.agents.methods.outcome import Cost, Outcome, Visit
from adafocus_rl.agents.methods.published import LIGHT84, RESNET50
from adafocus_rl.agents.training_options import ClassifierTraining
from adafocus_rl.features import EpisodeFeatures, TableSpec
from adafocus_rl.flops import macs
from adafocus_rl.models.config import ModelConfig
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.options import MOST, require, require_range
from adafocus_rl.record import RANDOM_DECISIONS


@dataclass(frozen=True, kw_only=True)
class SCSamplerOptions:
    """Options of ``SCSampler``; defaults as in AR-Net's re-implementation."""

    frames: tuple[int, ...] = (1, 2, 4)
    """Each k, the number of frames that f_L recognises; k ≥ 1, and all frames of shorter clips."""

    light_size: int | None = None
    """Input side of the light network f_G in pixels; null is ``model.glance_size``. The published size is 84."""

    sampler_loss: Literal["classification", "ranking"] = "classification"
    """``classification``: cross-entropy of the mean light logits; ``ranking``: for each pair of frames, the one on
    which f_L's logit of the true class is higher should be the more salient one (margin 0)."""

    training: ClassifierTraining = field(default_factory=head_training)
    """Training of both heads."""

    def __post_init__(self) -> None:
        require(self, "frames", len(self.frames) > 0, "at least one number of frames")
        require_range(self, "frames", least=1, most=MOST)
        require_range(self, "light_size", least=1, most=16_384)


class SCSampler(LearntMethod):
    """SCSampler (Korbar et al. 2019), as re-implemented for AR-Net (Meng et al. 2020).

    A linear head on f_G's vector of each frame gives light logits; a frame's saliency is the largest of them. f_L
    processes the k most salient whole frames, and the prediction is the mean of a linear head's logits on these.

    Our choices: the heads are trained together, in one training; f_L is the run's frozen f_L, and its head learns from
    the mean logits of all frames.

    Args:
        recognizer: frozen f_G and f_L.
        options: numbers of frames, and the training.
        seed: seed of the initial weights.
    """

    label = "scsampler"
    Options = SCSamplerOptions
    options: SCSamplerOptions
    knob_name = "k"

    def __init__(self, recognizer: Recognizer, options: SCSamplerOptions | None = None, *, seed: int = 0) -> None:
        model = recognizer.config
        size = None if options is None else options.light_size
        self.light = FrameVectors.of("glance", size, model)
        self.heavy = FrameVectors.of("focus", None, model)
        super().__init__(recognizer, options, seed=seed)
        self.knobs = tuple(float(k) for k in self.options.frames)
        self._light_macs = self.light.macs(recognizer) + macs(self.networks["light"], torch.zeros(1, self._dims[0]))
        self._heavy_macs = self.heavy.macs(recognizer) + macs(self.networks["heavy"], torch.zeros(1, self._dims[1]))

    @classmethod
    def tables_of(cls, options: SCSamplerOptions, model: ModelConfig) -> tuple[TableSpec, ...]:
        """Return the table of light vectors, unless they are those that every bank has."""
        return FrameVectors.of("glance", options.light_size, model).tables

    @property
    def _dims(self) -> tuple[int, int]:
        return self.light.dim(self.recognizer), self.heavy.dim(self.recognizer)

    def _create(self) -> dict[str, nn.Module]:
        classes = self.recognizer.config.num_classes
        light, heavy = self._dims
        return {"light": nn.Linear(light, classes), "heavy": nn.Linear(heavy, classes)}

    def loss(self, episodes: EpisodeFeatures, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of both heads' losses."""
        labels = episodes.labels
        light: Tensor = self.networks["light"](self.light.read(episodes))
        heavy: Tensor = self.networks["heavy"](self.heavy.read(episodes))
        recognition = F.cross_entropy(heavy.mean(1), labels)
        if self.options.sampler_loss == "classification":
            sampler = F.cross_entropy(light.mean(1), labels)
        else:
            usefulness = heavy.detach().gather(-1, labels[:, None, None].expand(-1, heavy.shape[1], 1))[..., 0]
            sampler = ranking_loss(light.amax(-1), usefulness, share=episodes.share)
        top1 = (heavy.mean(1).argmax(-1) == labels).float().mean()
        return sampler + recognition, {"loss": recognition, "sampler_loss": sampler, "top1": top1}

    @torch.no_grad()
    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        """Recognise B videos by their k most salient frames."""
        check_knob(self, knob)
        assert knob is not None
        saliency = self._saliency(batch, visit)
        keep = frame_ranks(saliency) < int(knob)
        cost = Cost(always=self._light_macs, local=self._heavy_macs, ahead=self._light_macs)
        return recognise_frames(self, self.networks["heavy"], self.heavy, batch, keep, cost=cost)

    def _saliency(self, batch: EpisodeFeatures, visit: Visit) -> Tensor:
        """Return the saliency (B, T) of each frame."""
        light: Tensor = self.networks["light"](self.light.read(batch))
        return light.amax(-1)

    def random_counterpart(self) -> SCSampler:
        """Return the same method on k random frames; it still pays for the light network, for equal compute."""
        return _RandomFrames(self)


class _RandomFrames(SCSampler):
    """SCSampler's heads on k random frames."""

    variant = RANDOM_DECISIONS
    stochastic = True
    learns = False

    def __init__(self, method: SCSampler) -> None:
        vars(self).update(vars(method))

    def _saliency(self, batch: EpisodeFeatures, visit: Visit) -> Tensor:
        return random_scores(self, batch, visit)


def ranking_loss(saliency: Tensor, usefulness: Tensor, *, share: float = 1.0) -> Tensor:
    """Return the mean margin ranking loss (margin 0) over all pairs of frames whose usefulness differs.

    Args:
        saliency: (B, T).
        usefulness: (B, T); the more useful frame of a pair should have the higher saliency.
        share: share of the batch of all ranks that these clips are; the mean is that of this batch.
    """
    sign = (usefulness[:, :, None] - usefulness[:, None, :]).sign()
    hinge = (-sign * (saliency[:, :, None] - saliency[:, None, :])).clamp(min=0)
    counts = float(share > 0)
    return ranks.added(hinge.sum() * counts) / ranks.total((sign != 0).sum() * counts).clamp(min=1)


def published_gmacs(frames: int, kept: int) -> float:
    """Return the published GMACs per video: MobileNet-V2 at 84 on all frames, ResNet-50 at 224 on kept ones."""
    return LIGHT84 * frames + RESNET50 * kept
