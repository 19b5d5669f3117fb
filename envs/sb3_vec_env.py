"""Adapter to Stable-Baselines3's vector environments; not imported by ``adafocus_rl.envs``, as SB3 loads slowly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from adafocus_rl.envs.numpy_adapter import STATISTICS, NumpyVectorEnv, list_infos
from adafocus_rl.envs.render import Picture
from adafocus_rl.errors import UserError

Indices = int | Iterable[int] | None
"""Numbers of environments; None for all."""


class SB3VecEnv(VecEnv):
    """A vector environment of this project with the interface of SB3's: ``PPO("MlpPolicy", SB3VecEnv(env))``.

    An episode's last step returns the first observation of the next one. Its info describes the episode that ended, and
    holds ``terminal_observation``, ``TimeLimit.truncated`` and, if the environment records them, ``episode`` with
    return ``r`` and length ``l`` (so that SB3 logs them without a monitor). The info of the next episode is in
    ``reset_infos``.

    All environments share one order of videos, so one seed is enough: ``seed`` passes it to the next ``reset``. Options
    are set per environment, ``set_options([{"video": row}, …])``, to select the videos.

    Args:
        env: a vector environment of this project, of device tensors, with SAME_STEP autoreset.

    Raises:
        UserError: the environment has another autoreset mode.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        mode = env.metadata["autoreset_mode"]
        if mode != AutoresetMode.SAME_STEP:
            raise UserError(
                f"autoreset_mode is {mode.name}; Stable-Baselines3 resets within the last step: give SAME_STEP"
            )
        self.env = env
        self._numpy = NumpyVectorEnv(env, statistics=True)
        self._actions: NDArray[Any] | None = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    # ---- acting -------------------------------------------------------------------------------------------------

    def reset(self) -> Any:
        """Start new episodes; a seed and options that were set before are used once.

        Returns:
            First observations, (B, …) float32 or a dict of arrays.
        """
        observation, info = self._numpy.reset(seed=self._seeds[0], options=self._vector_options())
        self.reset_infos = list_infos(info, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return observation

    def step_async(self, actions: NDArray[Any]) -> None:
        """Store the actions (B, …) for ``step_wait``."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Take the step; return observations (B, …), rewards (B,), ends of episodes (B,) and B infos."""
        observation, reward, terminated, truncated, vector_info = self._numpy.step(self._actions)
        infos = list_infos(vector_info, self.num_envs)
        done = terminated | truncated
        for row, info in enumerate(infos):
            if done[row]:
                infos[row], self.reset_infos[row] = _split(info)
            infos[row]["TimeLimit.truncated"] = bool(truncated[row] and not terminated[row])
        return observation, reward.astype(np.float32), done, infos

    def get_images(self) -> list[Picture | None]:
        """Return a picture of each environment, for ``render`` and SB3's ``VecVideoRecorder``."""
        pictures: Any = self.env.render()
        return [None] * self.num_envs if pictures is None else list(pictures)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def _vector_options(self) -> dict[str, Any] | None:
        """Return the options of the vector environment's reset, given those of each environment.

        Raises:
            UserError: the options are not a video for every environment.
        """
        given = [options for options in self._options if options]
        if not given:
            return None
        if len(given) < self.num_envs or any(options.keys() != {"video"} for options in given):
            raise UserError(
                f"set_options got {self._options!r}; give {{'video': row}} for each of the {self.num_envs} environments"
            )
        return {"videos": np.array([options["video"] for options in given])}

    # ---- one object, seen as B ----------------------------------------------------------------------------------

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Return the environment's attribute, once for each index."""
        return self._each(getattr(self.env, attr_name), indices)

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set the environment's attribute, which all indices share."""
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call the environment's method once, and return its result once for each index."""
        return self._each(getattr(self.env, method_name)(*method_args, **method_kwargs), indices)

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Indices = None
    ) -> list[bool]:
        """Return False for each index: wrappers of single environments cannot wrap a vector environment."""
        return self._each(False, indices)

    def _each(self, value: Any, indices: Indices) -> list[Any]:
        return [value for _ in self._get_indices(indices)]


def _split(info: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split an info into that of the episode that has ended and that of the one that begins."""
    begun = {name: value for name, value in info.items() if name not in ("final_obs", "final_info", *STATISTICS)}
    ended = {**info["final_info"], "terminal_observation": info["final_obs"]}
    episode = info.get("episode", ended.get("episode"))
    if episode is not None:
        ended["episode"] = {name: value.item() for name, value in episode.items()}
    return ended, begun
