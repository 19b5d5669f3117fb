"""Validation of actions against their space."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from adafocus_rl.errors import UserError


def check_actions(space: gym.Space[Any], actions: Any, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return actions as int64 (…,) for a discrete space, or as float32 (…, D) clipped to a box.

    Range and NaN are checked only where this needs no device synchronisation: in arrays, numbers and host tensors.

    Args:
        space: space of one action, ``Discrete`` or a ``Box`` of shape (D,).
        actions: a tensor, an array, or numbers.
        shape: expected shape, without the D coordinates of continuous actions.
        device: device of the result.

    Raises:
        UserError: the shape differs, discrete actions are not integers or are out of range, or continuous actions
            are not numbers.
    """

    def wanted() -> str:  # only for messages: the text of a space takes longer than the checks
        return f"{shape} of {space}" if shape else f"one of {space}"

    given = _tensor(actions)
    if given is None:
        raise UserError(f"actions are {actions!r}, and no numbers; expected {wanted()}")
    continuous = isinstance(space, gym.spaces.Box)
    full = (*shape, *(space.shape or ())) if continuous else shape
    if given.shape != full:
        raise UserError(f"actions have shape {tuple(given.shape)}; this environment takes {full}: expected {wanted()}")
    if given.is_complex() or (given.is_floating_point() and not continuous):
        raise UserError(f"actions are {str(given.dtype).removeprefix('torch.')} numbers; expected {wanted()}")
    given = given.float() if continuous else given.long()
    if given.device.type == "cpu" and given.numel():
        least, most = (end.item() for end in given.aminmax())
        if continuous and least != least:
            raise UserError(f"an action has NaN for a coordinate; expected {wanted()}")
        if isinstance(space, gym.spaces.Discrete) and not 0 <= least <= most < space.n:
            raise UserError(f"an action is {least if least < 0 else most}; expected {wanted()}")
    given = given.to(device)
    return given.clamp(0, 1) if continuous else given


def _tensor(actions: Any) -> Tensor | None:
    """Return actions as a tensor, or None if they are not numeric. Arrays are copied: the caller may modify them."""
    if isinstance(actions, Tensor):
        return actions
    try:
        array = np.array(actions, order="C")
    except (TypeError, ValueError):
        return None
    if array.dtype.kind not in "biuf":
        return None
    # torch does not support every numeric type of NumPy.
    return torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))
