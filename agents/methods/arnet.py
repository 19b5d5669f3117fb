"""AR-Net: a light policy chooses, frame by frame, the resolution of the heavy network, or skips frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl import ranks
from adafocus_rl.agents.methods.gated import UNDECIDED, GatedMethod, GatedNetworks, Memory
from adafocus_rl.agents.methods.learnt import FrameVectors, running_mean, whole_frame_boxes
from adafocus_rl.agents.methods.outcome import Cost, Steps, Visit
from adafocus_rl.agents.methods.published import AR_NET
from adafocus_rl.agents.policies.straight_through import gumbel_softmax
from adafocus_rl.agents.training_options import ClassifierTraining, SGDConfig
from adafocus_rl.features import EpisodeFeatures, TableSpec
from adafocus_rl.flops import macs
from adafocus_rl.models.config import ModelConfig
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.options import require, require_range

LARGEST = "ResNet-50 at 224"
"""The published network that costs as much in the loss as f_L at its largest size."""


def _training() -> ClassifierTraining:
    sgd = SGDConfig(batch_size=48, schedule="steps", milestones=[20, 40])
    return ClassifierTraining(epochs=50, learning_rate=0.02, sgd=sgd)


@dataclass(frozen=True, kw_only=True)
class ARNetOptions:
    """Options of ``ARNet``; defaults as published."""

    efficiency: tuple[float, ...] = (0.05,)
    """Each weight e of the compute in the loss, in [0, 1]; that of the cross-entropy is 1 − e. Each has networks and a
    training of its own."""

    sizes: tuple[int, ...] | None = None
    """Input sides of f_L in pixels; null is the frame size, 3/4 and 1/2 of it."""

    light_size: int | None = None
    """Input side of f_G in pixels; null is ``model.glance_size``. The published size is 84."""

    skips: tuple[int, ...] = (1, 2, 4)
    """Numbers of frames that can be skipped, including the one in which this is decided; at least 1."""

    hidden: int = 512
    """Length of the policy's hidden vector."""

    balance: float = 3.0
    """Weight of ‖usage − mean usage‖ relative to the mean GMACs; usage is the share of the frames of each action."""

    temperature: float = 5.0
    """Temperature of the policy's samples in the first epoch, above 0."""

    temperature_decay: float = 0.045
    """Rate at which the temperature decays: by a factor of exp(−rate) per epoch."""

    training: ClassifierTraining = field(default_factory=_training)
    """Training of each e."""

    def __post_init__(self) -> None:
        for name in ("efficiency", "sizes", "skips"):
            values = getattr(self, name)
            distinct = values is None or 0 < len(set(values)) == len(values)
            require(self, name, distinct, "at least one number, and none of them twice")
        require_range(self, "efficiency", least=0, most=1)
        require_range(self, "sizes", "light_size", "hidden", least=1, most=16_384)
        require_range(self, "skips", least=1, most=10_000)
        require_range(self, "balance", "temperature_decay", least=0)
        require(self, "temperature", self.temperature > 0, "a number above 0")


class ARNetNetworks(GatedNetworks):
    """The policy, its own classifier, and a classifier for each size of f_L.

    Args:
        light_dim: length of f_G's vectors.
        heavy_dim: length of f_L's vectors.
        sizes: number of sizes of f_L.
        skips: number of actions that skip frames.
        hidden: length H of the policy's hidden vector.
        classes: K.
    """

    def __init__(self, light_dim: int, heavy_dim: int, *, sizes: int, skips: int, hidden: int, classes: int) -> None:
        super().__init__(choices=sizes + 1 + skips)
        self.cell = nn.LSTMCell(light_dim, hidden)
        self.policy = nn.Linear(hidden, len(self.usage))
        self.own = nn.Linear(hidden, classes)
        self.heads = nn.ModuleList(nn.Linear(heavy_dim, classes) for _ in range(sizes))

    def initial_state(self, videos: Tensor) -> tuple[Tensor, Tensor]:
        """Return hidden and cell vectors (B, H) before the first frame of B videos, zeros."""
        zeros = torch.zeros(len(videos), self.cell.hidden_size, device=videos.device)
        return zeros, zeros


