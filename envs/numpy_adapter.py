"""Device tensors outside, NumPy inside Gymnasium's wrappers: the conversion of a whole vector environment."""

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
"""A NumPy array, or a dict or tuple of such, as the space says."""

if TYPE_CHECKING:
    _Wrapper = VectorWrapper[Arrays, Arrays, Any, Any, NDArray[Any]]
else:  # Gymnasium's older versions know no parameters here.
    _Wrapper = VectorWrapper

STATISTICS = ("episode", "_episode")
"""Names under which an environment tells the return and the length of an episode that has ended."""


def to_arrays(value: Any) -> Any:
    """Every tensor in a tree of dicts and tuples as a NumPy array of its own; everything else as it is.

    Copies, because Gymnasium's wrappers write into what they get, and a view would change the features behind it.
    """
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True).numpy()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, Mapping):
        return {name: to_arrays(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(to_arrays(part) for part in value)
    return value


def to_tensors(value: Any) -> Any:
    """Every array (list, number) in a tree of dicts and tuples as a tensor of its own, on CPU."""
    if isinstance(value, Mapping):
        return {name: to_tensors(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(to_tensors(part) for part in value)
    return value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))


def list_infos(infos: Mapping[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """One info per environment from a vector environment's in NumPy, without what an environment does not have."""
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
    """A vector environment of device tensors as Gymnasium's own vector environments look.

    Observations, rewards (float64), terminations, truncations and infos are NumPy arrays, ``final_obs`` is an object
    array with one observation for each environment that has one, and actions may be arrays.

    Gymnasium's ``ArrayConversion`` is not used: it needs a package more, does not lay out ``final_obs`` as Gymnasium
    itself does, and shares memory with the environment. Gymnasium's wrappers of vectors' observations take no
    SAME_STEP environment, whosever it is; those of rewards and statistics take any.

    Args:
        env: a vector environment of this project.
        statistics: keep the environment's own ``episode`` in the infos; Gymnasium's ``RecordEpisodeStatistics``
            refuses infos that have it already.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], *, statistics: bool = False) -> None:
        super().__init__(env)
        self._statistics = statistics

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """As in Gymnasium's own vector environments; what asks for it there asks for it here."""
        mode: AutoresetMode = self.env.metadata["autoreset_mode"]
        return mode

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The wrapped environment's method or attribute, in NumPy, once for each environment."""
        return to_arrays(self.env.call(name, *args, **kwargs))  # type: ignore[attr-defined,no-any-return]

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """The wrapped environment's attribute, once for each environment."""
        return to_arrays(self.env.get_attr(name))  # type: ignore[attr-defined,no-any-return]

    def set_attr(self, name: str, values: Any) -> None:
        """Sets an attribute of the wrapped environment."""
        self.env.set_attr(name, values)  # type: ignore[attr-defined]

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """As the wrapped environment's, in NumPy."""
        observation, info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]  # lists too
        return to_arrays(observation), self._info(info)

    def step(
        self, actions: Arrays
    ) -> tuple[Arrays, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """As the wrapped environment's, in NumPy."""
        with contextlib.suppress(TypeError, ValueError):  # what holds no numbers is the environment's to refuse
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
    """The environment in NumPy, for Gymnasium's vector wrappers and for agents without torch.

    ``RecordEpisodeStatistics(to_numpy(env))`` and the like; options as in :class:`NumpyVectorEnv`.
    """
    return NumpyVectorEnv(env, statistics=statistics)
