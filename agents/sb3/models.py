"""Stable-Baselines3 models for the project's spaces; imported on first use, because Stable-Baselines3 loads slowly."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from adafocus_rl.agents.policies.encoder import ObservationEncoder
from adafocus_rl.envs import DecisionVectorEnv
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.errors import UserError, needs_extra
from adafocus_rl.options import options_of
from adafocus_rl.plain import convert

OURS = ("policy", "env", "policy_kwargs", "device", "seed", "tensorboard_log", "_init_setup_model")
"""Constructor arguments that the user may not set: this module sets them, or they would make the model write files."""


class StateFeatures(BaseFeaturesExtractor):
    """π's state encoder as a features extractor.

    Args:
        observation_space: space of one observation.
        reduced_channels: output channels of the 1×1 convolution.
        hidden: number of features.
    """

    def __init__(self, observation_space: gym.Space[Any], *, reduced_channels: int, hidden: int) -> None:
        super().__init__(observation_space, features_dim=hidden)
        self.encoder = ObservationEncoder(
            observation_space, reduced_channels=reduced_channels, hidden=hidden, batch_norm=False
        )

    def forward(self, observation: Observation) -> Tensor:
        """Return features (N, hidden) of observations (N, …)."""
        return self.encoder.encode(observation)


def algorithm_class(name: str) -> Any:
    """Return the class of an algorithm.

    Raises:
        UserError: if it needs a package that is not installed.
    """
    if name != "RecurrentPPO":
        return {"PPO": PPO, "A2C": A2C}[name]
    try:
        from sb3_contrib import RecurrentPPO
    except ImportError:
        raise needs_extra(
            "agent.algorithm=RecurrentPPO", "sb3-contrib", extra="sb3", otherwise=", or take PPO or A2C"
        ) from None
    return RecurrentPPO


def build(name: str, env: DecisionVectorEnv, *, reduced_channels: int, hidden: int, options: Mapping[str, Any]) -> Any:
    """Return a new model for the spaces of ``env``, with weights drawn from torch's global generator.

    The model does not act in ``env``. Its policy is π's state encoder, an LSTM of the same width for RecurrentPPO, and
    linear heads.

    Args:
        name: ``PPO``, ``A2C`` or ``RecurrentPPO``.
        env: provides the spaces, the device and the number of environments.
        reduced_channels: output channels of the state encoder's 1×1 convolution.
        hidden: width of the state encoder and the LSTM.
        options: other keyword arguments of the algorithm's class.

    Raises:
        UserError: if the class does not have an option, or rejects its value.
    """
    kind = algorithm_class(name)
    taken = options_of(kind, skip=OURS)
    given = {}
    for option, value in options.items():
        if option not in taken:
            raise UserError(
                f"Stable-Baselines3's {name} does not take agent.options.{option}; it takes {', '.join(taken)}"
            )
        given[option] = convert(value, taken[option].hint, f"agent.options.{option}")
    recurrent = name == "RecurrentPPO"
    several = isinstance(env.single_observation_space, gym.spaces.Dict)
    policy: dict[str, Any] = {
        "net_arch": [],
        "features_extractor_class": StateFeatures,
        "features_extractor_kwargs": {"reduced_channels": reduced_channels, "hidden": hidden},
        "normalize_images": False,
        **({"lstm_hidden_size": hidden} if recurrent else {}),
    }
    with warnings.catch_warnings():
        # The warnings say that the last minibatch is smaller than the others, and that a CPU would be as fast.
        warnings.simplefilter("ignore", UserWarning)
        try:
            return kind(
                f"{'MultiInput' if several else 'Mlp'}{'Lstm' if recurrent else ''}Policy",
                SpacesOnly(env),
                policy_kwargs=policy,
                device=env.source.device,
                **given,
            )
        except (TypeError, ValueError, AssertionError) as error:
            raise UserError(
                f"Stable-Baselines3's {name} does not take agent.options {dict(options)!r}: {error}"
            ) from error


class SpacesOnly(VecEnv):
    """A ``VecEnv`` without episodes, for a model that is built before it has an environment to learn on.

    Args:
        env: provides the spaces and the number of environments.
    """

    def __init__(self, env: DecisionVectorEnv) -> None:
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("this model was built to act, not to learn")

    reset = step_async = step_wait = set_attr = env_method = _refuse

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return None for any attribute; Stable-Baselines3 reads how the environments render."""
        return [None] * self.num_envs

    def close(self) -> None:
        """Do nothing."""

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return False for every environment."""
        return [False] * self.num_envs


class Record(KVWriter):
    """Collects the scalars of training, and prints nothing.

    Attributes:
        values: the logged numbers by name.
    """

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Store the scalars of one dump of the logger."""
        for name, value in key_values.items():
            if name.startswith(("train/", "rollout/")) and name not in ("train/n_updates", "rollout/ep_len_mean"):
                self.values.setdefault(name, []).append(float(value))

    def close(self) -> None:
        """Do nothing."""

    def logger(self) -> Any:
        """Return a logger that writes to this record."""
        return Logger(None, [self])

    def means(self) -> dict[str, float]:
        """Return the mean of each name's numbers since the last call, and discard the numbers."""
        values, self.values = self.values, {}
        return {name: sum(numbers) / len(numbers) for name, numbers in values.items()}
