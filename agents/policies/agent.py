"""Base class of agents that learn with π's network: acting, updates, saving and exact resume."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import gymnasium as gym
import torch
from torch import Tensor

from adafocus_rl import ranks
from adafocus_rl.agents.learner import Tick, no_tick
from adafocus_rl.agents.policies.acting import NetworkAgent
from adafocus_rl.agents.policies.captured import CapturedUpdates, capturable
from adafocus_rl.agents.policies.distributions import Distribution
from adafocus_rl.agents.policies.options import EntropyOptions, PolicyOptions
from adafocus_rl.agents.policies.precision import matrix_products
from adafocus_rl.agents.policies.shifts import MapShift, ShiftOptions
from adafocus_rl.envs import Counterfactuals, DecisionVectorEnv, Rollout
from adafocus_rl.errors import UserError
from adafocus_rl.features import EpisodeFeatures
from adafocus_rl.models.batch_norm import statistics_of_all_ranks
from adafocus_rl.optimizer_state import OPTIMIZER, optimizer_tensors, restore_optimizer
from adafocus_rl.seeding import derive_seed, hash_uniform


class PolicyAgent(NetworkAgent):
    """An agent that learns with π's network (AdaFocus, section 3.3) and Adam.

    A subclass defines the objective: ``targets``, computed once per batch of episodes, and ``loss``, computed in each
    update.

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
    learns_on_ranks = True

    needs_outcomes: ClassVar[bool] = False
    """Whether the agent learns from the outcomes of all actions, which a feature bank makes possible."""

    def __init__(self, env: DecisionVectorEnv, options: PolicyOptions | None = None, *, seed: int = 0) -> None:
        if self.needs_outcomes and isinstance(env.single_action_space, gym.spaces.Box):
            raise UserError(
                f"{type(self).__name__} learns from the outcomes of all actions, but actions are continuous; use grid "
                "actions (env.action_space=grid)"
            )
        super().__init__(env, options, seed=seed)
        options = self.options
        self.shift: MapShift | None = None
        if isinstance(options, ShiftOptions) and options.shift:
            self.shift = MapShift(
                observation_space=env.single_observation_space,
                action_space=env.single_action_space,
                grid=self.grid,
                most=options.shift,
            )
        self.optimizer = torch.optim.Adam(
            self.network.parameters(),
            lr=options.learning_rate,
            betas=(options.beta1, options.beta2),
            fused=self.device.type in ("cpu", "cuda") or None,
            capturable=self.device.type == "cuda",
        )
        self._updates = CapturedUpdates(self)

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

    def diagnostics(self, rollout: Rollout, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return further scalars to log after an update, by name; all ranks must call this. None by default."""
        return {}

    def experience(self, env: DecisionVectorEnv, epoch: int) -> Iterator[Rollout]:
        """Yield the batches of episodes of one pass over the videos; each is for one call of ``update``.

        With several ranks, these are the rank's parts of the batches.
        """
        for episodes in env.own_parts(epoch=epoch):
            yield self.roll_out(env, episodes, epoch)

    def roll_out(self, env: DecisionVectorEnv, episodes: EpisodeFeatures, visit: int) -> Rollout:
        """Return whole episodes with sampled actions to learn from; all ranks must call this with their parts.

        Args:
            env: the environment to learn on.
            episodes: features of B videos.
            visit: number of earlier visits of these episodes.
        """
        with statistics_of_all_ranks(self.network, episodes.share):
            return env.rollout(self, episodes=episodes, visit=visit, with_reward=not self.needs_outcomes)

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
        self.keeps_forward = self.reuses_forward
        if experience is None and self._one_rollout and capturable(env):
            updates = self._updates.of_pass(env, epoch, progress)
        else:
            batches = self.experience(env, epoch) if experience is None else experience
            updates = ((_videos(rollout), self.learn_from(env, rollout, progress)) for rollout in batches)
        with matrix_products(self.precision):
            for rows, scalars_of_batch in updates:
                history.append(scalars_of_batch)
                videos.append(len(rows))
                tick(0, loss=scalars_of_batch["train/loss"], rows=rows)
        self.network.eval()
        self.keeps_forward, self._forward = False, None
        if not history:
            raise UserError("none of the training videos can be decoded; there is nothing to learn from")
        # The last batch of a pass may be smaller: scalars are means over videos, not over batches.
        count = ranks.total(torch.tensor(videos, device=self.device))
        share = count / count.sum()
        means = [(torch.stack([part[name] for part in history]) * share).sum() for name in history[0]]
        scalars = dict(zip(history[0], torch.stack(means).tolist(), strict=True))
        if isinstance(self.options, EntropyOptions):
            scalars["train/ent_coef"] = self.options.ent_coef_at(progress)
        return scalars

    def scheduled(self, progress: float) -> float:
        """Return the number that ``loss`` derives from the progress; a CUDA graph is for one such number."""
        return progress

    def learn_from(self, env: DecisionVectorEnv, rollout: Rollout, progress: float) -> dict[str, Tensor]:
        """Make the ``update`` on a batch of ``experience``, with the outcomes of all actions if they are needed."""
        outcomes = None
        if self.needs_outcomes:
            outcomes = self.outcomes(env, rollout)
            reward = outcomes.reward.gather(-1, rollout.output.action[..., None]).squeeze(-1)
            rollout = replace(rollout, reward=reward)
            if self.shift is not None:
                rollout, outcomes = self._shifted(self.shift, rollout, outcomes)
        return self.update(rollout, outcomes, progress=progress)

    def update(
        self, rollout: Rollout, outcomes: Counterfactuals | None = None, *, progress: float = 0.0
    ) -> dict[str, Tensor]:
        """Learn from B whole episodes; return scalars to log, named as in Stable-Baselines3.

        With several ranks, the updates and the scalars are those of one process with the episodes of all.

        Args:
            rollout: episodes with sampled actions and their rewards; with several ranks, this rank's part of a batch.
            outcomes: the outcomes of all actions, if ``needs_outcomes``.
            progress: share of the passes that are done.
        """
        targets = self.targets(rollout, outcomes)
        everyone = self._everyone(rollout)
        learnt = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        parts: list[dict[str, Tensor]] = []
        for turn in range(self.options.n_epochs):
            for rows, share in self._minibatches(rollout, everyone, turn):
                with statistics_of_all_ranks(self.network, share):
                    outputs, value = self.outputs(rollout.observation, rows)
                chosen = {name: target[rows] for name, target in targets.items()}
                terms = self.loss(self.network.distribution(outputs), value, chosen, progress=progress)
                self.optimizer.zero_grad(set_to_none=True)
                # A loss may go through f_C, which is frozen.
                (terms["loss"] * share).backward(inputs=learnt)
                # The same weights have a gradient on each rank; those of an unused critic have none.
                ranks.sum_gradients(weight for weight in learnt if weight.grad is not None)
                if self.options.max_grad_norm:
                    torch.nn.utils.clip_grad_norm_(learnt, self.options.max_grad_norm)
                self.optimizer.step()
                parts.append({name: term.detach() * share for name, term in terms.items()})
        scalars = {f"train/{name}": torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
        scalars["rollout/ep_rew_mean"] = rollout.reward.sum(1).mean() * rollout.episodes.share
        found = dict(zip(scalars, ranks.total(torch.stack([*scalars.values()])), strict=True))
        return {**found, **self.diagnostics(rollout, targets)}

    def _shifted(self, shift: MapShift, rollout: Rollout, outcomes: Counterfactuals) -> tuple[Rollout, Counterfactuals]:
        """Return B whole episodes and their outcomes, each shifted by its own number of cells in each visit."""
        visit, video = self.episode_counters(rollout.info, len(rollout.reward), self.device)
        axis = torch.arange(2, device=self.device)
        cells = shift.draw(hash_uniform(derive_seed(self.seed, "shift"), visit[:, None], video[:, None], axis))
        observation = shift.observation(rollout.observation, cells)
        return replace(rollout, observation=observation), shift.outcomes(outcomes, cells)

    @property
    def _one_rollout(self) -> bool:
        """Whether the experience of an update is one rollout."""
        return type(self).experience is PolicyAgent.experience

    @property
    def reuses_forward(self) -> bool:
        """Whether the first update on a batch has the weights and observations with which its actions were sampled."""
        return self._one_rollout and self.options.n_minibatches == 1 and self.shift is None

    def _everyone(self, rollout: Rollout) -> Tensor | None:
        """Return (visit, video, row, rank) of each episode of all ranks' batch, (N, 4); None if it is not divided."""
        if self.options.n_minibatches == 1:
            return None
        count = len(rollout.reward)
        rows = torch.arange(count, device=self.device)
        counters = self.episode_counters(rollout.info, count, self.device)
        return rollout.episodes.join(torch.stack((*counters, rows, torch.full_like(rows, ranks.rank())), dim=1))

    def _minibatches(
        self, rollout: Rollout, everyone: Tensor | None, turn: int
    ) -> Iterator[tuple[slice | Tensor, float]]:
        """Yield the rows of each minibatch in pass ``turn``, and the share of the minibatch that they are.

        A single minibatch is the whole batch, without a copy. With several ranks, minibatches are those of the batch of
        all ranks (``everyone``); where a rank has none of the videos, its first one stands in for them, with a share of
        0.
        """
        if everyone is None:
            yield slice(None), rollout.episodes.share
            return
        visit, video, rows, rank = everyone.unbind(1)
        order = hash_uniform(derive_seed(self.seed, "minibatches", turn), visit, video).argsort()
        for chosen in order.tensor_split(min(self.options.n_minibatches, len(order))):
            if ranks.world() == 1:
                yield chosen, 1.0
                continue
            own = rows[chosen[rank[chosen] == ranks.rank()]]
            yield (own, len(own) / len(chosen)) if len(own) else (rows.new_zeros(1), 0.0)

    # ---- saving -------------------------------------------------------------------------------------------------

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
        self._updates.forget()


def _videos(rollout: Rollout) -> Tensor:
    """Return the videos of a batch of episodes; none if they only stand in for an empty part."""
    videos: Tensor = rollout.info["video"]
    return videos if rollout.episodes.share else videos[:0]
