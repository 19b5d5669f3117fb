"""Gymnasium's specification of an environment, with the length of its episodes, which only a run knows."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from pathlib import PurePath

from gymnasium.envs.registration import EnvSpec

from adafocus_rl.features.source import FeatureSource


class Specified:
    """``spec`` with ``max_episode_steps`` = T, for example for ``TimeAwareObservation``.

    It is set here, and not where the id is registered, because T is the run's. By then Gymnasium has made the
    environment, and puts no ``TimeLimit`` around what ends by itself. Where one is (``gymnasium.make(env.spec)``), the
    last step is terminated as ever, and truncated, too: no agent bootstraps after it.
    """

    _spec: EnvSpec | None = None

    @property
    @abstractmethod
    def source(self) -> FeatureSource:
        """The features, which define T."""

    @property
    def spec(self) -> EnvSpec | None:
        """The id, how it was made, and T; None of an environment that Gymnasium did not make."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None:
            # Paths as text, which JSON can hold.
            options = {
                name: str(value) if isinstance(value, PurePath) else value for name, value in spec.kwargs.items()
            }
            spec = dataclasses.replace(spec, max_episode_steps=self.source.num_steps, kwargs=options)
        self._spec = spec
