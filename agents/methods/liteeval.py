"""LiteEval: a coarse network reads every frame, and a gate decides in which frames a fine one runs, too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl import ranks
from adafocus_rl.agents.methods.gated import GatedMethod, GatedNetworks, Memory
from adafocus_rl.agents.methods.learnt import FrameVectors, whole_frame_boxes
from adafocus_rl.agents.methods.outcome import Cost, Steps, Visit
from adafocus_rl.agents.policies.straight_through import gumbel_softmax
from adafocus_rl.agents.training_options import ClassifierTraining, SGDConfig
from adafocus_rl.features import EpisodeFeatures, TableSpec
from adafocus_rl.flops import macs
from adafocus_rl.models.config import ModelConfig
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.options import require, require_range

COMPUTE, SKIP = 0, 1
"""Choices of the gate."""

State: TypeAlias = tuple[Tensor, Tensor]
"""Hidden and cell vectors (B, D) of an LSTM."""


def _training() -> ClassifierTraining:
    sgd = SGDConfig(batch_size=256, optimizer="adam", schedule="steps", milestones=[40, 80], max_grad_norm=5)
    return ClassifierTraining(epochs=100, learning_rate=1e-3, sgd=sgd)


@dataclass(frozen=True, kw_only=True)
class LiteEvalOptions:
    """Options of ``LiteEval``; defaults as published, except for the training's length and rate."""

    skip_rates: tuple[float, ...] = (0.8, 0.9)
    """Each γ, the wanted share of skipped frames in [0, 1]; each has networks and a training of its own."""

    light_size: int | None = None
    """Input side of f_G in pixels; null is ``model.glance_size``. The published size is 112."""

    coarse_width: int = 512
    """Length of the projected coarse features and of the coarse LSTM's hidden vector."""

    fine_width: int = 2048
    """Length of the projected fine features and of the fine LSTM's hidden vector, at least ``coarse_width``."""

    skip_weight: float = 2.0
    """Weight w of the squared difference between γ and the mean share of skipped frames. The published one rises from
    1 to 2."""

    temperature: tuple[float, float] = (1.0, 0.5)
    """Temperature of the gate's samples in the first and in the last epoch, above 0; it decays exponentially."""

    training: ClassifierTraining = field(default_factory=_training)
    """Training of each γ."""

    def __post_init__(self) -> None:
        distinct = 0 < len(set(self.skip_rates)) == len(self.skip_rates)
        require(self, "skip_rates", distinct, "at least one share, and none of them twice")
        require_range(self, "skip_rates", least=0, most=1)
        require_range(self, "light_size", "coarse_width", "fine_width", least=1, most=16_384)
        wide = self.fine_width >= self.coarse_width
        require(self, "fine_width", wide, f"at least coarse_width, {self.coarse_width}")
        require_range(self, "skip_weight", least=0)
        require(self, "temperature", min(self.temperature) > 0, "two numbers above 0")


class LiteEvalNetworks(GatedNetworks):
    """Both projections and LSTMs, the gate, and the classifier.

    Args:
        light_dim: length of f_G's vectors.
        heavy_dim: length of f_L's vectors.
        coarse: length C of the coarse state.
        fine: length F of the fine state, at least C.
        classes: K.
    """

    def __init__(self, light_dim: int, heavy_dim: int, *, coarse: int, fine: int, classes: int) -> None:
        super().__init__(choices=2)
        self.coarse, self.fine = coarse, fine
        self.project_coarse = _projection(light_dim, coarse)
        self.project_fine = _projection(heavy_dim, fine)
        self.coarse_cell = nn.LSTMCell(coarse, coarse)
        self.fine_cell = nn.LSTMCell(fine + coarse, fine)
        self.gate = nn.Linear(coarse + 2 * fine, 2)
        self.classifier = nn.Linear(fine, classes)

    def initial_states(self, videos: Tensor) -> tuple[State, State]:
        """Return the coarse and the fine state before the first frame of B videos, zeros."""
        coarse, fine = (torch.zeros(len(videos), width, device=videos.device) for width in (self.coarse, self.fine))
        return (coarse, coarse), (fine, fine)

    def gate_logits(self, projected: Tensor, fine: State) -> Tensor:
        """Return the logits (B, 2) of computing and skipping, given projected coarse features (B, C)."""
        logits: Tensor = self.gate(torch.cat((projected, *fine), dim=-1))
        return logits

    def compute(self, projected_fine: Tensor, projected: Tensor, fine: State) -> State:
        """Return the fine state after a frame with projected fine (B, F) and coarse (B, C) features."""
        following: State = self.fine_cell(torch.cat((projected_fine, projected), dim=-1), fine)
        return following

    def skip(self, coarse: State, fine: State) -> State:
        """Return the fine state after a skipped frame: its first C entries become the coarse state's."""
        hidden, cell = (
            torch.cat((small, large[:, self.coarse :]), dim=-1) for small, large in zip(coarse, fine, strict=True)
        )
        return hidden, cell


