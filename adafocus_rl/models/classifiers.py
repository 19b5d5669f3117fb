"""Classifiers f_C over the features of a clip, for one step or a whole sequence, with an explicit state.

A state is one tensor (…, state_dim), so that an environment can keep, copy and branch the histories of B videos
without knowing the classifier's architecture.
"""

from __future__ import annotations

import abc
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl.models.registry import CLASSIFIERS


class Classifier(nn.Module, abc.ABC):
    """f_C: reads one feature vector per step and gives class logits after every step."""

    input_dim: int
    """D, length of one step's feature vector."""
    num_classes: int
    """K."""
    state_dim: int
    """Length of the state."""

    @property
    def projection_dim(self) -> int:
        """P, length of the input product; see ``project``."""
        return self.input_dim

    def initial_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """The state (B, state_dim) before the first step: zeros."""
        return torch.zeros(batch, self.state_dim, device=device, dtype=dtype)

    @abc.abstractmethod
    def sequence(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """States (B, T, state_dim) after each of T steps with features (B, T, D).

        The sequence starts from ``state`` (B, state_dim), or from the initial state if it is None.
        """

    @abc.abstractmethod
    def cell(self, x: Tensor, state: Tensor) -> Tensor:
        """States (N, state_dim) after one step with features (N, D) from states (N, state_dim)."""

    def project(self, x: Tensor, first: int = 0) -> Tensor:
        """Return what a part of the feature vector adds to the input product, (…, P) of (…, D').

        The input product W·[g; l] = W_g·g + W_l·l splits by the parts of the feature vector. With frozen weights, each
        part needs to be multiplied only once, however many states it is combined with. Biases are not included, and
        dropout is not applied: products are for evaluation mode. A classifier that does not override this method and
        ``projected_cells`` projects nothing: its products are the feature vectors themselves.

        Args:
            x: entries ``first`` to ``first + D' − 1`` of feature vectors.
            first: index of the first entry.
        """
        return F.pad(x, (first, self.input_dim - first - x.shape[-1]))

    def projected_cells(self, projected: Tensor, shared: Tensor, state: Tensor) -> Tensor:
        """Return the states (N, A, state_dim) after one step with each of A inputs from the same state.

        The result equals ``cell`` in evaluation mode.

        Args:
            projected: input products (N, A, P): the sum of ``project`` over the parts of the feature vector in which
                the A inputs differ.
            shared: (N, P), the sum over the other parts.
            state: (N, state_dim).
        """
        count = projected.shape[1]
        inputs = projected + shared[:, None]
        states = self.cell(inputs.flatten(0, 1), state.repeat_interleave(count, dim=0))
        return states.view(len(state), count, -1)

    @abc.abstractmethod
    def logits(self, states: Tensor) -> Tensor:
        """Class logits (…, K) of states (…, state_dim)."""

    def forward(self, x: Tensor) -> Tensor:
        """Class logits (B, T, K) after each of T steps with features (B, T, D); the last step is the prediction."""
        return self.logits(self.sequence(x))


class GRUClassifier(Classifier):
    """The paper's f_C: a GRU, dropout and a linear layer. The state is the GRU's hidden vector.

    Args:
        input_dim: D.
        num_classes: K.
        hidden: length of the hidden vector.
        dropout: probability of dropping an entry of the linear layer's input while training.
    """

    def __init__(self, *, input_dim: int, num_classes: int, hidden: int = 1024, dropout: float = 0.8) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.num_classes = num_classes
        self.state_dim = hidden
        self.gru = nn.GRU(input_dim, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(hidden, num_classes)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copy; on a GPU, its weights must lie in one piece again, or cuDNN gathers them in each call."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.gru.flatten_parameters()

    def sequence(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """Hidden vectors (B, T, hidden) after each of T steps with features (B, T, D)."""
        # The GRU reads one step after the other. Without a gradient, torch multiplies inputs that are not in this order
        # in memory step by step, each time with another copy of the weights.
        x = x.transpose(0, 1).contiguous().transpose(0, 1)
        states: Tensor = self.gru(x, None if state is None else state[None].contiguous())[0]
        return states

    def cell(self, x: Tensor, state: Tensor) -> Tensor:
        """Hidden vectors (N, hidden) after one step with features (N, D); uses the weights of ``sequence``."""
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        return torch.gru_cell(x, state, *(self.gru.get_parameter(name) for name in names))

    @property
    def projection_dim(self) -> int:
        """Three gates of the hidden vector's length."""
        return 3 * self.state_dim

    def project(self, x: Tensor, first: int = 0) -> Tensor:
        """Return W_ih's product with entries of a feature vector, (…, 3 · hidden)."""
        return product(x, self.gru.get_parameter("weight_ih_l0")[:, first : first + x.shape[-1]])

    def projected_cells(self, projected: Tensor, shared: Tensor, state: Tensor) -> Tensor:
        """Return the hidden vectors (N, A, hidden) after one step with each of A inputs."""
        weight, bias = (self.gru.get_parameter(f"{name}_hh_l0") for name in ("weight", "bias"))
        hidden = F.linear(state, weight, bias)[:, None].chunk(3, dim=-1)
        # Everything that the A inputs share is added up before: on A rows, each addition costs a pass over memory.
        same = (shared + self.gru.get_parameter("bias_ih_l0"))[:, None].chunk(3, dim=-1)
        inputs = projected.chunk(3, dim=-1)
        reset, update = (torch.add(inputs[gate], same[gate] + hidden[gate]).sigmoid_() for gate in (0, 1))
        new = reset.mul_(hidden[2]).add_(inputs[2]).add_(same[2]).tanh_()
        following: Tensor = new.lerp_(state[:, None], update)
        return following

    def logits(self, states: Tensor) -> Tensor:
        """Class logits (…, K) of hidden vectors (…, hidden)."""
        logits: Tensor = self.fc(self.dropout(states))
        return logits


class AveragingClassifier(Classifier):
    """Mean of the steps' logits. The state holds their sum and, as its last entry, the number of steps.

    Args:
        input_dim: D.
        num_classes: K.
        dropout: probability of dropping an entry of a feature vector while training.
    """

    def __init__(self, *, input_dim: int, num_classes: int, dropout: float = 0.8) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.num_classes = num_classes
        self.state_dim = num_classes + 1
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(input_dim, num_classes)

    @torch.no_grad()
    def begin_with(self, *heads: nn.Linear) -> None:
        """Initialise from linear heads, each over one part of the feature vector, whose logits are summed."""
        self.fc.weight.copy_(torch.cat([head.weight for head in heads], dim=1))
        self.fc.bias.copy_(torch.stack([head.bias for head in heads]).sum(0))

    def sequence(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """Sums and counts (B, T, K + 1) after each of T steps with features (B, T, D)."""
        states = self._step(x).cumsum(dim=1)
        return states if state is None else states + state[:, None]

    def cell(self, x: Tensor, state: Tensor) -> Tensor:
        """Sums and counts (N, K + 1) after one step with features (N, D)."""
        return state + self._step(x)

    @property
    def projection_dim(self) -> int:
        """One logit for each class."""
        return self.num_classes

    def project(self, x: Tensor, first: int = 0) -> Tensor:
        """Return the linear layer's product with entries of a feature vector, (…, K)."""
        return product(x, self.fc.weight[:, first : first + x.shape[-1]])

    def projected_cells(self, projected: Tensor, shared: Tensor, state: Tensor) -> Tensor:
        """Return the sums and counts (N, A, K + 1) after one step with each of A inputs."""
        return state[:, None] + F.pad(projected + (shared + self.fc.bias)[:, None], (0, 1), value=1.0)

    def logits(self, states: Tensor) -> Tensor:
        """Mean logits (…, K) of sums and counts (…, K + 1); zeros before the first step."""
        return states[..., :-1] / states[..., -1:].clamp(min=1)

    def _step(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.dropout(x))
        return F.pad(logits, (0, 1), value=1.0)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """Return the product (…, P) of vectors (…, D) with a part (P, D) of a weight, as one product of matrices."""
    # With more axes and no bias, torch would copy the weight for each entry of the first axis.
    return F.linear(x.flatten(0, -2), weight).view(*x.shape[:-1], -1)


def averaging_classifier(*, input_dim: int, num_classes: int, hidden: int, dropout: float) -> AveragingClassifier:
    """Return an averaging classifier, given what every classifier takes."""
    # ``hidden`` is part of the common signature; this classifier has no hidden vector.
    del hidden
    return AveragingClassifier(input_dim=input_dim, num_classes=num_classes, dropout=dropout)


def create_classifier(name: str, *, input_dim: int, num_classes: int, hidden: int, dropout: float) -> Classifier:
    """Create a classifier by its registered name, initialised from torch's global generator.

    Args:
        name: ``gru``, ``average`` or ``max_pool``.
        input_dim: D, length of one step's feature vector.
        num_classes: K.
        hidden: length of the hidden vector; the averaging classifier has none.
        dropout: probability of dropping an entry of the linear layer's input while training.

    Raises:
        UserError: the name is unknown.
    """
    return CLASSIFIERS.get(name)(input_dim=input_dim, num_classes=num_classes, hidden=hidden, dropout=dropout)


def sequence_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy after every step, averaged over videos and steps (AdaFocus, stage I).

    Args:
        logits: (B, T, K).
        labels: (B,) int64.

    Returns:
        A scalar, in nats.
    """
    steps = logits.shape[1]
    return F.cross_entropy(logits.flatten(0, 1), labels.repeat_interleave(steps))
