"""AdaFocus+: a second agent, π′, decides in which frames f_L runs (Wang et al. 2022); and what π′ must beat."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from adafocus_rl.agents.base import Agent
from adafocus_rl.agents.methods.adafocus import act, acting_tensors, load_acting, patch_cost
from adafocus_rl.agents.methods.base import FIRST_VISIT, Method, check_knob
from adafocus_rl.agents.methods.classifier import chosen_features, train_classifier
from adafocus_rl.agents.methods.outcome import Cost, Outcome, Visit
from adafocus_rl.agents.methods.stream import ActingStream, Stream, check_single_frames
from adafocus_rl.agents.methods.trainer import Trainer
from adafocus_rl.agents.skipping import RandomSkipAgent, RandomSkipOptions
from adafocus_rl.agents.training_options import ClassifierTraining
from adafocus_rl.checkpoint import tensors_hash
from adafocus_rl.envs import FrameSkippingVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.features import EpisodeFeatures, FeatureSource
from adafocus_rl.models.recognizer import Recognizer


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """An operating point of frame skipping: one λ, or one share of frames to keep."""

    env: FrameSkippingVectorEnv
    """The environment: π and its patches, what π′ observes, and the f_C that makes the predictions."""

    agent: Agent
    """The agent that decides which frames to keep."""


class AdaFocusPlus(Method):
    """AdaFocus with a π′ for each operating point.

    π and π′ run on every frame, since both are recurrent; f_L runs on the kept frames. A π′ that observes another f_C
    than the one that makes the predictions needs both of them in every frame. Like ``AdaFocus``, the method is built
    from the trained parts of a run.

    Args:
        recognizer: f_G and f_L.
        options: none; the agents have their own.
        seed: not used; the agents have their own.
        policy: π.
        points: each π′ and its f_C, by λ or by share.
        variant: name of these f_C's variant.
        label: the method's label; None uses π's followed by ``+skip``.
        knob_name: name of a knob: λ or a share.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        options: Any = None,
        *,
        policy: Agent,
        points: Mapping[float, OperatingPoint],
        variant: str | None = None,
        label: str | None = None,
        knob_name: str = "λ",
        seed: int = 0,
    ) -> None:
        super().__init__(recognizer, options, seed=seed)
        self.policy = policy
        self.knob_name = knob_name
        self.points = {knob: replace(point, agent=point.agent.bind(point.env)) for knob, point in points.items()}
        self.knobs = tuple(points)
        # Counted here and not in ``run``, because the time of ``run`` is the method's time.
        self._policy_macs = {
            knob: policy.macs_per_step()
            + point.agent.macs_per_step()
            + (self.costs.classifier if point.env.observes_another else 0)
            for knob, point in points.items()
        }
        self.variant = variant
        self.label = f"{policy.label}+skip" if label is None else label
        self.stochastic = any(point.agent.stochastic for point in points.values())
        self.privileged = policy.privileged

    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        """Recognise B videos with the best patches of π and the best decisions of a knob's π′.

        Raises:
            UserError: if there is no such operating point.
        """
        point = self._point(knob)
        return act(point.env, point.agent, batch, cost=self._cost(knob), visit=visit)

    def stream(self, *, knob: float | None = None, count: int = 1) -> Stream:
        """Begin to recognise streams online, with the best patches of π and the best decisions of a knob's π′."""
        point = self._point(knob)
        check_single_frames(self.recognizer, self.label)
        return ActingStream(point.env, point.agent, cost=self._cost(knob), count=count)

    def _point(self, knob: float | None) -> OperatingPoint:
        check_knob(self, knob)
        assert knob is not None
        return self.points[knob]

    def _cost(self, knob: float | None) -> Cost:
        assert knob is not None
        return patch_cost(self, self._policy_macs[knob])

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


class ScheduledSkipping(AdaFocusPlus):
    """A baseline of a π′: π's patches in frames that a schedule keeps, whatever they show, with an f_C of its own.

    Args:
        recognizer: f_G and f_L, and the f_C of stage I, from which the training of the method's f_C starts.
        options: none.
        label: the method's label.
        patches: π's environment.
        policy: π.
        knob: the knob of the π′ to compare with.
        schedule: probability of keeping each frame, T numbers.
        training: training of f_C; None uses stage I's f_C as it is.
        variant: name of this f_C's variant.
        knob_name: name of a knob.
        seed: seed of the kept frames.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        options: Any = None,
        *,
        label: str,
        patches: PatchSelectionVectorEnv,
        policy: Agent,
        knob: float,
        schedule: Sequence[float],
        training: ClassifierTraining | None = None,
        variant: str | None = None,
        knob_name: str = "λ",
        seed: int = 0,
    ) -> None:
        classifier = recognizer.classifier if training is None else copy.deepcopy(recognizer.classifier)
        env = FrameSkippingVectorEnv(patches.like(patches.source, classifier), policy, lambda_=0.0)
        agent = RandomSkipAgent(env, RandomSkipOptions(shares=tuple(schedule)), seed=seed)
        super().__init__(
            recognizer,
            options,
            policy=policy,
            points={knob: OperatingPoint(env=env, agent=agent)},
            variant=variant,
            label=label,
            knob_name=knob_name,
            seed=seed,
        )
        self.schedule = schedule
        self.training = training
        self.learns = training is not None
        self.stochastic = any(0 < share < 1 for share in schedule)

    def stream(self, *, knob: float | None = None, count: int = 1) -> Stream:
        """Refuse: the schedule is that of a clip.

        Raises:
            UserError: always.
        """
        return Method.stream(self, knob=knob, count=count)

    @property
    def stem(self) -> str:
        """The label and the knob."""
        return f"{self.label}{self.knobs[0]}"

    def fit(self, train: FeatureSource, val: FeatureSource, *, trainer: Trainer) -> None:
        """Train f_C on the frames that the schedule keeps.

        Raises:
            UserError: if the training diverges.
        """
        if self.training is not None:
            (point,) = self.points.values()
            env = point.env.like(train)
            local = chosen_features(point.agent, env)
            train_classifier(trainer, self.stem, point.env.classifier, env.source, local, training=self.training)

    def facts(self) -> dict[str, Any]:
        """Return the seed, π's weights, the schedule, and the options of f_C's training."""
        return {
            **super().facts(),
            "policy": [self.policy.label, tensors_hash(self.policy.tensors())],
            "schedule": [*self.schedule],
            "training": None if self.training is None else dataclasses.asdict(self.training),
        }
