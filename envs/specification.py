"""Gymnasium's specification of an environment, completed with the length of its episodes."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from pathlib import PurePath

from gymnasium.envs.registration import EnvSpec

from adafocus_rl.features.source import FeatureSource


class Specified:
    """``spec`` with ``max_episode_steps``, the length of an episode, for example for ``TimeAwareObservation``.

    The length depends on the run, so it is set here and not where the id is registered. By then Gymnasium has created
    the environment and adds no ``TimeLimit``, because the environment terminates by itself. With a ``TimeLimit``
    (``gymnasium.make(env.spec)``), the last step is both terminated and truncated, so no agent bootstraps after it.
    """

    _spec: EnvSpec | None = None

    @property
    @abstractmethod
    def source(self) -> FeatureSource:
        """The features, which define T."""

    @property
    def longest_episode(self) -> int:
        """Number of steps after which an episode ends at the latest; T for a decision in every frame."""
        return self.source.num_steps

    @property
    def spec(self) -> EnvSpec | None:
        """Id, keyword arguments and length of an episode; None if Gymnasium did not create the environment."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None:
            # JSON cannot represent paths.
            options = {
                name: str(value) if isinstance(value, PurePath) else value for name, value in spec.kwargs.items()
            }
            spec = dataclasses.replace(spec, max_episode_steps=self.longest_episode, kwargs=options)
        self._spec = spec
