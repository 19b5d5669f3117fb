"""Base of methods that decide frame by frame with a gate, which learns through samples with a gradient."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar, cast

import torch
from torch import Tensor, nn

from adafocus_rl.agents.methods.base import FIRST_VISIT, check_knob
from adafocus_rl.agents.methods.learnt import NetworkMethod, fit_networks
from adafocus_rl.agents.methods.outcome import Outcome, Steps, Visit
from adafocus_rl.agents.methods.stream import Stream, check_single_frames
from adafocus_rl.agents.methods.trainer import Trainer
from adafocus_rl.features import EpisodeFeatures, FeatureSource
from adafocus_rl.features.shares import own_parts
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.record import RANDOM_DECISIONS
from adafocus_rl.seeding import derive_seed, hash_uniform, isolated

Memory: TypeAlias = tuple[Tensor, ...]
"""What a method keeps from frame to frame, each tensor with a row per video."""

UNDECIDED = -1
"""Decision in a frame in which the gate is not asked."""


class GatedNetworks(nn.Module):
    """Networks of one knob, and how often their gate makes each choice.

    Args:
        choices: A, number of choices of the gate.
    """

    usage: Tensor
    """(A,) share of each choice among the gate's decisions on the training videos; equal before the training."""

    def __init__(self, choices: int) -> None:
        super().__init__()
        self.register_buffer("usage", torch.full((choices,), 1 / choices))


NetworksT = TypeVar("NetworksT", bound=GatedNetworks)


class GatedMethod(NetworkMethod, Generic[NetworksT]):
    """A method whose gate makes a choice in each frame, with networks and a training of their own for each knob.

    The networks of all knobs have the same initial weights and see the same random numbers. A training is called after
    the stem and its knob.

    Args:
        recognizer: frozen f_G and f_L.
        options: an instance of ``Options``, which has a field ``training``.
        knobs: the operating points.
        seed: seed of initial weights and random numbers.
    """

    at_random: bool = False
    """Whether choices are random, as in the random counterpart."""

    def __init__(self, recognizer: Recognizer, options: Any, *, knobs: Sequence[float], seed: int = 0) -> None:
        self.knobs = tuple(float(knob) for knob in knobs)
        super().__init__(recognizer, options, seed=seed)

    @abstractmethod
    def _create_one(self) -> NetworksT:
        """Return the networks of one knob."""

    @abstractmethod
    def knob_loss(
        self, networks: NetworksT, knob: float, episodes: EpisodeFeatures, epoch: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean loss of a knob's networks over B videos, and scalars to log, which are means, too."""

    @abstractmethod
    def decide(
        self, batch: EpisodeFeatures, knob: float, visit: Visit, memory: Memory | None = None
    ) -> tuple[Steps, Tensor, Memory]:
        """Recognise B videos, from their beginning or from where an earlier call has ended.

        Args:
            batch: features of the videos, or of their next frames.
            knob: operating point.
            visit: number of the visit.
            memory: what the earlier call has returned; None begins new videos.

        Returns:
            The trace, the gate's decisions (B, T) int64, ``UNDECIDED`` where it was not asked, and the memory for the
            next call.
        """

    def _create(self) -> dict[str, nn.Module]:
        networks = {}
        for knob in self.knobs:
            with isolated("method", self.label, self.seed):
                networks[_name(knob)] = self._create_one()
        return dict(networks)

    def at(self, knob: float) -> NetworksT:
        """Return the networks of a knob."""
        return cast("NetworksT", self.networks[_name(knob)])

    @torch.no_grad()
    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        """Recognise B videos, frame by frame, with the gate's best choices."""
        check_knob(self, knob)
        assert knob is not None
        return Outcome.after(self.decide(batch, knob, visit)[0])

    def stream(self, *, knob: float | None = None, count: int = 1) -> Stream:
        """Begin to recognise streams online, with the gate's best choices."""
        check_knob(self, knob)
        assert knob is not None
        if self.at_random:  # its choices depend on the number of the frame in the clip
            return super().stream(knob=knob, count=count)
        check_single_frames(self.recognizer, self.label)
        return _GatedStream(self, knob)

    def fit(self, train: FeatureSource, val: FeatureSource, *, trainer: Trainer) -> None:
        """Train the networks of each knob, and count the choices of its gate.

        Raises:
            UserError: if a training diverges.
        """
        for knob in self.knobs:
            networks = self.at(knob)
            loss = partial(self.knob_loss, networks, knob)
            step = f"{self.stem}.{knob}"
            fit_networks(networks, loss, train, training=self.training, trainer=trainer, step=step)
            self._count(knob, train)

    @torch.no_grad()
    def _count(self, knob: float, train: FeatureSource) -> None:
        usage = self.at(knob).usage
        counts = torch.zeros_like(usage, dtype=torch.long)
        for episodes in own_parts(train, self.training.sgd.batch_size):
            decisions = episodes.join(self.decide(episodes, knob, FIRST_VISIT)[1])
            counts += torch.bincount(decisions[decisions != UNDECIDED], minlength=len(usage))
        usage.copy_(counts / counts.sum())

    def uniform(self, episodes: EpisodeFeatures, choices: int, epoch: int) -> Tensor:
        """Return the uniform numbers (B, T, A) of the gate's samples in an epoch of the training."""
        device = episodes.videos.device
        steps, every = (torch.arange(count, device=device) for count in (episodes.num_steps, choices))
        epochs = torch.full_like(episodes.videos, epoch)
        return hash_uniform(
            derive_seed(self.seed, self.label, "gate"),
            epochs[:, None, None],
            episodes.videos[:, None, None],
            steps[:, None],
            every,
        )

    def choose(self, logits: Tensor, usage: Tensor, videos: Tensor, step: int, visit: Visit) -> Tensor:
        """Return the choices (B,) int64 in one frame of B videos: the gate's best ones, or random ones.

        Args:
            logits: (B, A), the gate's.
            usage: (A,), share of each choice on the training videos.
            videos: (B,), rows of the videos.
            step: number of the frame.
            visit: number of the visit.
        """
        if not self.at_random:
            return logits.argmax(-1)
        steps, visits = torch.full_like(videos, step), torch.full_like(videos, visit.number)
        uniform = hash_uniform(derive_seed(self.seed, self.label, "random choices"), videos, steps, visits)
        # Normalised, because float32 shares add up to 1 only approximately.
        bounds = usage.double().cumsum(0)
        return torch.searchsorted(bounds / bounds[-1], uniform, right=True)

    def random_counterpart(self) -> GatedMethod[NetworksT]:
        """Return the same method with random choices, as frequent as the gate's on the training videos.

        It still pays for the gate, for equal compute. Where choices take several frames, the mean compute is equal up
        to choices that reach beyond the last frame.
        """
        other = copy.copy(self)
        other.at_random, other.variant, other.stochastic, other.learns = True, RANDOM_DECISIONS, True, False
        return other


class _GatedStream(Stream):
    def __init__(self, method: GatedMethod[Any], knob: float) -> None:
        self.method = method
        self.knob = knob
        self.memory: Memory | None = None

    @torch.no_grad()
    def step(self, frame: EpisodeFeatures) -> Steps:
        """Process the next frame."""
        steps, _, self.memory = self.method.decide(frame, self.knob, FIRST_VISIT, self.memory)
        return steps


def _name(knob: float) -> str:
    """Return the name of a knob's networks; names of modules contain no dots."""
    return str(float(knob)).replace(".", "_")
