"""AdaFrame: a recurrent network with a memory of light features chooses where to look next, and when to stop."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl.agents.methods.base import FIRST_VISIT, check_knob
from adafocus_rl.agents.methods.frame_heads import random_scores
from adafocus_rl.agents.methods.frame_looks import Looks, discounted, random_frames, search_training, standardised
from adafocus_rl.agents.methods.frame_memory import FrameMemory, positional_encoding
from adafocus_rl.agents.methods.learnt import FrameVectors, LearntMethod
from adafocus_rl.agents.methods.outcome import Cost, Outcome, Visit
from adafocus_rl.agents.methods.published import LIGHT112, RESNET101
from adafocus_rl.agents.policies.options import MOST_UNITS
from adafocus_rl.agents.training_options import ClassifierTraining
from adafocus_rl.envs.frame_search import frame_at, margin, uniform_frames
from adafocus_rl.features import EpisodeFeatures, TableSpec
from adafocus_rl.flops import macs
from adafocus_rl.models.config import ModelConfig
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.options import MOST, require, require_range
from adafocus_rl.record import RANDOM_DECISIONS
from adafocus_rl.seeding import derive_seed, hash_uniform


@dataclass(frozen=True, kw_only=True)
class AdaFrameOptions:
    """Options of ``AdaFrame``; defaults are published, but for ``patience``, ``drop``, ``width`` and ``training``."""

    patience: tuple[int, ...] = (1, 2, 5)
    """Each p: the search stops when V has been below its maximum by ``drop`` p times; if p ≥ K, it never does."""

    steps: int = 5
    """K, largest number of steps (AdaFrame-5; also published: AdaFrame-10)."""

    drop: float = 0.7
    """μ, share of the largest utility so far by which V has to fall to count towards p, in [0, 1]. The published 0.7 is
    an absolute difference, which utilities cannot reach that are sums of increases of probabilities and end at 0."""

    memory: int = 16
    """Number of frames of the memory, evenly spaced; all frames of shorter clips."""

    light_size: int | None = None
    """Input side of the light network f_G in pixels; null is ``model.glance_size``. The published size is 112."""

    hidden: int = 1024
    """Length of the LSTM's hidden vector (published: 1024 on ActivityNet, 2048 on FCVID)."""

    width: int = 512
    """Length of the attention's keys and queries."""

    std: float = 0.1
    """Standard deviation of the next location around its mean, in training."""

    gamma: float = 0.9
    """γ, discount of later rewards, in [0, 1]."""

    training: ClassifierTraining = field(default_factory=search_training)
    """Training of all networks."""

    def __post_init__(self) -> None:
        require(self, "patience", len(self.patience) > 0, "at least one number of steps")
        require_range(self, "patience", "memory", least=1, most=MOST)
        require_range(self, "steps", least=1, most=100)
        require_range(self, "light_size", least=1, most=16_384)
        require_range(self, "hidden", "width", least=1, most=MOST_UNITS)
        require_range(self, "std", least=1e-6, most=1)
        require_range(self, "drop", "gamma", least=0, most=1)


@dataclass(frozen=True, kw_only=True)
class FrameSearch:
    """A search in B clips, in S steps."""

    frames: Tensor
    """(B, S) int64, the frame of each step."""

    active: Tensor
    """(B, S) bool, False in steps after the stop."""

    logits: Tensor
    """(B, S, K)."""

    utility: Tensor
    """(B, S), V."""

    mean: Tensor
    """(B, S) mean of the next location, in (0, 1)."""

    sample: Tensor
    """(B, S) the next location before it is clamped to [0, 1]."""


