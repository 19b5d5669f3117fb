"""AdaFocusV2's classifier f_C: the maximum, over the frames so far, of a vector computed from each frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adafocus_rl.models.batch_norm import VectorNorm
from adafocus_rl.models.classifiers import Classifier, product


class MaxPoolClassifier(Classifier):
    """Linear layer, batch normalisation and ReLU on each frame, running maximum, dropout, linear layer at every step.

    Source: AdaFocusV2 (Wang et al., CVPR 2022, arXiv 2112.14238), with 4096 hidden units and dropout 0.2. Its deep
    supervision is ``sequence_loss``, with which every f_C of this project is trained.

    Our choice: the last linear layer is the same at every step. The public code has one for each of the T steps, which
    fixes T, so that such a classifier can be neither applied to more frames nor branched by its state alone.

    The state is the running maximum. It starts at zero, which ReLU makes the same as starting with the first frame.

    Args:
        input_dim: D.
        num_classes: K.
        hidden: length of the frames' vectors.
        dropout: probability of dropping an entry of the last linear layer's input while training.
    """

    def __init__(self, *, input_dim: int, num_classes: int, hidden: int = 4096, dropout: float = 0.2) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.num_classes = num_classes
        self.state_dim = hidden
        self.linear = nn.Linear(input_dim, hidden)
        # A frame alone has no variance: a batch of one clip of one step.
        self.norm = VectorNorm(hidden)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(hidden, num_classes)

    def sequence(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """Maxima (B, T, hidden) after each of T steps with features (B, T, D)."""
        states = self._frames(x).cummax(dim=1).values
        return states if state is None else torch.maximum(states, state[:, None])

    def cell(self, x: Tensor, state: Tensor) -> Tensor:
        """Maxima (N, hidden) after one step with features (N, D)."""
        return torch.maximum(self._frames(x), state)

    @property
    def projection_dim(self) -> int:
        """One entry for each hidden unit."""
        return self.state_dim

    def project(self, x: Tensor, first: int = 0) -> Tensor:
        """Return the first linear layer's product with entries of a feature vector, (…, hidden)."""
        return product(x, self.linear.weight[:, first : first + x.shape[-1]])

    def projected_cells(self, projected: Tensor, shared: Tensor, state: Tensor) -> Tensor:
        """Return the maxima (N, A, hidden) after one step with each of A inputs."""
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        scale = self.norm.weight * (self.norm.running_var + self.norm.eps).rsqrt()
        same = (shared + self.linear.bias - self.norm.running_mean) * scale + self.norm.bias
        # Without ReLU: no state is below 0.
        return torch.maximum(torch.addcmul(same[:, None], projected, scale), state[:, None])

    def logits(self, states: Tensor) -> Tensor:
        """Class logits (…, K) of maxima (…, hidden)."""
        logits: Tensor = self.fc(self.dropout(states))
        return logits

    def _frames(self, x: Tensor) -> Tensor:
        """Return the vectors (…, hidden) of single frames with features (…, D)."""
        rows = self.norm(self.linear(x).flatten(0, -2))
        return F.relu(rows).view(*x.shape[:-1], -1)