class ARNet(GatedMethod[ARNetNetworks]):
    """AR-Net (Meng et al. 2020), as in its public code.

    The policy, an LSTM on f_G's vectors, chooses an action for a frame: to process it with f_L at one of several input
    sizes, to process it with the policy's own classifier, or to skip one or more frames. While frames are skipped, the
    policy does not run, and keeps its state and action. The prediction is the mean of the logits of the processed
    frames. The loss is (1 − e) · cross-entropy + e · (mean GMACs of f_L + 3 · ‖usage − mean usage‖), where the policy's
    samples have the gradient of a Gumbel-softmax whose temperature decays. The best action is chosen in evaluation; the
    public code samples there, too.

    Our choices: instead of another network for each size (ResNet-50 at 224, ResNet-34 at 168, ResNet-18 at 112), the
    run's frozen f_L processes all sizes, with a linear head for each. The published networks are trained before the
    policy; instead, the loss includes the cross-entropy of each head's mean logits over all frames. GMACs in the loss
    are scaled so that f_L at its largest size costs as much as ResNet-50 at 224, for which e was chosen. Both vectors
    of the LSTM's state are kept while frames are skipped; the public code keeps the hidden one only. The logits of a
    clip without any processed frame are zeros. T is the run's in training and evaluation.

    Args:
        recognizer: frozen f_G and f_L.
        options: the weights e, the actions, and the training.
        seed: seed of the initial weights, of the policy's samples and of random actions.

    Attributes:
        sizes: input sides of f_L, which are the first actions; the next one is the policy's own classifier.
        cost: MACs of the policy, and of f_L at its largest size.
        focus_macs: (A,) int64, MACs of f_L and its head with each action.
        lengths: (A,) int64, number of frames of each action.
    """

    label = "arnet"
    Options = ARNetOptions
    options: ARNetOptions
    knob_name = "e"

    def __init__(self, recognizer: Recognizer, options: ARNetOptions | None = None, *, seed: int = 0) -> None:
        options = ARNetOptions() if options is None else options
        self.light, self.heavy = _encoders(options, recognizer.config)
        self.sizes = tuple(vectors.size for vectors in self.heavy)
        super().__init__(recognizer, options, knobs=options.efficiency, seed=seed)
        skips = len(options.skips)
        networks = self.at(self.knobs[0])
        parts = (networks.cell, networks.policy, networks.own)
        inputs = (networks.cell.input_size, options.hidden, options.hidden)
        policy = sum(macs(part, torch.zeros(1, dim)) for part, dim in zip(parts, inputs, strict=True))
        head = macs(networks.heads[0], torch.zeros(1, self.heavy[0].dim(recognizer)))
        costs = [vectors.macs(recognizer) + head for vectors in self.heavy]
        self.cost = Cost(always=self.light.macs(recognizer) + policy, local=max(costs))
        self.focus_macs = torch.tensor([*costs, 0, *[0] * skips])
        self.lengths = torch.tensor([*[1] * len(costs), 1, *options.skips])

    @classmethod
    def tables_of(cls, options: ARNetOptions, model: ModelConfig) -> tuple[TableSpec, ...]:
        """Return the tables of all vectors but those that every bank has."""
        light, heavy = _encoders(options, model)
        return tuple(table for vectors in (light, *heavy) for table in vectors.tables)

    def _create_one(self) -> ARNetNetworks:
        return ARNetNetworks(
            self.light.dim(self.recognizer),
            self.heavy[0].dim(self.recognizer),
            sizes=len(self.sizes),
            skips=len(self.options.skips),
            hidden=self.options.hidden,
            classes=self.recognizer.config.num_classes,
        )

    def temperature(self, epoch: int) -> float:
        """Return the temperature of the policy's samples in an epoch."""
        return self.options.temperature * math.exp(-self.options.temperature_decay * epoch)

    def knob_loss(
        self, networks: ARNetNetworks, knob: float, episodes: EpisodeFeatures, epoch: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (1 − e) · cross-entropy + e · efficiency loss, plus the cross-entropy of each head on all frames."""
        labels, processing = episodes.labels, len(self.sizes) + 1
        weights, states = self._sample(networks, episodes, epoch)
        heads = [head(vectors.read(episodes)) for head, vectors in zip(networks.heads, self.heavy, strict=True)]
        logits = torch.stack((*heads, networks.own(states)), dim=2)
        chosen = weights[..., :processing]
        total = (chosen[..., None] * logits).sum((1, 2))
        prediction = total / chosen.sum((1, 2)).clamp(min=1)[:, None]
        recognition = F.cross_entropy(prediction, labels)
        relative = self.focus_macs.to(weights) / self.cost.local
        usage = ranks.added(weights.mean((0, 1)) * episodes.share)
        efficiency = AR_NET[LARGEST] * (usage @ relative) + self.options.balance * (usage - usage.mean()).norm()
        alone = torch.stack([F.cross_entropy(one.mean(1), labels) for one in heads]).sum()
        top1 = (prediction.argmax(-1) == labels).float().mean()
        scalars = {"loss": recognition, "efficiency_loss": efficiency, "heads_loss": alone, "top1": top1}
        return (1 - knob) * recognition + knob * efficiency + alone, scalars

    def _sample(self, networks: ARNetNetworks, episodes: EpisodeFeatures, epoch: int) -> tuple[Tensor, Tensor]:
        """Return sampled actions as weights (B, T, A), and the policy's hidden vectors (B, T, H)."""
        light, temperature = self.light.read(episodes), self.temperature(epoch)
        uniform = self.uniform(episodes, len(networks.usage), epoch)
        lengths = self.lengths.to(light.device)
        hidden, cell = networks.initial_state(episodes.videos)
        left = torch.zeros_like(episodes.videos)
        weight = light.new_zeros(len(light), len(networks.usage))
        weights, states = [], []
        for step in range(light.shape[1]):
            skipped = (left > 0)[:, None]
            following = networks.cell(light[:, step], (hidden, cell))
            hidden, cell = (torch.where(skipped, a, b) for a, b in zip((hidden, cell), following, strict=True))
            sample = gumbel_softmax(networks.policy(hidden), uniform[:, step], temperature=temperature)
            weight = torch.where(skipped, weight, sample)
            left = torch.where(left > 0, left, lengths[weight.argmax(-1)]) - 1
            weights.append(weight)
            states.append(hidden)
        return torch.stack(weights, dim=1), torch.stack(states, dim=1)

    def decide(
        self, batch: EpisodeFeatures, knob: float, visit: Visit, memory: Memory | None = None
    ) -> tuple[Steps, Tensor, Memory]:
        """Recognise B videos: first the policy runs, frame by frame, then f_L at each size."""
        networks = self.at(knob)
        if memory is None:
            none = torch.zeros_like(batch.videos)
            mean = torch.zeros(len(batch), networks.own.out_features, device=none.device)
            memory = (*networks.initial_state(batch.videos), none, mean, none)
        *acting, mean, count = memory
        decisions, own, after = self._act(networks, batch, visit, acting)
        logits = torch.where((decisions == len(self.sizes))[..., None], own, 0.0)
        steps = torch.arange(decisions.shape[1], device=decisions.device).expand_as(decisions)
        for action, (head, vectors) in enumerate(zip(networks.heads, self.heavy, strict=True)):
            keep = decisions == action
            if bool(keep.any()):
                logits = torch.where(keep[..., None], head(vectors.read_at(batch, steps, keep)), logits)
        asked = decisions != UNDECIDED
        processed = asked & (decisions <= len(self.sizes))
        kept = asked & (decisions < len(self.sizes))
        sizes = torch.tensor([*self.sizes, *[0] * (len(self.lengths) - len(self.sizes))], device=decisions.device)
        actions = decisions.clamp(min=0)
        # The frames before are one entry, which counts as often as there are processed ones.
        counts = torch.cat((count[:, None], processed), dim=1)
        means = running_mean(torch.cat((mean[:, None], logits), dim=1), counts)[:, 1:]
        trace = Steps(
            logits=means,
            boxes=whole_frame_boxes(self.recognizer, kept),
            kept=kept,
            ran=asked,
            sizes=torch.where(asked, sizes[actions], 0),
            focus_macs=torch.where(asked, self.focus_macs.to(decisions.device)[actions], 0),
            cost=self.cost,
        )
        return trace, decisions, (*after, means[:, -1], counts.sum(1))

    def _act(
        self, networks: ARNetNetworks, batch: EpisodeFeatures, visit: Visit, memory: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Return the decisions (B, T), the logits (B, T, K) of the own classifier where asked, and the memory."""
        lengths = self.lengths.to(batch.videos.device)
        hidden, cell, left = memory
        shape = len(batch), batch.num_steps
        decisions = torch.full(shape, UNDECIDED, device=left.device)
        own = torch.zeros(*shape, networks.own.out_features, device=left.device)
        for step in range(shape[1]):
            asked = left == 0
            rows = asked.nonzero().flatten()
            if len(rows):
                steps = torch.full_like(left, step)[:, None]
                light = self.light.read_at(batch, steps, asked[:, None])[rows, 0]
                following = networks.cell(light, (hidden[rows], cell[rows]))
                hidden, cell = hidden.index_copy(0, rows, following[0]), cell.index_copy(0, rows, following[1])
                logits = networks.policy(following[0])
                action = self.choose(logits, networks.usage, batch.videos[rows], step, visit)
                decisions[rows, step] = action
                own[rows, step] = networks.own(following[0])
                left = left.index_copy(0, rows, lengths[action])
            left = left - 1
        return decisions, own, (hidden, cell, left)


def _encoders(options: ARNetOptions, model: ModelConfig) -> tuple[FrameVectors, list[FrameVectors]]:
    """Return the light vectors, and the heavy ones of each size."""
    side = model.frame_size
    sizes = options.sizes or (side, round(3 * side / 4), round(side / 2))
    return (
        FrameVectors.of("glance", options.light_size, model),
        [FrameVectors.of("focus", size, model) for size in sizes],
    )


def published_gmacs(frames: int, usage: Sequence[float], policy: float) -> float:
    """Return the published cost of a video in GMACs.

    Args:
        frames: T.
        usage: share of the frames that ResNet-50, ResNet-34 and ResNet-18 process.
        policy: share of the frames on which the policy runs.
    """
    *networks, decision = AR_NET.values()
    return frames * (sum(share * gmacs for share, gmacs in zip(usage, networks, strict=True)) + policy * decision)