class AdaFrame(LearntMethod):
    """AdaFrame (Wu et al. 2019).

    A memory holds f_G's vectors of evenly spaced frames, with positional encoding. In each step, f_L processes the
    current frame; soft attention to the memory by the previous hidden vector gives a context; and an LSTM reads both.
    Linear heads on its hidden vector give the logits, the next location (normally distributed around a sigmoid; the
    mean in evaluation), and the expected utility V of further steps. The reward is the increase of the best margin so
    far. It trains with REINFORCE with V as the baseline, ½(V − R)², and the cross-entropy of the last step. In
    evaluation, the search stops when V < (1 − μ) · max V so far has held p times. Frames that were seen before are not
    processed again.

    Our choices: the first frame is the middle one; positional encoding is sinusoidal and added to f_G's vectors, which
    keys and context are made of; margins are differences of probabilities; V_t predicts the discounted rewards of the
    steps after t; μ is a share of max V; R − V is normalised over the batch; two losses are means over steps.

    Args:
        recognizer: frozen f_G and f_L.
        options: stop counts, sizes, and the training.
        seed: seed of the initial weights and of the locations in training.
    """

    label = "adaframe"
    Options = AdaFrameOptions
    options: AdaFrameOptions
    knob_name = "p"

    def __init__(self, recognizer: Recognizer, options: AdaFrameOptions | None = None, *, seed: int = 0) -> None:
        size = None if options is None else options.light_size
        self.light = FrameVectors.of("glance", size, recognizer.config)
        self.heavy = FrameVectors.of("focus", None, recognizer.config)
        super().__init__(recognizer, options, seed=seed)
        self.knobs = tuple(float(count) for count in self.options.patience)
        nets, (light, heavy) = self.networks, self._dims
        hidden = torch.zeros(1, self.options.hidden)
        self._memory_macs = self.light.macs(recognizer) + self.memory.frame_macs()
        heads = sum(macs(nets[name], hidden) for name in ("head", "location", "utility"))
        self._step_macs = heads + macs(nets["cell"], torch.zeros(1, heavy + light))
        self._heavy_macs = self.heavy.macs(recognizer)

    @classmethod
    def tables_of(cls, options: AdaFrameOptions, model: ModelConfig) -> tuple[TableSpec, ...]:
        """Return the table of light vectors, unless they are those that every bank has."""
        return FrameVectors.of("glance", options.light_size, model).tables

    @property
    def _dims(self) -> tuple[int, int]:
        return self.light.dim(self.recognizer), self.heavy.dim(self.recognizer)

    def _create(self) -> dict[str, nn.Module]:
        (light, heavy), hidden = self._dims, self.options.hidden
        return {
            "memory": FrameMemory(light, hidden=hidden, width=self.options.width),
            "cell": nn.LSTMCell(heavy + light, hidden),
            "head": nn.Linear(hidden, self.recognizer.config.num_classes),
            "location": nn.Linear(hidden, 1),
            "utility": nn.Linear(hidden, 1),
        }

    @property
    def memory(self) -> FrameMemory:
        """The attention to light features."""
        memory = self.networks["memory"]
        assert isinstance(memory, FrameMemory)
        return memory

    def _remember(self, batch: EpisodeFeatures) -> Tensor:
        """Return the memory (B, m, D_G)."""
        count = min(self.options.memory, batch.num_steps)
        frames = uniform_frames(count, batch.num_steps, device=batch.videos.device)
        light = self.light.read_at(batch, frames.expand(len(batch), -1))
        return light + positional_encoding(frames, light.shape[-1])

    def search(
        self,
        batch: EpisodeFeatures,
        looks: Looks,
        *,
        patience: int | None = None,
        noise: Tensor | None = None,
        planned: tuple[Tensor, Tensor] | None = None,
    ) -> FrameSearch:
        """Search in B clips.

        Args:
            batch: features of the clips.
            looks: reads the frames.
            patience: p; None never stops.
            noise: (B, S) added to the means of the next locations; None for none.
            planned: ``frames`` and ``active`` of the search, instead of those that the networks choose.
        """
        memory, nets = self._remember(batch), self.networks
        count, num_frames = looks.seen.shape
        device = memory.device
        frame = uniform_frames(1, num_frames, device=device).expand(count)
        active = torch.ones(count, dtype=torch.bool, device=device)
        hidden = cell = torch.zeros(count, self.options.hidden, device=device)
        best, held = torch.full((count,), -torch.inf, device=device), torch.zeros(count, device=device)
        keys, found = self.memory.key(memory), list[tuple[Tensor, ...]]()
        for step in range(self.options.steps):
            if planned is not None:
                frame, active = (part[:, step] for part in planned)
            vector = looks.read(frame[:, None], active, step)[:, 0]
            context = self.memory(hidden, keys, memory)
            following = nets["cell"](torch.cat((vector, context), dim=-1), (hidden, cell))
            hidden, cell = (torch.where(active[:, None], *pair) for pair in zip(following, (hidden, cell), strict=True))
            utility = nets["utility"](hidden)[:, 0]
            mean = nets["location"](hidden)[:, 0].sigmoid()
            sample = mean.detach() if noise is None else mean.detach() + noise[:, step]
            found.append((frame, active, nets["head"](hidden), utility, mean, sample))
            best = torch.maximum(best, utility.detach())
            held = held + (active & (utility.detach() < (1 - self.options.drop) * best))
            if patience is not None:
                active = active & (held < patience)
            frame = torch.where(active, frame_at(sample.clamp(0, 1), num_frames), frame)
        names = ("frames", "active", "logits", "utility", "mean", "sample")
        parts = {name: torch.stack(values, dim=1) for name, values in zip(names, zip(*found, strict=True), strict=True)}
        return FrameSearch(**parts)

    def loss(self, episodes: EpisodeFeatures, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of the losses of classes, locations and utilities."""
        step = torch.arange(self.options.steps, device=episodes.videos.device)
        uniform = hash_uniform(derive_seed(self.seed, self.label, "noise", epoch), episodes.videos[:, None], step[None])
        noise = self.options.std * torch.special.ndtri(uniform.clamp_min(1e-12)).float()
        looks = Looks(self.heavy, episodes, self.recognizer, ahead=True)
        found = self.search(episodes, looks, noise=noise)
        reward = increases(found.logits.detach(), episodes.labels)
        policy, value = search_losses(found, discounted(reward, self.options.gamma), self.options.std, episodes.share)
        recognition = F.cross_entropy(found.logits[:, -1], episodes.labels)
        top1 = (found.logits[:, -1].argmax(-1) == episodes.labels).float().mean()
        scalars = {"loss": recognition, "policy_loss": policy, "value_loss": value, "top1": top1}
        seen = looks.seen.float().sum(1).mean()
        return recognition + policy + value, {**scalars, "reward": reward.sum(1).mean(), "frames": seen}

    @torch.no_grad()
    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        """Recognise B videos; stop when the utility has dropped p times."""
        check_knob(self, knob)
        assert knob is not None
        looks = Looks(self.heavy, batch, self.recognizer, ahead=False)
        found = self.search(batch, looks, patience=int(knob), planned=self._plan(batch, int(knob), visit))
        memory = min(self.options.memory, batch.num_steps)
        # The memory is paid for in advance, whatever frames it consists of.
        preview = memory * self._memory_macs // batch.num_steps
        cost = Cost(always=preview, local=self._heavy_macs, ahead=preview)
        trace = looks.trace(self.recognizer, found.logits, cost)
        step = self._step_macs + self.memory.step_macs(memory)
        spent = looks.seen.sum(1) * self._heavy_macs + memory * self._memory_macs + found.active.sum(1) * step
        return Outcome(logits=trace.logits[:, -1], macs=spent, trace=trace)

    def _plan(self, batch: EpisodeFeatures, patience: int, visit: Visit) -> tuple[Tensor, Tensor] | None:
        """Return frames and active steps that do not depend on the networks, or None to search with them."""
        return None

    def random_counterpart(self) -> AdaFrame:
        """Return the same networks at random locations: as many steps and different frames in each clip, equal cost."""
        return _RandomLocations(self)


class _RandomLocations(AdaFrame):
    """AdaFrame's networks on random frames."""

    variant = RANDOM_DECISIONS
    stochastic = True
    learns = False

    def __init__(self, method: AdaFrame) -> None:
        vars(self).update(vars(method))

    def _plan(self, batch: EpisodeFeatures, patience: int, visit: Visit) -> tuple[Tensor, Tensor]:
        own = self.search(batch, Looks(self.heavy, batch, self.recognizer, ahead=False), patience=patience)
        return random_frames(own.frames[..., None], random_scores(self, batch, visit))[..., 0], own.active


def increases(logits: Tensor, labels: Tensor) -> Tensor:
    """Return by how much the margin exceeds the best one so far, at least 0, in every step but the first, (B, S − 1).

    Args:
        logits: (B, S, K).
        labels: (B,).
    """
    best = margin(logits.softmax(-1), labels[:, None].expand(logits.shape[:2])).cummax(dim=1).values
    return best[:, 1:] - best[:, :-1]


def search_losses(found: FrameSearch, returns: Tensor, std: float, share: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return REINFORCE's loss with normalised R − V, and ½(V − R)², means over clips and all steps but the last.

    Args:
        found: the search.
        returns: R, (B, S − 1).
        std: standard deviation of locations.
        share: share of the batch of all ranks that these clips are; R − V is normalised over this batch.
    """
    utility, mean, sample = (part[:, : returns.shape[1]] for part in (found.utility, found.mean, found.sample))
    log_prob = -0.5 * ((sample - mean) / std).square()
    count = max(1, returns.numel())
    policy = -(log_prob * standardised(returns - utility.detach(), torch.full_like(returns, share > 0))).sum() / count
    return policy, 0.5 * (utility - returns).square().sum() / count


def published_gmacs(frames: float) -> float:
    """Return the published GMACs per video: ResNet-101 on a number of frames, MobileNet-V2 at 112 on 16."""
    return RESNET101 * frames + 16 * LIGHT112
