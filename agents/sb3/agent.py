"""Agents with the algorithms PPO, A2C and recurrent PPO of Stable-Baselines3, trained step by step."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adafocus_rl import checkpoint
from adafocus_rl.agents.base import features_of
from adafocus_rl.agents.learner import Tick, no_tick
from adafocus_rl.agents.policies.distributions import Categorical, ClippedGaussian, Distribution
from adafocus_rl.agents.policies.encoder import flatten_time, take_rows
from adafocus_rl.agents.policies.sampling import SamplingAgent
from adafocus_rl.agents.sb3.options import SB3Options
from adafocus_rl.envs import DecisionVectorEnv, Info, PolicyOutput
from adafocus_rl.envs.spaces import Observation, blank
from adafocus_rl.errors import UserError
from adafocus_rl.flops import macs
from adafocus_rl.optimizer_state import OPTIMIZER, optimizer_tensors, restore_optimizer
from adafocus_rl.seeding import derive_seed, isolated

_DRAWN = ("action", "log_prob", "sample", "probabilities")
"""Fields of a ``PolicyOutput`` that need no critic."""


class SB3Agent(SamplingAgent):
    """An algorithm of Stable-Baselines3 (RecurrentPPO: of sb3-contrib) on a network like π's.

    Options that are not given have the algorithm's own defaults, except γ and the length of a rollout, which is one
    episode of every environment.

    Args:
        env: as in ``Agent``; the agent can learn only with the same number of parallel videos.
        options: the algorithm and its arguments.
        seed: seed of the initial weights, the sampled actions, the minibatches and the order of videos.

    Raises:
        UserError: if the algorithm rejects one of ``options.options``, or needs sb3-contrib and that is not installed.
    """

    Options = SB3Options
    options: SB3Options

    label = "sb3"
    learns = True

    def __init__(self, env: DecisionVectorEnv, options: SB3Options | None = None, *, seed: int = 0) -> None:
        super().__init__(env, options, seed=seed)
        options = self.options
        from adafocus_rl.agents.sb3.models import build

        self.label = f"sb3_{options.algorithm.lower()}"
        self._recurrent = options.algorithm == "RecurrentPPO"
        given = {"gamma": options.gamma, "n_steps": options.n_steps or env.source.num_steps, **(options.options or {})}
        if options.learning_rate is not None:
            given["learning_rate"] = options.learning_rate
        with isolated("sb3 weights", seed, device=self.device):
            self.model = build(
                options.algorithm, env, reduced_channels=options.reduced_channels, hidden=options.hidden, options=given
            )

    def macs_per_step(self) -> int:
        """Return the multiply-accumulates of one step of the actor: encoder, LSTM, head."""
        # Training leaves a distribution with its graph there, which cannot be copied; every call sets another one.
        last = self.model.policy.action_dist
        policy = copy.deepcopy(self.model.policy, {id(last): last}).cpu()
        observation = blank(self.observation_space, 1)
        # The counter does not see fused recurrent kernels; switching them off warns about another vendor's GPU kernels.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with torch.backends.mkldnn.flags(enabled=False):
                return macs(lambda state: self._distribution(policy, observation, state), self.initial_memory(1).cpu())

    # ---- acting -------------------------------------------------------------------------------------------------

    def initial_memory(self, count: int) -> Tensor:
        """Return zeros (B, S): hidden and cell states of the actor's LSTM, if there is one."""
        lstm = self.model.policy.lstm_actor if self._recurrent else None
        size = 2 * lstm.num_layers * lstm.hidden_size if lstm is not None else 0
        return torch.zeros(count, size, device=self.device)

    def _distribution(self, policy: Any, observation: Observation, state: Tensor) -> tuple[Distribution, Tensor]:
        """Return the action distribution for observations (B, …) and states (B, S), and the next states."""
        policy.set_training_mode(False)
        if self._recurrent:
            layers, count = policy.lstm_actor.num_layers, len(state)
            before = state.view(count, 2, layers, -1).permute(1, 2, 0, 3).contiguous()
            found, after = policy.get_distribution(observation, tuple(before), state.new_zeros(count))
            state = torch.stack(after).permute(2, 0, 1, 3).flatten(1)
        else:
            found = policy.get_distribution(observation)
        drawn = found.distribution
        return ClippedGaussian(drawn.mean, drawn.stddev) if self.continuous else Categorical(drawn.logits), state

    def decide(self, observation: Observation, memory: Tensor) -> tuple[Distribution, Tensor | None, Tensor]:
        """Return the actor's distribution, no value, and the next memory."""
        distribution, memory = self._distribution(self.model.policy, observation, memory)
        return distribution, None, memory

    @torch.no_grad()
    def act(self, observation: Observation, info: Info, *, deterministic: bool = False) -> PolicyOutput:
        """Return the actions of whole episodes: one call for all frames, or with an LSTM one call per frame."""
        count, frames = features_of(observation).shape[:2]
        if not self._recurrent:
            found, _ = self._distribution(self.model.policy, flatten_time(observation), self.initial_memory(count))
            uniform = None if deterministic else self.uniform_of_episodes(info, observation).flatten(0, 1)
            flat = self.choose(found, None, uniform)
            parts = {
                name: value.unflatten(0, (count, frames)) for name, value in vars(flat).items() if value is not None
            }
            return PolicyOutput(**parts)
        outputs: list[PolicyOutput] = []
        state = None
        for frame in range(frames):
            now = take_rows(observation, (slice(None), frame))
            output, state = self.act_step(now, state, info, deterministic=deterministic)
            outputs.append(output)
        known = [name for name in _DRAWN if getattr(outputs[0], name) is not None]
        return PolicyOutput(**{name: torch.stack([getattr(part, name) for part in outputs], dim=1) for name in known})

    # ---- learning -----------------------------------------------------------------------------------------------

    def train_epoch(
        self, env: DecisionVectorEnv, epoch: int, *, epochs: int, tick: Tick = no_tick
    ) -> Mapping[str, float]:
        """Make one pass with Stable-Baselines3's own loop: N·T steps, rounded up to whole rollouts over all passes.

        Every pass begins with new episodes; its random numbers and its order of videos depend on (seed, pass) only.

        Raises:
            UserError: if the autoreset mode is not SAME_STEP, or the number of parallel videos is not that of the
                environment that the agent was created with.
        """
        from adafocus_rl.agents.sb3.models import Record
        from adafocus_rl.envs.sb3_vec_env import SB3VecEnv

        if env.num_envs != self.model.n_envs:
            raise UserError(
                f"{type(self).__name__} was made for {self.model.n_envs} videos side by side and cannot learn on "
                f"{env.num_envs}; give an environment with num_envs={self.model.n_envs}"
            )
        vec_env, seed_before, record = SB3VecEnv(env), env.seed, Record()
        self.model.set_env(vec_env)
        self.model.set_logger(record.logger())
        due = (epoch + 1) * len(env.source.videos) * env.source.num_steps - self.model.num_timesteps
        if due > 0:
            with isolated("sb3", self.seed, epoch, device=self.device):
                vec_env.seed(derive_seed(self.seed, "sb3 videos", epoch))
                self.model._last_obs = None
                self.model.ep_info_buffer = None
                self.model.learn(due, log_interval=1, reset_num_timesteps=False)
            self.model.logger.dump()  # scalars of the last update
        env.reset(seed=seed_before)
        return record.means()

    # ---- saving -------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Return the policy's weights, as ``policy.…``."""
        return {f"policy.{name}": value for name, value in self.model.policy.state_dict().items()}

    def load_tensors(self, tensors: Mapping[str, Tensor], *, what: str) -> None:
        """Restore the policy.

        Raises:
            UserError: if it was saved with other spaces, another algorithm or another width.
        """
        checkpoint.load_into(self.model.policy, tensors, prefix="policy.", what=what)

    def training_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the policy's weights, the optimiser's state and the counters."""
        optimizer, plain = optimizer_tensors(self.model.policy.optimizer, prefix=OPTIMIZER)
        tensors = {**self.tensors(), **optimizer}
        counters = {"num_timesteps": self.model.num_timesteps, "n_updates": self.model._n_updates}
        return tensors, {"optimizer": plain, **counters}

    def load_training_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any], *, what: str) -> None:
        """Restore the policy, the optimiser and the counters.

        Raises:
            UserError: if they were saved with other spaces, another algorithm or another width.
        """
        self.load_tensors(tensors, what=what)
        restore_optimizer(self.model.policy.optimizer, tensors, plain["optimizer"], prefix=OPTIMIZER)
        self.model.num_timesteps, self.model._n_updates = int(plain["num_timesteps"]), int(plain["n_updates"])
