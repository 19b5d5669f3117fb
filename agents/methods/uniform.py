"""f_L on a few whole frames at uniform places of the clip: the plain rival of methods that select frames."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl.agents.methods.base import FIRST_VISIT, check_knob
from adafocus_rl.agents.methods.frame_heads import head_training, recognise_frames
from adafocus_rl.agents.methods.learnt import FrameVectors, LearntMethod
from adafocus_rl.agents.methods.outcome import Cost, Outcome, Visit
from adafocus_rl.agents.training_options import ClassifierTraining
from adafocus_rl.features import EpisodeFeatures
from adafocus_rl.flops import macs
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.options import MOST, require, require_range


@dataclass(frozen=True, kw_only=True)
class UniformFramesOptions:
    """Options of ``UniformFrames``."""

    frames: tuple[int, ...] = (1, 2, 4)
    """Each k, the number of frames; k ≥ 1, and all frames of shorter clips."""

    training: ClassifierTraining = field(default_factory=head_training)
    """Training of the head; the default is that of SCSampler's heads."""

    def __post_init__(self) -> None:
        require(self, "frames", len(self.frames) > 0, "at least one number of frames")
        require_range(self, "frames", least=1, most=MOST)


class UniformFrames(LearntMethod):
    """f_L on k of T whole frames, ⌊T/k · (i + ½)⌋ for i < k, and the mean of a linear head's logits on them.

    f_G does not run. The method is our own baseline, the same as SCSampler without a sampler: the head learns from the
    mean logits of all frames.

    Args:
        recognizer: frozen f_L.
        options: numbers of frames, and the training.
        seed: seed of the initial weights.
    """

    label = "uniform"
    Options = UniformFramesOptions
    options: UniformFramesOptions
    knob_name = "k"

    def __init__(self, recognizer: Recognizer, options: UniformFramesOptions | None = None, *, seed: int = 0) -> None:
        self.heavy = FrameVectors.of("focus", None, recognizer.config)
        super().__init__(recognizer, options, seed=seed)
        self.knobs = tuple(float(k) for k in self.options.frames)
        head_macs = macs(self.networks["head"], torch.zeros(1, self.heavy.dim(recognizer)))
        self._cost = Cost(always=0, local=self.heavy.macs(recognizer) + head_macs)

    def _create(self) -> dict[str, nn.Module]:
        return {"head": nn.Linear(self.heavy.dim(self.recognizer), self.recognizer.config.num_classes)}

    def loss(self, episodes: EpisodeFeatures, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross-entropy of the mean logits of all frames."""
        logits = self.networks["head"](self.heavy.read(episodes)).mean(1)
        loss = F.cross_entropy(logits, episodes.labels)
        return loss, {"loss": loss, "top1": (logits.argmax(-1) == episodes.labels).float().mean()}

    @torch.no_grad()
    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        """Recognise B videos by k frames."""
        check_knob(self, knob)
        assert knob is not None
        keep = uniform_places(batch.num_steps, int(knob)).to(batch.videos.device).expand(len(batch), -1)
        return recognise_frames(self, self.networks["head"], self.heavy, batch, keep, cost=self._cost)


def uniform_places(frames: int, count: int) -> Tensor:
    """Return which of T frames (T,) bool are the middles of k equal parts of a clip; all of them if k ≥ T."""
    count = min(count, frames)
    keep = torch.zeros(frames, dtype=torch.bool)
    # In integers: ⌊T/k · (i + ½)⌋.
    keep[(2 * torch.arange(count) + 1) * frames // (2 * count)] = True
    return keep
