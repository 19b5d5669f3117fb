"""Encoder of observations of any kind as one vector: the part of π before its memory."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from adafocus_rl.agents.base import features_of
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.errors import UserError
from adafocus_rl.models.batch_norm import BatchNorm, VectorNorm


def take_rows(observation: Observation, rows: slice | Tensor | tuple[slice, int]) -> Observation:
    """Return rows of a batch of observations, a tensor or a dict of tensors."""
    if isinstance(observation, Tensor):
        return observation[rows]
    return {name: part[rows] for name, part in observation.items()}


def flatten_time(observation: Observation) -> Observation:
    """Return observations (B, T, …) as (B·T, …)."""
    if isinstance(observation, Tensor):
        return observation.flatten(0, 1)
    return {name: part.flatten(0, 1) for name, part in observation.items()}


def split_space(space: gym.Space[Any]) -> tuple[tuple[int, ...], tuple[str, ...], int]:
    """Split the space of one observation into features and other entries.

    Returns:
        Shape of the features, (C, h, w) or (D,); names of the other entries; how many numbers these have in all.

    Raises:
        UserError: if the space is neither a Box (C, h, w) or (D,), nor a Dict of Boxes with such a one as ``features``.
    """
    parts = dict(space.spaces) if isinstance(space, gym.spaces.Dict) else {"features": space}
    features = parts.pop("features", None)
    shape = features.shape if isinstance(features, gym.spaces.Box) else ()
    if len(shape) not in (1, 3) or any(not isinstance(part, gym.spaces.Box) for part in parts.values()):
        raise UserError(
            f"the observation space is {space}; give a Box (C, h, w) or (D,), or a Dict of Boxes with such a one "
            "as 'features'"
        )
    return shape, tuple(parts), sum(math.prod(part.shape or ()) for part in parts.values())


def join(observation: Observation, names: tuple[str, ...]) -> Tensor:
    """Return the named entries of a dict of observations (N, …) as vectors (N, D)."""
    return torch.cat([observation[name].flatten(1) for name in names], dim=1)


@contextlib.contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Leave the running statistics of batch normalisation as they are, while training mode normalises by the batch.

    Episodes pass through the network twice, once to act and once to learn, but should count once.
    """
    if not network.training:
        yield
        return
    norms = [part for part in network.modules() if isinstance(part, BatchNorm)]
    tracked = [norm.track_running_stats for norm in norms]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, before in zip(norms, tracked, strict=True):
            norm.track_running_stats = before


class ObservationEncoder(nn.Module):
    """Encodes observations (N, …) as vectors (N, hidden).

    A map goes through a 1×1 convolution without bias → ReLU → flatten → linear → ReLU (``state_encoder`` in AdaFocus's
    public code), a pooled vector through linear → ReLU. AdaFocus-TSM's has batch normalisation before each ReLU. Other
    entries of a dict (last action, time step) join at the linear layer, as if they were part of the flattened map.

    Args:
        space: space of one observation: a Box (C, h, w) or (D,), or a Dict of vectors and such a Box as ``features``.
        reduced_channels: output channels of the 1×1 convolution (32 in the paper's code).
        hidden: size of the output.
        batch_norm: whether to use batch normalisation.

    Raises:
        UserError: if the space is of another kind.
    """

    def __init__(self, space: gym.Space[Any], *, reduced_channels: int, hidden: int, batch_norm: bool) -> None:
        super().__init__()
        shape, self._more, more = split_space(space)
        self.hidden = hidden
        layers: list[nn.Module] = []
        width = shape[0]
        if len(shape) == 3:
            norm = [nn.BatchNorm2d(reduced_channels)] if batch_norm else []
            layers = [nn.Conv2d(shape[0], reduced_channels, 1, bias=False), *norm, nn.ReLU(), nn.Flatten()]
            width = reduced_channels * shape[1] * shape[2]
        self._before_join = len(layers) + 1
        norm_of_vectors = [VectorNorm(hidden)] if batch_norm else []
        self.state_encoder = nn.Sequential(*layers, nn.Linear(width, hidden), *norm_of_vectors, nn.ReLU())
        # A separate layer, so that the shapes of the others do not depend on it.
        self.extra = nn.Linear(more, hidden, bias=False) if more else None

    def encode(self, observation: Observation) -> Tensor:
        """Return vectors (N, hidden) for observations (N, …)."""
        features = features_of(observation)
        if self.extra is None:
            encoded: Tensor = self.state_encoder(features)
            return encoded
        more = self.extra(join(observation, self._more))
        joined: Tensor = self.state_encoder[: self._before_join](features) + more
        result: Tensor = self.state_encoder[self._before_join :](joined)
        return result
