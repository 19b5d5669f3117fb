"""Interface of agents: the methods of Stable-Baselines3's models, and ``act`` for whole episodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar, TypeVar

import gymnasium as gym
from torch import Tensor

from adafocus_rl import checkpoint, ranks
from adafocus_rl.agents.best_actions import BestActions
from adafocus_rl.agents.counted import counted_macs
from adafocus_rl.agents.learner import Tick, no_tick
from adafocus_rl.agents.registry import AGENTS
from adafocus_rl.agents.saved import saved_class
from adafocus_rl.envs import DecisionVectorEnv, Info, PolicyOutput
from adafocus_rl.envs.spaces import Observation, blank
from adafocus_rl.errors import UserError
from adafocus_rl.options import NoOptions
from adafocus_rl.plain import build, convert, plain_options

Self = TypeVar("Self", bound="Agent")

LearnCallback = Callable[[int, Mapping[str, float]], None]
"""Called after each epoch with the number of epochs done and the epoch's scalars."""


def features_of(observation: Observation) -> Tensor:
    """Return e^G from observations: the observations themselves, or a dict's ``features``."""
    return observation if isinstance(observation, Tensor) else observation["features"]


class Agent(ABC):
    """Base class of agents: in every frame, an agent selects an action, such as a patch.

    A subclass is listed in ``adafocus_rl.agents.registry`` (third parties: an entry point in the group
    ``adafocus_rl.agents``). The fields of its ``Options`` become options of the command line.

    Args:
        env: an environment like those in which the agent will act. The agent copies its spaces, grid and device, and
            can act in any environment that has the same ones.
        options: an instance of the class's ``Options``; None uses the defaults.
        seed: seed of the agent's random numbers.

    Raises:
        TypeError: if ``options`` is not an instance of ``Options``.
    """

    Options: ClassVar[type[Any]] = NoOptions
    """A frozen dataclass of plain values, with a docstring under each field, that checks its own ranges."""

    label: str
    """Short name in tables and files: ``ppo``, ``random``."""

    learns: ClassVar[bool] = False
    """Whether stage II trains this agent."""

    learns_on_ranks: ClassVar[bool] = False
    """Whether it learns in a job of several ranks what it learns in one process: see ``check_ranks``."""

    stochastic: ClassVar[bool] = False
    """Whether evaluation should average over several visits of each video."""

    privileged: ClassVar[bool] = False
    """Whether it uses true boxes or labels; such an agent is a reference in comparisons, not a competitor."""

    reads_motion: ClassVar[bool] = True
    """Whether it reads ``motion`` from the info of whole episodes, which takes time to compute."""

    patches_per_frame: int = 1
    """Patches of a frame that f_L has to process, 1 unless the agent reads f_L's features of others to choose."""

    options: Any
    """The agent's options, an instance of ``Options``."""

    def __init__(self, env: DecisionVectorEnv, options: Any = None, *, seed: int = 0) -> None:
        if not isinstance(options, (self.Options, NoneType)):
            raise TypeError(f"{type(self).__name__} takes {self.Options.__name__}, not {type(options).__name__}")
        self.options = self.Options() if options is None else options
        self.seed = seed
        self.device = env.source.device
        self.grid = env.source.grid
        self.observation_space = env.single_observation_space
        self.action_space = env.single_action_space
        space = self.action_space
        self.num_actions = int(space.n) if isinstance(space, gym.spaces.Discrete) else self.grid.num_actions
        self.continuous = isinstance(space, gym.spaces.Box)

    def check_ranks(self) -> None:
        """Check that the agent can learn in this job.

        Raises:
            UserError: if the job has several ranks, and the agent would learn something else on each of them.
        """
        if self.learns and not self.learns_on_ranks and ranks.world() > 1:
            raise UserError(
                f"{type(self).__name__} learns in one process only, and this job has {ranks.world()} ranks; train it "
                "without torchrun, or another agent, such as PPOAgent"
            )

    @abstractmethod
    def act(self, observation: Observation, info: Info, *, deterministic: bool = False) -> PolicyOutput:
        """Return actions (B, T[, 2]) of whole episodes for observations (B, T, …); see ``Policy``."""

    def act_step(
        self, observation: Observation, state: Any, info: Info, *, deterministic: bool = False
    ) -> tuple[PolicyOutput, Any]:
        """Return one step's actions and the next state, for observations that depend on previous actions.

        The state is as in ``predict``; see ``StepPolicy``.
        """
        action, state = self.predict(observation, state, deterministic=deterministic)
        return PolicyOutput(action=action), state

    def act_online(
        self, observation: Observation, state: Any, info: Info, *, deterministic: bool = False
    ) -> tuple[PolicyOutput, Any]:
        """Return the actions in the next frame of a stream, of which no later frame is known, and the next state.

        Arguments are those of ``act_step``, but ``info`` holds the facts about this frame only.

        Raises:
            UserError: if the agent needs whole clips.
        """
        return self.act_step(observation, state, info, deterministic=deterministic)

    @abstractmethod
    def predict(
        self,
        observation: Observation,
        state: Tensor | None = None,
        episode_start: Tensor | None = None,
        deterministic: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return actions (B[, 2]) for one step's observations.

        Args:
            observation: (B, …), a tensor or a dict of tensors, according to the environment's space.
            state: the state returned by the previous call; None in the first.
            episode_start: (B,) bool, True where an episode begins with this observation; the state is reset there.
            deterministic: take the best action instead of a sample.

        Returns:
            Actions, (B,) int64 on the grid or (B, 2) float32 positions, and the state for the next call.
        """

    def action_at(self, position: Tensor) -> Tensor:
        """Return actions for relative positions (…, 2): the same in float32, or the nearest on the grid (…,), int64.

        With several scales, patches have the scale nearest to 1.
        """
        return position.float() if self.continuous else self.grid.action(position)

    def bind(self, env: DecisionVectorEnv) -> Agent:
        """Return an agent bound to ``env``, the environment in which it acts next.

        This is the agent itself, unless it reads more of the environment than observations and infos.
        """
        return self

    def begin(self, info: Mapping[str, Any]) -> None:  # noqa: B027  # most agents do not need it
        """Receive ``info`` of ``env.reset()``, or of an ``env.step()`` that begins new episodes.

        Only agents that plan from ``info`` (``PlannedAgent``: random, oracle) need it.
        """

    def learn(
        self: Self,
        env: DecisionVectorEnv,
        *,
        epochs: int,
        start_epoch: int = 0,
        callback: LearnCallback | None = None,
    ) -> Self:
        """Train for passes ``start_epoch … epochs − 1`` over the environment's videos, if the agent ``learns``.

        Args:
            env: the environment to learn on.
            epochs: total number of passes, including those before ``start_epoch``.
            start_epoch: the first pass; above 0 when training resumes from a checkpoint.
            callback: called after each pass with its scalars.

        Returns:
            The agent itself.
        """
        self.check_ranks()
        for epoch in range(start_epoch, epochs if self.learns else start_epoch):
            scalars = self.train_epoch(env, epoch, epochs=epochs)
            if callback:
                callback(epoch + 1, scalars)
        return self

    def train_epoch(
        self, env: DecisionVectorEnv, epoch: int, *, epochs: int, tick: Tick = no_tick
    ) -> Mapping[str, float]:
        """Make one pass over the environment's videos; agents that learn override this method.

        All random numbers of a pass depend on (seed, pass) only, so training resumed from a checkpoint continues as if
        it had not stopped.

        Args:
            env: the environment to learn on.
            epoch: number of the pass, from 0.
            epochs: total number of passes, for schedules.
            tick: called with the loss of each update.

        Returns:
            Scalars of the pass by name, including ``rollout/ep_rew_mean``, the mean return of an episode.
        """
        raise NotImplementedError(f"{type(self).__name__} has nothing to learn")

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors that ``save`` stores; ``load_tensors`` is the inverse."""
        return {}

    def load_tensors(self, tensors: Mapping[str, Tensor], *, what: str) -> None:  # noqa: B027  # nothing to restore
        """Restore the result of ``tensors``; ``what`` names the file in messages."""

    def training_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and plain values needed to resume training exactly, including the optimiser's."""
        return self.tensors(), {}

    def load_training_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any], *, what: str) -> None:
        """Restore the result of ``training_state``; ``what`` names the file in messages."""
        self.load_tensors(tensors, what=what)

    def macs_per_step(self) -> int:
        """Return the multiply-accumulates of one decision.

        By default, this is 0 for agents that do not learn, and for others what torch counts in a call of ``predict``
        (``counted_macs``). Agents that compute outside of torch, or in fused recurrent kernels of a GPU, override it.
        """
        return counted_macs(self, blank(self.observation_space, 1)) if self.learns else 0

    def best_actions(self) -> BestActions:
        """Return one step of the best actions as a module that shares the agent's weights, for ``adafocus export``.

        Raises:
            UserError: if they are no function of the observation and a memory, which is the default.
        """
        raise UserError(
            f"{type(self).__name__} cannot be exported: it does not offer its best action as a function of the "
            "observation and a memory; give an agent with π's network, HeuristicAgent or CenterAgent"
        )

    def save(self, path: str | Path) -> None:
        """Save the agent as one safetensors file with a JSON manifest; the file is written atomically."""
        # The seed is stored with the options, as in the first version of the format.
        options = {"seed": self.seed, **plain_options(self.options)}
        manifest = {"kind": "agent", "agent": type(self).__name__, "options": options}
        checkpoint.save(Path(path), tensors=self.tensors(), manifest=manifest)

    @classmethod
    def load(cls, path: str | Path, env: DecisionVectorEnv) -> Agent:
        """Load a saved agent of this class, or of a registered subclass.

        ``Agent.load`` loads any registered agent.

        Args:
            path: a file that ``save`` wrote.
            env: the environment to act in, with the same map and grid as the one that the saved agent was created for.

        Raises:
            UserError: if the file is not an agent checkpoint, contains an agent that is not a ``cls``, or the agent
                does not fit ``env``.
        """
        tensors, manifest = checkpoint.load(Path(path), device=env.source.device)
        found = saved_class(path, manifest, "agent", cls, AGENTS)
        with checkpoint.reading(path):
            options = dict(manifest["options"])
            try:
                seed = convert(options.pop("seed", 0), int, "agent.seed")
                agent: Agent = found(env, build(found.Options, options, "agent", whose=found.__name__), seed=seed)
            except UserError as error:
                raise UserError(f"{path} holds a {found.__name__} that cannot be made here: {error}") from error
            agent.load_tensors(tensors, what=str(path))
        return agent
