"""The methods of a trained run, built from its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

from adafocus_rl import checkpoint
from adafocus_rl.agents import AGENTS, Agent, OracleAgent
from adafocus_rl.agents.methods import (
    FINE_TUNED,
    METHODS,
    RANDOM_PATCHES,
    AdaFocus,
    AdaFocusPlus,
    Method,
    OperatingPoint,
)
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.run.handover import is_finished, load_agent, load_classifier
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.skipping import knob_name, load_skipper, operating_points, skipping_env
from adafocus_rl.experiments.run.steps import CLASSIFIER, SKIPPING_CLASSIFIER
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.models.recognizer import Recognizer


class Systems:
    """Builds methods from the trained parts of a run.

    Args:
        run: the run.
        recognizer: the recognizer after stage I.
        env: the run's environment with the recognizer's f_C, on any features of the run's shapes.
    """

    def __init__(self, run: Run, recognizer: Recognizer, env: PatchSelectionVectorEnv) -> None:
        self.run = run
        self.recognizer = recognizer
        self.env = env

    def agent(self, name: str | None = None) -> Agent:
        """Return the run's trained agent, or an agent of another class that needs no training.

        Raises:
            UserError: if the agent has to be trained, and this run trained none or another.
        """
        return load_agent(self.run, self.env, name)

    def references(self, own: Agent) -> list[Agent]:
        """Return the agents to compare with, which the configuration names."""
        named = [AGENTS.get(name) for name in self.run.config.evaluation.references]
        kinds = [kind for kind in dict.fromkeys(named) if kind is not type(own)]
        if not self.env.source.has_boxes:
            kinds = [kind for kind in kinds if kind is not OracleAgent]
        return [kind(self.env, seed=self.run.config.seed) for kind in kinds]

    def of_agents(self, agents: Sequence[Agent]) -> list[Method]:
        """Return AdaFocus with each agent in each trained variant, sorted by variant."""
        return [
            AdaFocus(self.recognizer, env=self._with(classifier), agent=agent, variant=variant)
            for variant, classifier in self._classifiers(CLASSIFIER.name).items()
            for agent in agents
        ]

    def skipping(self, own: Agent, knobs: Sequence[float] | None = None) -> list[AdaFocusPlus]:
        """Return AdaFocus+ with the run's π′ of each operating point, in each trained variant; empty without any.

        The f_C of the second variant was fine-tuned for this π′. If π′ observes f_C, it is that of stage I, with which
        π′ was trained: its decisions are the same in both variants.

        Args:
            own: the run's agent, π.
            knobs: the operating points to use; None uses all.

        Raises:
            UserError: if the π′ of an operating point was not trained.
        """
        points: dict[str, dict[float, OperatingPoint]] = {}
        for point in operating_points(self.run):
            if knobs is not None and point.knob not in knobs:
                continue
            skipper = load_skipper(self.run, skipping_env(self.run, self.env, own, point), point)
            seen = self.recognizer.classifier
            for variant, classifier in self._classifiers(point.of(SKIPPING_CLASSIFIER).name).items():
                env = skipping_env(self.run, self._with(classifier), own, point, observer=seen)
                points.setdefault(variant, {})[point.knob] = OperatingPoint(env=env, agent=skipper)
        return [
            AdaFocusPlus(self.recognizer, policy=own, points=some, variant=variant, knob_name=knob_name(self.run))
            for variant, some in points.items()
        ]

    def all(self, own: Agent) -> list[Method]:
        """Return the run's own methods and those to compare with, sorted by variant; the run's agent comes first."""
        found = [*self.of_agents([own, *self.references(own)]), *self.skipping(own)]
        variants = list(dict.fromkeys(method.variant for method in found))
        return sorted(found, key=lambda method: variants.index(method.variant))

    def last(self, own: Agent, knob: float | None = None) -> Method:
        """Return the last variant of AdaFocus, or of AdaFocus+ at one operating point.

        Args:
            own: the agent that selects the patches.
            knob: λ, or the share of frames to keep; None keeps all frames.

        Raises:
            UserError: if the run has no π′ with this knob.
        """
        if knob is None:
            return self.of_agents([own])[-1]
        found = self.skipping(own, [knob])
        if not found:
            have = ", ".join(f"{point.knob:g}" for point in operating_points(self.run)) or "none"
            key = "skip.keep" if self.run.config.skip.keep else "skip.lambdas"
            raise UserError(f"the run has no π′ with {knob_name(self.run)} = {knob:g}; it has {have} ({key})")
        return found[-1]

    def _classifiers(self, name: str) -> dict[str, Classifier]:
        """Return f_C by variant; ``name`` is the checkpoint of the fine-tuned one."""
        found = {RANDOM_PATCHES: self.recognizer.classifier}
        if is_finished(self.run, name):
            found[FINE_TUNED], _ = load_classifier(self.run, name, self.recognizer.classifier)
        return found

    def _with(self, classifier: Classifier) -> PatchSelectionVectorEnv:
        return self.env.like(self.env.source, classifier)


def make_method(run: Run, recognizer: Recognizer, name: str) -> Method:
    """Return a registered method, untrained, with its options in the configuration or its defaults.

    Args:
        run: the run.
        recognizer: the recognizer after stage I.
        name: name of the method's class.

    Raises:
        UserError: if no method has this name, or its options are out of range.
    """
    return METHODS.get(name)(recognizer, run.config.methods.get(name), seed=run.config.seed)


def load_method(run: Run, recognizer: Recognizer, name: str) -> Method:
    """Return a registered method as the run has trained it.

    Args:
        run: the run.
        recognizer: the recognizer after stage I.
        name: name of the method's class.

    Raises:
        UserError: if no method has this name, or it was not trained.
    """
    method = make_method(run, recognizer, name)
    if method.learns:
        path = run.folder.checkpoint(method.label)
        if not path.is_file():
            raise UserError(
                f"{name} was not trained: there is no {path}; `adafocus evaluate {run.folder.path}` trains it"
            )
        method.load_tensors(checkpoint.load(path, device=run.device)[0], what=str(path))
    return method
