"""Conversion of an optimiser's state to tensors and plain values for a checkpoint, and back."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.errors import UserError

OPTIMIZER = "optimizer."
"""Beginning of the names of an optimiser's tensors where they lie among others."""

IMPLEMENTATION = ("foreach", "fused", "capturable", "differentiable")
"""Settings of torch's optimisers that choose an implementation of the same step, which depends on the device."""


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, *, prefix: str = ""
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimiser's state into tensors and plain values, as ``checkpoint.save`` takes them.

    Args:
        optimizer: an optimiser.
        prefix: beginning of the tensors' names.

    Returns:
        Tensors named ``state.<parameter index>.<name>`` (or ``group.<index>.<name>`` for a setting that is a tensor),
        and a dictionary for JSON with everything else.
    """
    whole = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}

    def split(kind: str, index: int, values: Mapping[str, Any]) -> dict[str, Any]:
        plain = {}
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{prefix}{kind}.{index}.{name}"] = value
            else:
                plain[name] = value
        return plain

    return tensors, {
        "optimizer": type(optimizer).__name__,
        # JSON would turn integer keys into strings anyway.
        "state": {str(index): split("state", index, values) for index, values in whole["state"].items()},
        "groups": [split("group", index, group) for index, group in enumerate(whole["param_groups"])],
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any], *, prefix: str = ""
) -> None:
    """Restore the state that ``optimizer_tensors`` split; the next step equals that of an uninterrupted run.

    The optimiser keeps its own implementation: the checkpoint may come from another device or version.

    Args:
        optimizer: an optimiser of the same class, over the same parameters in the same order.
        tensors: tensors of a checkpoint; other names are ignored.
        plain: the dictionary, also after a round trip through JSON.
        prefix: beginning of the tensors' names.

    Raises:
        UserError: the class, the parameter groups, or the shape of a state differ.
    """
    name = type(optimizer).__name__
    if plain["optimizer"] != name:
        raise UserError(
            f"the checkpoint holds the state of optimiser {plain['optimizer']}, but this run uses {name}; "
            "resume with the same optimiser or start afresh"
        )
    current = optimizer.state_dict()["param_groups"]
    sizes, expected = ([len(group["params"]) for group in groups] for groups in (plain["groups"], current))
    if sizes != expected:
        raise UserError(
            f"the checkpoint's optimiser has parameter groups of {sizes}, but this run's are {expected}; "
            "resume with the same architecture or start afresh"
        )
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in plain["state"].items()}
    # A setting such as Adam's betas is a tuple, which JSON turned into a list.
    groups = [
        {
            **{
                key: tuple(value) if isinstance(now.get(key), tuple) and isinstance(value, list) else value
                for key, value in group.items()
            },
            **{key: now[key] for key in IMPLEMENTATION if key in now},
        }
        for group, now in zip(plain["groups"], current, strict=True)
    ]
    for group, now in zip(groups, current, strict=True):
        for key, value in group.items():
            if key != "params" and key in now and not _same_kind(value, now[key]):
                raise UserError(
                    f"the checkpoint's optimiser has {value!r} as its {key}, expected something like {now[key]!r}; "
                    "start afresh"
                )
    for key, tensor in tensors.items():
        match = re.fullmatch(re.escape(prefix) + r"(state|group)\.(\d+)\.(\w+)", key)
        if match is not None:
            owner = state if match[1] == "state" else groups
            # Cloned because the optimiser updates its state in place, which must not change the caller's tensors.
            owner[int(match[2])][match[3]] = tensor.detach().clone()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, values in state.items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.ndim > 0 and value.shape != parameters[index].shape:
                raise UserError(
                    f"the checkpoint's {key} of parameter {index} has shape {tuple(value.shape)}, expected "
                    f"{tuple(parameters[index].shape)}; resume with the same architecture or start afresh"
                )
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _same_kind(value: Any, like: Any) -> bool:
    """Return whether a setting of an optimiser has the same type and form as another."""
    if isinstance(like, tuple):
        return isinstance(value, tuple) and len(value) == len(like) and all(map(_same_kind, value, like))
    if isinstance(like, (int, float)) and not isinstance(like, bool):
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if like is None or isinstance(like, bool):
        return value is None or isinstance(value, bool)
    return True