def _projection(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU())


def _project(projection: nn.Module, vectors: Tensor) -> Tensor:
    """Project vectors (B, T, D)."""
    projected: Tensor = projection(vectors.flatten(0, 1)).unflatten(0, vectors.shape[:2])
    return projected


class LiteEval(GatedMethod[LiteEvalNetworks]):
    """LiteEval (Wu et al. 2019), as in its public code.

    A coarse LSTM reads f_G's projected vector of every frame. A gate reads this vector and the state of a fine LSTM. If
    it says compute, the fine LSTM reads f_L's projected vector of the whole frame and f_G's; otherwise f_L is not run,
    and the coarse state overwrites the first entries of the fine one. A linear layer recognises the hidden vector of
    the fine LSTM; the prediction is that after the last frame. The loss is the cross-entropy of the prediction plus
    w · (mean share of skipped frames − γ)², where the gate's samples have the gradient of a Gumbel-softmax.

    Our choices: the coarse and the fine features are those of the run's frozen f_G and f_L; the temperature is a
    function of the epoch, not of the number of updates; w is constant; the batch normalisation of a projection takes
    its statistics over all frames of a minibatch, not frame by frame; Adam with a learning rate of 1e-3 for 100 epochs,
    since the published rate of 0.1 and 500 epochs are those of larger data. The accounting includes logits after each
    frame.

    Args:
        recognizer: frozen f_G and f_L.
        options: the γ, the sizes of the networks, and the training.
        seed: seed of the initial weights, of the gate's samples and of random choices.

    Attributes:
        cost: MACs of a frame.
    """

    label = "liteeval"
    Options = LiteEvalOptions
    options: LiteEvalOptions
    knob_name = "γ"

    def __init__(self, recognizer: Recognizer, options: LiteEvalOptions | None = None, *, seed: int = 0) -> None:
        options = LiteEvalOptions() if options is None else options
        self.light = FrameVectors.of("glance", options.light_size, recognizer.config)
        self.heavy = FrameVectors.of("focus", None, recognizer.config)
        super().__init__(recognizer, options, knobs=options.skip_rates, seed=seed)
        self.cost = self._cost(self.at(self.knobs[0]))

    @classmethod
    def tables_of(cls, options: LiteEvalOptions, model: ModelConfig) -> tuple[TableSpec, ...]:
        """Return the table of light vectors, unless they are those that every bank has."""
        return FrameVectors.of("glance", options.light_size, model).tables

    def _create_one(self) -> LiteEvalNetworks:
        return LiteEvalNetworks(
            self.light.dim(self.recognizer),
            self.heavy.dim(self.recognizer),
            coarse=self.options.coarse_width,
            fine=self.options.fine_width,
            classes=self.recognizer.config.num_classes,
        )

    def _cost(self, networks: LiteEvalNetworks) -> Cost:
        light, heavy = self.light.dim(self.recognizer), self.heavy.dim(self.recognizer)
        always = [
            (networks.project_coarse, light),
            (networks.coarse_cell, networks.coarse),
            (networks.gate, networks.gate.in_features),
            (networks.classifier, networks.fine),
        ]
        local = [(networks.project_fine, heavy), (networks.fine_cell, networks.fine_cell.input_size)]
        return Cost(
            always=self.light.macs(self.recognizer) + sum(macs(part, torch.zeros(1, dim)) for part, dim in always),
            local=self.heavy.macs(self.recognizer) + sum(macs(part, torch.zeros(1, dim)) for part, dim in local),
        )

    def temperature(self, epoch: int) -> float:
        """Return the temperature of the gate's samples in an epoch."""
        first, last = self.options.temperature
        return float(first * (last / first) ** (epoch / max(1, self.training.epochs - 1)))

    def knob_loss(
        self, networks: LiteEvalNetworks, knob: float, episodes: EpisodeFeatures, epoch: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross-entropy of the prediction, plus w · (mean share of skipped frames − γ)²."""
        uniform, temperature = self.uniform(episodes, 2, epoch), self.temperature(epoch)
        light = _project(networks.project_coarse, self.light.read(episodes))
        heavy = _project(networks.project_fine, self.heavy.read(episodes))
        coarse, fine = networks.initial_states(episodes.videos)
        weights = []
        for step in range(light.shape[1]):
            projected = light[:, step]
            coarse = networks.coarse_cell(projected, coarse)
            logits = networks.gate_logits(projected, fine)
            weight = gumbel_softmax(logits, uniform[:, step], temperature=temperature)
            computed, skipped = networks.compute(heavy[:, step], projected, fine), networks.skip(coarse, fine)
            do, leave = weight.split(1, dim=1)
            fine = (do * computed[0] + leave * skipped[0], do * computed[1] + leave * skipped[1])
            weights.append(weight)
        prediction = networks.classifier(fine[0])
        recognition = F.cross_entropy(prediction, episodes.labels)
        skip_rate = ranks.added(torch.stack(weights)[..., SKIP].mean() * episodes.share)
        penalty = (skip_rate - knob) ** 2
        top1 = (prediction.argmax(-1) == episodes.labels).float().mean()
        scalars = {"loss": recognition, "penalty": penalty, "skip_rate": skip_rate, "top1": top1}
        return recognition + self.options.skip_weight * penalty, scalars

    def decide(
        self, batch: EpisodeFeatures, knob: float, visit: Visit, memory: Memory | None = None
    ) -> tuple[Steps, Tensor, Memory]:
        """Recognise B videos frame by frame; f_L and the fine LSTM run where the gate says compute."""
        networks = self.at(knob)
        light = _project(networks.project_coarse, self.light.read(batch))
        coarse, fine = (
            networks.initial_states(batch.videos)
            if memory is None
            else ((memory[0], memory[1]), (memory[2], memory[3]))
        )
        decisions, logits = [], []
        for step in range(light.shape[1]):
            projected = light[:, step]
            coarse = networks.coarse_cell(projected, coarse)
            gate = networks.gate_logits(projected, fine)
            decision = self.choose(gate, networks.usage, batch.videos, step, visit)
            hidden, cell = networks.skip(coarse, fine)
            keep = decision == COMPUTE
            rows = keep.nonzero().flatten()
            if len(rows):
                steps = torch.full_like(batch.videos, step)[:, None]
                heavy = self.heavy.read_at(batch, steps, keep[:, None])[rows, 0]
                before = fine[0][rows], fine[1][rows]
                computed = networks.compute(networks.project_fine(heavy), projected[rows], before)
                hidden, cell = hidden.index_copy(0, rows, computed[0]), cell.index_copy(0, rows, computed[1])
            fine = hidden, cell
            decisions.append(decision)
            logits.append(networks.classifier(hidden))
        choices = torch.stack(decisions, dim=1)
        kept = choices == COMPUTE
        boxes = whole_frame_boxes(self.recognizer, kept)
        trace = Steps(logits=torch.stack(logits, dim=1), boxes=boxes, kept=kept, cost=self.cost)
        return trace, choices, (*coarse, *fine)


def published_gmacs(frames: int, fine_frames: float) -> float:
    """Return the published cost of a video in GMACs.

    Source: MobileNet-V2 at 112 costs 0.08 GMACs a frame, ResNet-101 at 224 costs 7.82.

    Args:
        frames: T.
        fine_frames: number of frames on which the fine network runs, in the mean.
    """
    return 0.08 * frames + 7.82 * fine_frames
