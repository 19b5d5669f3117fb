"""AdaFocus+: a second agent, π′, decides in which frames f_L runs (Wang et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from adafocus_rl.agents.base import Agent
from adafocus_rl.agents.methods.adafocus import act, acting_tensors, load_acting, patch_cost
from adafocus_rl.agents.methods.base import FIRST_VISIT, Method, check_knob
from adafocus_rl.agents.methods.outcome import Outcome, Visit
from adafocus_rl.agents.skipping import RandomSkipAgent, RandomSkipOptions
from adafocus_rl.envs import FrameSkippingVectorEnv
from adafocus_rl.features import EpisodeFeatures
from adafocus_rl.models.recognizer import Recognizer


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """An operating point of frame skipping: one λ."""

    env: FrameSkippingVectorEnv
    """The environment: π and its patches, λ, and the f_C that makes the predictions."""

    agent: Agent
    """The agent that decides which frames to keep."""


class AdaFocusPlus(Method):
    """AdaFocus with a π′ for each λ.

    π and π′ run on every frame, since both are recurrent; f_L runs on the kept frames. Like ``AdaFocus``, the method is
    built from the trained parts of a run.

    Args:
        recognizer: f_G and f_L.
        options: none; the agents have their own.
        seed: seed of random skipping at the same share (``rivals``).
        policy: π.
        points: each π′ and its f_C, by λ.
        variant: name of these f_C's variant.
        label: the method's label; None uses π's followed by ``+skip``.
    """

    knob_name = "λ"

    def __init__(
        self,
        recognizer: Recognizer,
        options: Any = None,
        *,
        policy: Agent,
        points: Mapping[float, OperatingPoint],
        variant: str | None = None,
        label: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(recognizer, options, seed=seed)
        self.policy = policy
        self.points = {knob: replace(point, agent=point.agent.bind(point.env)) for knob, point in points.items()}
        self.knobs = tuple(points)
        # Counted here and not in ``run``, because the time of ``run`` is the method's time.
        self._policy_macs = {
            knob: policy.macs_per_step() + point.agent.macs_per_step() for knob, point in points.items()
        }
        self.variant = variant
        self.label = f"{policy.label}+skip" if label is None else label
        self.stochastic = any(point.agent.stochastic for point in points.values())
        self.privileged = policy.privileged

    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        """Recognise B videos with the best patches of π and the best decisions of λ's π′.

        Raises:
            UserError: if there is no such λ.
        """
        check_knob(self, knob)
        assert knob is not None
        point = self.points[knob]
        cost = patch_cost(self, self._policy_macs[knob])
        return act(point.env, point.agent, batch, cost=cost, visit=visit)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights of each π′ and its f_C."""
        return {
            name: value
            for knob, point in self.points.items()
            for name, value in acting_tensors(point.env, point.agent, f"{knob}.").items()
        }

    def load_tensors(self, tensors: Mapping[str, Tensor], *, what: str) -> None:
        """Restore the weights of each π′ and its f_C."""
        for knob, point in self.points.items():
            load_acting(point.env, point.agent, tensors, what=what, prefix=f"{knob}.")

    def rivals(self, kept: Mapping[float | None, float]) -> Sequence[Method]:
        """Return random skipping at the same share of frames."""
        return [RandomSkipping.beside(self, kept)]


class RandomSkipping(AdaFocusPlus):
    """π's patches in randomly kept frames: the baseline that π′ must beat at the same share of frames."""

    @classmethod
    def beside(cls, method: AdaFocusPlus, shares: Mapping[float | None, float]) -> RandomSkipping:
        """Return random skipping with π and f_C of another method.

        Args:
            method: the other method.
            shares: share of the frames that it keeps, by λ.
        """
        points = {
            knob: replace(
                point, agent=RandomSkipAgent(point.env, RandomSkipOptions(share=shares[knob]), seed=method.seed)
            )
            for knob, point in method.points.items()
        }
        return cls(
            method.recognizer,
            policy=method.policy,
            points=points,
            variant=method.variant,
            label=RandomSkipAgent.label,
            seed=method.seed,
        )
