"""One pass of supervised learning, from minibatches to updates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from adafocus_rl import checkpoint
from adafocus_rl.agents.learner import Tick
from adafocus_rl.agents.sgd import clip_gradients, make_optimizer, set_rate
from adafocus_rl.agents.training_options import PrecisionConfig, SGDConfig
from adafocus_rl.errors import UserError
from adafocus_rl.optimizer_state import OPTIMIZER, optimizer_tensors, restore_optimizer

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

    Args:
        modules: modules to save in checkpoints, by name: those to train, and those that belong with them.
        rates: modules to train, each with its initial learning rate.
        batches: returns the minibatches of one pass, given the number of the epoch.
        losses: the loss to minimise.
        sgd: options of the optimiser.
        steps: minibatches per epoch.
        epochs: total number of passes, for the learning rate's schedule.
        device: device to compute on.
        compute: precision, and number of parts that a minibatch is split into; None uses the defaults.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        rates: Sequence[tuple[nn.Module, float]],
        batches: Callable[[int], Iterable[BatchT]],
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
        self.optimizer = make_optimizer(rates, sgd)
        # Without it, gradients of float16 losses would underflow; for other types it does nothing.
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.compute.precision == "float16")

    def train_epoch(self, epoch: int, tick: Tick) -> Mapping[str, float]:
        """Make one pass; an update uses the gradient of the mean loss over its minibatch, whatever the parts."""
        for module in self.modules.values():
            module.train()
        mean = Mean()
        for step, batch in enumerate(self.batches(epoch), epoch * self.steps):
            set_rate(self.optimizer, self.sgd, step, steps=self.steps, epochs=self.epochs)
            self.optimizer.zero_grad(set_to_none=True)
            whole: list[Tensor] = []
            for part in _parts(len(batch), self.compute.accumulate):
                share = (part.stop - part.start) / len(batch)
                loss, scalars = self.losses(batch, part)
                self.scaler.scale(loss * share).backward()
                mean.add(part.stop - part.start, **scalars)
                whole.append(loss.detach() * share)
            self.scaler.unscale_(self.optimizer)  # the norm is that of the unscaled gradients
            clip_gradients(self.optimizer, self.sgd)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            tick(loss=torch.stack(whole).sum(), rows=batch.rows)
        return {f"train/{name}": value for name, value in mean.values().items()}

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
    """Means of scalars, which stay on the device until they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, count: int, **scalars: Tensor) -> None:
        """Add scalars that are means over ``count`` items."""
        self._count += count
        for name, value in scalars.items():
            self._sums[name] = self._sums.get(name, torch.zeros((), device=value.device)) + value.detach() * count

    def values(self) -> dict[str, float]:
        """Return the means so far."""
        return {name: float(total) / self._count for name, total in self._sums.items()}


def _parts(count: int, parts: int) -> Iterator[slice]:
    """Yield the parts of a minibatch, of equal size; the last one may be smaller."""
    size = -(-count // parts)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
