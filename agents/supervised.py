"""One pass of supervised learning, from minibatches to updates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from adafocus_rl import checkpoint, ranks
from adafocus_rl.agents.learner import Tick
from adafocus_rl.agents.parallel import Gradients, average_statistics
from adafocus_rl.agents.sgd import clip_gradients, make_optimizer, set_rate
from adafocus_rl.agents.training_options import PrecisionConfig, SGDConfig
from adafocus_rl.errors import UserError
from adafocus_rl.models.batch_norm import statistics_of_all_ranks
from adafocus_rl.optimizer_state import OPTIMIZER, optimizer_tensors, restore_optimizer
from adafocus_rl.seeding import isolated

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Batch(Protocol):
    """A minibatch."""

    @property
    def rows(self) -> Tensor:
        """(B,) rows of the index."""
        ...

    def __len__(self) -> int:
        """Return B."""
        ...


BatchT = TypeVar("BatchT", bound=Batch)

Losses = Callable[[BatchT, slice], tuple[Tensor, dict[str, Tensor]]]
"""Takes a minibatch and a part of it; returns the mean loss of that part, and scalars to log, which are means, too."""


class SupervisedLearner(Generic[BatchT]):
    """A ``Learner`` that learns from labels with SGD.

    In a job of several ranks, each computes the loss of its part of every minibatch, and the gradients are added up. A
    part counts by its share of the whole minibatch, so an update is that of one process, to rounding, except for what
    depends on the part itself: batch normalisation in training mode (unless it is synchronised), and dropout, whose
    masks are drawn by each rank. Batch statistics are averaged after each epoch.

    Args:
        modules: modules to save in checkpoints, by name: those to train, and those that belong with them.
        rates: modules to train, each with its initial learning rate.
        batches: returns the minibatches of one pass, given the number of the epoch; in a job of several ranks, this
            rank's part of each, and None for a part without videos. If the loss communicates, videos with a ``share``
            of 0 stand in for them.
        losses: the loss to minimise.
        sgd: options of the optimiser.
        steps: minibatches per epoch.
        epochs: total number of passes, for the learning rate's schedule.
        device: device to compute on.
        compute: precision, and number of parts that a minibatch is split into; None uses the defaults.

    Attributes:
        overlapped: whether ranks send gradients while they compute others (``Gradients``): on GPUs.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        rates: Sequence[tuple[nn.Module, float]],
        batches: Callable[[int], Iterable[BatchT | None]],
        losses: Losses[BatchT],
        *,
        sgd: SGDConfig,
        steps: int,
        epochs: int,
        device: torch.device,
        compute: PrecisionConfig | None = None,
    ) -> None:
        self.modules = modules
        self.batches = batches
        self.losses = losses
        self.sgd = sgd
        self.steps = steps
        self.epochs = epochs
        self.compute = compute or PrecisionConfig()
        self.device = device
        self.overlapped = device.type == "cuda"
        self.trained = nn.ModuleList([module for module, _ in rates])
        if self._synchronised and device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(self.trained)
        self.optimizer = make_optimizer(rates, sgd)
        # Without it, gradients of float16 losses would underflow; for other types it does nothing.
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.compute.precision == "float16")

    def train_epoch(self, epoch: int, tick: Tick) -> Mapping[str, float]:
        """Make one pass; an update uses the gradient of the mean loss over its minibatch, whatever the parts."""
        for module in self.modules.values():
            module.train()
        mean, step = Mean(), epoch * self.steps
        gradients = Gradients(self.trained, self.losses, self.scaler, overlapped=self.overlapped)
        with self._own_random_numbers(), self._shared_statistics():
            for batch in self.batches(epoch):
                share = self._share(batch)
                if share is None:
                    continue
                set_rate(self.optimizer, self.sgd, step, steps=self.steps, epochs=self.epochs)
                step += 1
                self.optimizer.zero_grad(set_to_none=True)
                loss = self._add_gradients(gradients, batch, share, mean)
                self.scaler.unscale_(self.optimizer)  # the norm is that of the unscaled gradients
                clip_gradients(self.optimizer, self.sgd)
                self.scaler.step(self.optimizer)
                self.scaler.update()
                tick(loss=loss, rows=None if batch is None else batch.rows)
        average_statistics(self.modules.values())
        return {f"train/{name}": value for name, value in mean.values().items()}

    def _share(self, batch: BatchT | None) -> float | None:
        """Return the share of a minibatch that this rank has; None if the minibatch is left out.

        If a batch does not know its share, because videos may turn out to be undecodable, the ranks tell each other how
        many they have.
        """
        share: float | None = getattr(batch, "share", None)
        if share is not None:
            return share
        counts = ranks.counts(0 if batch is None else len(batch))
        if not any(counts) or (self._synchronised and not all(counts)):
            return None
        return counts[ranks.rank()] / sum(counts)

    def _add_gradients(self, gradients: Gradients, batch: BatchT | None, share: float, mean: Mean) -> Tensor:
        """Compute the gradients of this rank's share of a minibatch, and return the mean loss of its videos."""
        if batch is None:
            gradients.add_nothing()
            return torch.zeros((), device=self.device)
        whole: list[Tensor] = []
        for part in _parts(len(batch), self.compute.accumulate):
            videos = part.stop - part.start
            of_batch = videos / len(batch)
            loss, scalars = gradients.add(batch, part, weight=share * of_batch, last=part.stop == len(batch))
            mean.add(videos if share else 0, **scalars)  # with a share of 0, they stand in for an empty part
            whole.append(loss * of_batch)
        return torch.stack(whole).sum()

    @property
    def _synchronised(self) -> bool:
        return self.compute.sync_batch_norm and ranks.world() > 1

    def _shared_statistics(self) -> AbstractContextManager[None]:
        """Synchronise batch normalisation on CPUs, for which torch's layer does not work."""
        if not self._synchronised or self.device.type == "cuda":
            return nullcontext()
        return statistics_of_all_ranks(self.trained, 1.0)

    def _own_random_numbers(self) -> AbstractContextManager[None]:
        """Let each rank draw other numbers from the global generators: dropout of its own videos."""
        if ranks.world() == 1:
            return nullcontext()
        return isolated(torch.initial_seed(), "rank", ranks.rank(), device=self.device)

    def training_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the modules' and the optimiser's tensors, which share memory with them, and plain values."""
        modules = {
            f"{name}.{key}": value
            for name, module in self.modules.items()
            for key, value in module.state_dict().items()
        }
        optimizer, plain = optimizer_tensors(self.optimizer, prefix=OPTIMIZER)
        return {**modules, **optimizer}, {"optimizer": plain, "scaler": self.scaler.state_dict()}

    def load_training_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any], *, what: str) -> None:
        """Restore the modules and the optimiser.

        Raises:
            UserError: if they belong to another architecture or optimiser.
        """
        for name, module in self.modules.items():
            checkpoint.load_into(module, tensors, prefix=f"{name}.", what=what)
        try:
            restore_optimizer(self.optimizer, tensors, plain["optimizer"], prefix=OPTIMIZER)
        except UserError as error:
            raise UserError(f"{what}: {error}") from None
        if plain.get("scaler"):
            self.scaler.load_state_dict(plain["scaler"])


def autocast(compute: PrecisionConfig, device: torch.device) -> torch.autocast:
    """Return the context for the encoders' part of a loss; its results have the precision's type."""
    kind = _TYPES[compute.precision]
    return torch.autocast(device.type, dtype=kind, enabled=kind != torch.float32)


class Mean:
    """Means of scalars over all ranks, which stay on the device until they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, count: int, **scalars: Tensor) -> None:
        """Add scalars that are means over ``count`` items."""
        self._count += count
        for name, value in scalars.items():
            self._sums[name] = self._sums.get(name, torch.zeros((), device=value.device)) + value.detach() * count

    def values(self) -> dict[str, float]:
        """Return the means so far; all ranks must call it."""
        found = ranks.gather((self._count, {name: float(total) for name, total in self._sums.items()}))
        names = dict.fromkeys(name for _, sums in found for name in sums)
        count = sum(count for count, _ in found)
        return {name: sum(sums.get(name, 0.0) for _, sums in found) / count for name in names}


def _parts(count: int, parts: int) -> Iterator[slice]:
    """Yield the parts of a minibatch, of equal size; the last one may be smaller."""
    size = -(-count // parts)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
