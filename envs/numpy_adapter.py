"""Conversion of a vector environment of device tensors to NumPy, for Gymnasium's wrappers."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import iterate
from numpy.typing import NDArray
from torch import Tensor

Arrays = Any
"""A NumPy array, or a dict or tuple of arrays, depending on the space."""

if TYPE_CHECKING:
    _Wrapper = VectorWrapper[Arrays, Arrays, Any, Any, NDArray[Any]]
else:  # In older versions of Gymnasium this class is not generic.
    _Wrapper = VectorWrapper

STATISTICS = ("episode", "_episode")
"""Keys of an info that hold the return and the length of a finished episode."""


def to_arrays(value: Any) -> Any:
    """Convert every tensor in a tree of dicts and tuples to a NumPy array; keep everything else.

    The arrays are copies, because Gymnasium's wrappers modify their inputs, and a view would change the features. They
    are contiguous; the maps of a resident bank are not.
    """
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format).numpy()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, Mapping):
        return {name: to_arrays(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(to_arrays(part) for part in value)
    return value


def to_tensors(value: Any) -> Any:
    """Convert every array, list or number in a tree of dicts and tuples to a new tensor on CPU."""
    if isinstance(value, Mapping):
        return {name: to_tensors(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(to_tensors(part) for part in value)
    return value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))


def list_infos(infos: Mapping[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """Split a vector environment's NumPy info into one info per environment, without the entries that it lacks."""
    rows: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for name, value in infos.items():
        if name.startswith("_"):
            continue
        parts = list_infos(value, num_envs) if isinstance(value, Mapping) else value
        has = infos.get(f"_{name}")
        for row in range(num_envs):
            if has is None or has[row]:
                rows[row][name] = parts[row]
    return rows


class NumpyVectorEnv(_Wrapper):
    """A vector environment of device tensors with the NumPy interface of Gymnasium's vector environments.

    Observations, rewards (float64), terminations, truncations and infos are NumPy arrays, ``final_obs`` is an object
    array with one observation for each environment that has one, and actions may be arrays.

    Gymnasium's ``ArrayConversion`` is not used: it needs another package, its layout of ``final_obs`` differs from
    that of Gymnasium's vector environments, and it shares memory with the environment. Gymnasium's vector observation
    wrappers reject every SAME_STEP environment; its wrappers for rewards and statistics accept any environment.

    Args:
        env: a vector environment of this project.
        statistics: keep the environment's own ``episode`` in the infos; Gymnasium's ``RecordEpisodeStatistics``
            rejects infos that already have it.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], *, statistics: bool = False) -> None:
        super().__init__(env)
        self._statistics = statistics

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """Autoreset mode, under the name that it has in Gymnasium's vector environments."""
        mode: AutoresetMode = self.env.metadata["autoreset_mode"]
        return mode

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Return the result of the wrapped environment's method or attribute in NumPy, once for each environment."""
        return to_arrays(self.env.call(name, *args, **kwargs))  # type: ignore[attr-defined,no-any-return]

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Return the wrapped environment's attribute, once for each environment."""
        return to_arrays(self.env.get_attr(name))  # type: ignore[attr-defined,no-any-return]

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of the wrapped environment."""
        self.env.set_attr(name, values)  # type: ignore[attr-defined]

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """Reset the wrapped environment; return its observations (B, …) and its info in NumPy."""
        observation, info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]  # lists too
        return to_arrays(observation), self._info(info)

    def step(
        self, actions: Arrays
    ) -> tuple[Arrays, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step the wrapped environment; return its five results in NumPy."""
        with contextlib.suppress(TypeError, ValueError):  # the environment rejects non-numeric actions
            actions = to_tensors(actions)
        observation, reward, terminated, truncated, info = self.env.step(actions)
        return (
            to_arrays(observation),
            to_arrays(reward).astype(np.float64),
            to_arrays(terminated),
            to_arrays(truncated),
            self._info(info),
        )

    def _info(self, info: dict[str, Any]) -> dict[str, Any]:
        arrays: dict[str, Any] = to_arrays(info)
        if not self._statistics:
            for level in (arrays, arrays.get("final_info", {})):
                for name in STATISTICS:
                    level.pop(name, None)
        if "final_obs" in arrays:
            each = list(iterate(self.env.observation_space, arrays["final_obs"]))
            arrays["final_obs"] = np.full(self.num_envs, None, dtype=object)
            for row in np.flatnonzero(arrays["_final_obs"]):
                arrays["final_obs"][row] = each[row]
        return arrays


def to_numpy(env: VectorEnv[Any, Any, Any], *, statistics: bool = False) -> NumpyVectorEnv:
    """Return the environment with a NumPy interface, for Gymnasium's vector wrappers and for agents without torch.

    Example: ``RecordEpisodeStatistics(to_numpy(env))``. The arguments are those of ``NumpyVectorEnv``.
    """
    return NumpyVectorEnv(env, statistics=statistics)
