"""PPO over whole episodes: sample with one sequence call, update with one sequence call.

The defaults are GFNet's, which AdaFocus adopts (appendix B.1, "the same training hyper-parameters as [8]"): with one
epoch over one full batch, the probability ratio is 1 throughout. More epochs, minibatches over videos, GAE, gradient
clipping and an entropy schedule are available, and off by default.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from adafocus_rl import checkpoint
from adafocus_rl.agents.base import AGENTS
from adafocus_rl.agents.learner import Tick, no_tick
from adafocus_rl.agents.ppo.distributions import Distribution
from adafocus_rl.agents.ppo.encoder import blank, take_rows
from adafocus_rl.agents.ppo.losses import PPOTerms, discounted_returns, explained_variance, gae, normalise, ppo_loss
from adafocus_rl.agents.ppo.networks import RecurrentActorCritic
from adafocus_rl.agents.ppo.options import PPOOptions
from adafocus_rl.agents.ppo.sampling import SamplingAgent
from adafocus_rl.envs import DecisionVectorEnv, Info, PolicyOutput, Rollout
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.errors import UserError
from adafocus_rl.flops import macs
from adafocus_rl.optimizer_state import OPTIMIZER, optimizer_tensors, restore_optimizer
from adafocus_rl.seeding import derive_seed, hash_uniform


@AGENTS.register("PPOAgent")
class PPOAgent(SamplingAgent):
    """Recurrent PPO for π.

    Args:
        env: as in ``Agent``.
        options: options of the network and of training.
        seed: seed of the initial weights, the sampled actions and the minibatches.
    """

    Options = PPOOptions
    options: PPOOptions

    label = "ppo"
    learns = True

    def __init__(self, env: DecisionVectorEnv, options: PPOOptions | None = None, *, seed: int = 0) -> None:
        super().__init__(env, options, seed=seed)
        options = self.options
        with torch.random.fork_rng(devices=[]):
            # Layers draw their weights from the CPU generator for any device; its state is restored afterwards.
            torch.default_generator.manual_seed(derive_seed(seed, "ppo weights"))
            network = RecurrentActorCritic(
                observation_space=env.single_observation_space,
                action_space=env.single_action_space,
                options=options,
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

    # ---- acting -------------------------------------------------------------------------------------------------

    def initial_memory(self, count: int) -> Tensor:
        """Return zeros (B, M)."""
        return self.network.initial_state(count)

    def decide(self, observation: Observation, memory: Tensor) -> tuple[Distribution, Tensor | None, Tensor]:
        """Run one step of the network, including the critic."""
        outputs, value, memory = self.network.step(observation, memory)
        return self.network.distribution(outputs), value, memory

    @torch.no_grad()
    def act(self, observation: Observation, info: Info, *, deterministic: bool = False) -> PolicyOutput:
        """Return the actions of whole episodes, with one sequence call; of ``info``, only video and visit are used."""
        outputs, value = self.network.sequence(observation)
        uniform = None if deterministic else self.uniform_of_episodes(info, observation)
        return self.choose(self.network.distribution(outputs), value, uniform)

    # ---- learning -----------------------------------------------------------------------------------------------

    def train_epoch(
        self, env: DecisionVectorEnv, epoch: int, *, epochs: int, tick: Tick = no_tick
    ) -> Mapping[str, float]:
        """Make one pass over the videos, with one PPO update for each batch of the environment's size.

        Raises:
            UserError: if none of the videos can be decoded.
        """
        progress = epoch / max(1, epochs - 1)
        first, last = self.options.ent_coef, self.options.ent_coef_final
        ent_coef = first if last is None else first + progress * (last - first)
        history: list[dict[str, Tensor]] = []
        videos: list[int] = []
        # Actions are sampled in training mode, like in the update, so that the first ratio is 1.
        self.network.train()
        for rollout in env.rollouts(self, epoch=epoch):
            history.append(self.update(rollout, ent_coef=ent_coef))
            videos.append(len(rollout.reward))
            tick(0, loss=history[-1]["train/loss"], rows=rollout.info["video"])
        self.network.eval()
        if not history:
            raise UserError("none of the training videos can be decoded; there is nothing to learn from")
        # The last batch of a pass may be smaller: scalars are means over videos, not over batches.
        share = torch.tensor(videos, device=self.device) / sum(videos)
        scalars = {name: float((torch.stack([part[name] for part in history]) * share).sum()) for name in history[0]}
        return {**scalars, "train/ent_coef": ent_coef}

    def update(self, rollout: Rollout, *, ent_coef: float) -> dict[str, Tensor]:
        """Make one PPO update on B whole episodes; return scalars named as in Stable-Baselines3."""
        output = rollout.output
        assert output.log_prob is not None
        assert output.value is not None
        sample = output.action if output.sample is None else output.sample
        advantage, target = self._advantage(rollout.reward, output.value)
        parts: list[PPOTerms] = []
        for turn in range(self.options.n_epochs):
            for rows in self._minibatches(rollout.info, len(rollout.reward), turn):
                outputs, value = self.network.sequence(take_rows(rollout.observation, rows))
                distribution = self.network.distribution(outputs)
                terms = ppo_loss(
                    log_prob=distribution.log_prob(sample[rows]),
                    old_log_prob=output.log_prob[rows],
                    advantage=advantage[rows],
                    value=value,
                    value_target=target[rows],
                    entropy=distribution.entropy(),
                    clip_range=self.options.clip_range,
                    vf_coef=self.options.vf_coef,
                    ent_coef=ent_coef,
                )
                self.optimizer.zero_grad(set_to_none=True)
                terms.loss.backward()
                if self.options.max_grad_norm:
                    torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.options.max_grad_norm)
                self.optimizer.step()
                parts.append(terms)
        scalars = {
            f"train/{field.name}": torch.stack([getattr(part, field.name).detach() for part in parts]).mean()
            for field in fields(PPOTerms)
        }
        scalars["train/explained_variance"] = explained_variance(output.value, target)
        scalars["rollout/ep_rew_mean"] = rollout.reward.sum(1).mean()
        return scalars

    def _advantage(self, reward: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return advantages and value targets, (B, T) each."""
        if self.options.gae_lambda is None:
            target = normalise(discounted_returns(reward, self.options.gamma))
            return target - value, target
        advantage = gae(reward, value, self.options.gamma, self.options.gae_lambda)
        return normalise(advantage), advantage + value

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
