"""Base class of agents that learn with π's network: acting, updates, saving and exact resume."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from adafocus_rl import checkpoint
from adafocus_rl.agents.learner import Tick, no_tick
from adafocus_rl.agents.policies.best import NetworkActions
from adafocus_rl.agents.policies.create import create_network
from adafocus_rl.agents.policies.distributions import Distribution
from adafocus_rl.agents.policies.encoder import blank, statistics_kept, take_rows
from adafocus_rl.agents.policies.options import EntropyOptions, PolicyOptions
from adafocus_rl.agents.policies.sampling import SamplingAgent
from adafocus_rl.agents.policies.shifts import MapShift, ShiftOptions
from adafocus_rl.envs import Counterfactuals, DecisionVectorEnv, Info, PolicyOutput, Rollout
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.errors import UserError
from adafocus_rl.flops import macs
from adafocus_rl.optimizer_state import OPTIMIZER, optimizer_tensors, restore_optimizer
from adafocus_rl.seeding import derive_seed, hash_uniform


class PolicyAgent(SamplingAgent):
    """An agent that learns with π's network (AdaFocus, section 3.3) and Adam.

    A subclass defines the objective: ``targets``, computed once per batch of episodes, and ``loss``, computed in each
    update. Agents with the same seed and the same network options start from the same weights.

    Args:
        env: as in ``Agent``.
        options: options of the network and of training.
        seed: seed of the initial weights, the sampled actions and the minibatches.

    Raises:
        UserError: if the agent learns from the outcomes of all actions, and actions are continuous.
    """

    Options: ClassVar[type[Any]] = PolicyOptions
    options: PolicyOptions

    learns = True

    needs_outcomes: ClassVar[bool] = False
    """Whether the agent learns from the outcomes of all actions, which a feature bank makes possible."""

    def __init__(self, env: DecisionVectorEnv, options: PolicyOptions | None = None, *, seed: int = 0) -> None:
        super().__init__(env, options, seed=seed)
        if self.needs_outcomes and self.continuous:
            raise UserError(
                f"{type(self).__name__} learns from the outcomes of all actions, but actions are continuous; use grid "
                "actions (env.action_space=grid)"
            )
        options = self.options
        with torch.random.fork_rng(devices=[]):
            # Layers draw their weights from the CPU generator for any device; its state is restored afterwards.
            torch.default_generator.manual_seed(derive_seed(seed, "ppo weights"))
            network = create_network(
                observation_space=env.single_observation_space,
                action_space=env.single_action_space,
                grid=self.grid,
                options=options,
            )
        self.shift: MapShift | None = None
        if isinstance(options, ShiftOptions) and options.shift:
            self.shift = MapShift(
                observation_space=env.single_observation_space,
                action_space=env.single_action_space,
                grid=self.grid,
                most=options.shift,
            )
        self.network = network.to(self.device).eval()
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=options.learning_rate, betas=(options.beta1, options.beta2)
        )

    def macs_per_step(self) -> int:
        """Return the multiply-accumulates of one step of the network, including the critic (one dot product)."""
        network = copy.deepcopy(self.network).cpu()
        observation = blank(self.observation_space, 1)
        return macs(lambda state: network.step(observation, state), network.initial_state(1))

    def best_actions(self) -> NetworkActions:
        """Return one step of the network and the mode of its distribution."""
        return NetworkActions(self.network)

    # ---- acting -------------------------------------------------------------------------------------------------

    def initial_memory(self, count: int) -> Tensor:
        """Return zeros (B, M)."""
        return self.network.initial_state(count)

    def decide(self, observation: Observation, memory: Tensor) -> tuple[Distribution, Tensor | None, Tensor]:
        """Run one step of the network, including the critic."""
        with statistics_kept(self.network):
            outputs, value, memory = self.network.step(observation, memory)
        return self.network.distribution(outputs), value, memory

    @torch.no_grad()
    def act(self, observation: Observation, info: Info, *, deterministic: bool = False) -> PolicyOutput:
        """Return the actions of whole episodes, with one sequence call; of ``info``, only video and visit are used."""
        with statistics_kept(self.network):
            outputs, value = self.network.sequence(observation)
        uniform = None if deterministic else self.uniform_of_episodes(info, observation)
        return self.choose(self.network.distribution(outputs), value, uniform)

    # ---- learning -----------------------------------------------------------------------------------------------

    @abstractmethod
    def targets(self, rollout: Rollout, outcomes: Counterfactuals | None) -> dict[str, Tensor]:
        """Return the constants (B, …) that ``loss`` reads, by name.

        Args:
            rollout: B whole episodes with sampled actions.
            outcomes: the outcomes of all actions in them, if ``needs_outcomes``.
        """

    @abstractmethod
    def loss(
        self, distribution: Distribution, value: Tensor, targets: Mapping[str, Tensor], *, progress: float
    ) -> dict[str, Tensor]:
        """Return the scalar ``loss`` of a minibatch of b episodes, and further scalars to log, by name.

        Args:
            distribution: the policy's distributions (b, T).
            value: the critic's values (b, T).
            targets: the minibatch's rows of ``targets``.
            progress: share of the passes that are done, 0 in the first and 1 in the last.
        """

    def experience(self, env: DecisionVectorEnv, epoch: int) -> Iterator[Rollout]:
        """Yield the batches of episodes of one pass over the videos; each is for one call of ``update``."""
        yield from env.rollouts(self, epoch=epoch, with_reward=not self.needs_outcomes)

    def outcomes(self, env: DecisionVectorEnv, rollout: Rollout) -> Counterfactuals:
        """Return the outcomes of all actions that the agent learns from, if ``needs_outcomes``."""
        return env.counterfactuals(rollout)

    def train_epoch(
        self,
        env: DecisionVectorEnv,
        epoch: int,
        *,
        epochs: int,
        tick: Tick = no_tick,
        experience: Iterable[Rollout] | None = None,
    ) -> Mapping[str, float]:
        """Make one pass over the videos, with one ``update`` for each batch of the environment's size.

        Args:
            env: the environment to learn on.
            epoch: number of the pass, from 0.
            epochs: total number of passes, for schedules.
            tick: called with the loss of each update.
            experience: the batches of the pass, such as those of ``experience`` with another reward; None for those.

        Raises:
            UserError: if none of the videos can be decoded.
        """
        progress = epoch / max(1, epochs - 1)
        history: list[dict[str, Tensor]] = []
        videos: list[int] = []
        # Actions are sampled in training mode, like in the update, so that PPO's first ratio is 1.
        self.network.train()
        for rollout in self.experience(env, epoch) if experience is None else experience:
            outcomes = None
            if self.needs_outcomes:
                outcomes = self.outcomes(env, rollout)
                reward = outcomes.reward.gather(-1, rollout.output.action[..., None]).squeeze(-1)
                rollout = replace(rollout, reward=reward)
                if self.shift is not None:
                    rollout, outcomes = self._shifted(self.shift, rollout, outcomes)
            history.append(self.update(rollout, outcomes, progress=progress))
            videos.append(len(rollout.reward))
            tick(0, loss=history[-1]["train/loss"], rows=rollout.info["video"])
        self.network.eval()
        if not history:
            raise UserError("none of the training videos can be decoded; there is nothing to learn from")
        # The last batch of a pass may be smaller: scalars are means over videos, not over batches.
        share = torch.tensor(videos, device=self.device) / sum(videos)
        scalars = {name: float((torch.stack([part[name] for part in history]) * share).sum()) for name in history[0]}
        if isinstance(self.options, EntropyOptions):
            scalars["train/ent_coef"] = self.options.ent_coef_at(progress)
        return scalars

    def update(
        self, rollout: Rollout, outcomes: Counterfactuals | None = None, *, progress: float = 0.0
    ) -> dict[str, Tensor]:
        """Learn from B whole episodes; return scalars to log, named as in Stable-Baselines3.

        Args:
            rollout: episodes with sampled actions and their rewards.
            outcomes: the outcomes of all actions, if ``needs_outcomes``.
            progress: share of the passes that are done.
        """
        targets = self.targets(rollout, outcomes)
        learnt = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        parts: list[dict[str, Tensor]] = []
        for turn in range(self.options.n_epochs):
            for rows in self._minibatches(rollout.info, len(rollout.reward), turn):
                outputs, value = self.network.sequence(take_rows(rollout.observation, rows))
                chosen = {name: target[rows] for name, target in targets.items()}
                terms = self.loss(self.network.distribution(outputs), value, chosen, progress=progress)
                self.optimizer.zero_grad(set_to_none=True)
                # A loss may go through f_C, which is frozen.
                terms["loss"].backward(inputs=learnt)
                if self.options.max_grad_norm:
                    torch.nn.utils.clip_grad_norm_(learnt, self.options.max_grad_norm)
                self.optimizer.step()
                parts.append({name: term.detach() for name, term in terms.items()})
        scalars = {f"train/{name}": torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
        return {**scalars, "rollout/ep_rew_mean": rollout.reward.sum(1).mean()}

    def _shifted(self, shift: MapShift, rollout: Rollout, outcomes: Counterfactuals) -> tuple[Rollout, Counterfactuals]:
        """Return B whole episodes and their outcomes, each shifted by its own number of cells in each visit."""
        visit, video = self.episode_counters(rollout.info, len(rollout.reward), self.device)
        axis = torch.arange(2, device=self.device)
        cells = shift.draw(hash_uniform(derive_seed(self.seed, "shift"), visit[:, None], video[:, None], axis))
        observation = shift.observation(rollout.observation, cells)
        return replace(rollout, observation=observation), shift.outcomes(outcomes, cells)

    def _minibatches(self, info: Info, count: int, turn: int) -> Iterator[slice | Tensor]:
        """Yield the rows of each minibatch in pass ``turn``; a single minibatch is the whole batch, without a copy."""
        if self.options.n_minibatches == 1:
            yield slice(None)
        else:
            episodes = self.episode_counters(info, count, self.device)
            order = hash_uniform(derive_seed(self.seed, "minibatches", turn), *episodes).argsort()
            yield from order.tensor_split(min(self.options.n_minibatches, count))

    # ---- saving -------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Return the network's weights, as ``policy.…``."""
        return {f"policy.{name}": value for name, value in self.network.state_dict().items()}

    def load_tensors(self, tensors: Mapping[str, Tensor], *, what: str) -> None:
        """Restore the network.

        Raises:
            UserError: if it was saved with another map, grid or width.
        """
        checkpoint.load_into(self.network, tensors, prefix="policy.", what=what)

    def training_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the network's weights and Adam's moments; random numbers depend on the number of the pass only."""
        optimizer, plain = optimizer_tensors(self.optimizer, prefix=OPTIMIZER)
        return {**self.tensors(), **optimizer}, plain

    def load_training_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any], *, what: str) -> None:
        """Restore the network and the optimiser.

        Raises:
            UserError: if they were saved with another map, grid, width or optimiser.
        """
        self.load_tensors(tensors, what=what)
        restore_optimizer(self.optimizer, tensors, plain, prefix=OPTIMIZER)
