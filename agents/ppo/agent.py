"""PPO over whole episodes: sample with one sequence call, update with one sequence call.

Defaults are those of GFNet, which AdaFocus takes over (appendix B.1, "the same training hyper-parameters as [8]"):
with one epoch over one full batch the probability ratio is 1 throughout. More epochs, minibatches over videos, GAE,
gradient clipping and an entropy schedule are there and off.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, get_args

import torch
from torch import Tensor

from adafocus_rl import checkpoint
from adafocus_rl.agents.base import AGENTS, RecurrentAgent, features_of
from adafocus_rl.agents.learner import Tick, no_tick
from adafocus_rl.agents.ppo.encoder import MOST_UNITS, blank, take_rows
from adafocus_rl.agents.ppo.losses import PPOTerms, discounted_returns, explained_variance, gae, normalise, ppo_loss
from adafocus_rl.agents.ppo.networks import Cell, RecurrentActorCritic
from adafocus_rl.envs import Info, PatchSelectionVectorEnv, PolicyOutput, Rollout
from adafocus_rl.envs.spaces import Observation
from adafocus_rl.errors import UserError
from adafocus_rl.flops import macs
from adafocus_rl.optimizer_state import optimizer_tensors, restore_optimizer
from adafocus_rl.plain import check_finite
from adafocus_rl.seeding import derive_seed


@AGENTS.register("PPOAgent")
class PPOAgent(RecurrentAgent):
    """Recurrent PPO for π.

    Args:
        env: as in :class:`~adafocus_rl.agents.Agent`.
        seed: of the initial weights, the sampled actions and the minibatches.
        learning_rate: Adam's, above 0.
        beta1: Adam's first moment decay.
        beta2: Adam's second moment decay.
        gamma: discount γ in [0, 1].
        n_epochs: passes over each batch of episodes, at least 1.
        n_minibatches: parts, by video, that each such pass is split into; one update each, at least 1.
        clip_range: ε of the clipped ratio, above 0.
        vf_coef: weight of the value loss.
        ent_coef: weight of the entropy bonus in the first pass over the videos.
        ent_coef_final: its weight in the last pass over the videos, reached linearly; None keeps ``ent_coef``.
        gae_lambda: λ of generalised advantages; None uses normalised returns minus values.
        max_grad_norm: clips the gradient's norm; 0 disables.
        reduced_channels: outputs of π's 1×1 convolution.
        hidden: width of π's linear layer and of its memory.
        cell: π's memory: ``gru`` (the paper's), ``lstm``, or ``none``.
        action_std: standard deviation of continuous actions, above 0 (0.25 in AdaFocus-TSM's public scripts, 0.1 in
            GFNet's); where it starts from if it is learnt.
        learn_std: learn it.
        batch_norm: normalise π's convolution and linear layer over the batch, as AdaFocus-TSM does: over the B·T frames
            that it learns from while it learns, by running statistics when it is measured.

    Raises:
        UserError: an option outside its range.
    """

    label = "ppo"
    learns = True

    def __init__(
        self,
        env: PatchSelectionVectorEnv,
        *,
        seed: int = 0,
        learning_rate: float = 3e-4,
        beta1: float = 0.9,
        beta2: float = 0.999,
        gamma: float = 0.7,
        n_epochs: int = 1,
        n_minibatches: int = 1,
        clip_range: float = 0.2,
        vf_coef: float = 0.5,
        ent_coef: float = 0.01,
        ent_coef_final: float | None = None,
        gae_lambda: float | None = None,
        max_grad_norm: float = 0.0,
        reduced_channels: int = 32,
        hidden: int = 1024,
        cell: Cell = "gru",
        action_std: float = 0.25,
        learn_std: bool = False,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(env, seed=seed)
        self._options: dict[str, Any] = {
            "learning_rate": learning_rate, "beta1": beta1, "beta2": beta2, "gamma": gamma, "n_epochs": n_epochs,
            "n_minibatches": n_minibatches, "clip_range": clip_range, "vf_coef": vf_coef, "ent_coef": ent_coef,
            "ent_coef_final": ent_coef_final, "gae_lambda": gae_lambda, "max_grad_norm": max_grad_norm,
            "reduced_channels": reduced_channels, "hidden": hidden, "cell": cell, "action_std": action_std,
            "learn_std": learn_std, "batch_norm": batch_norm,
        }  # fmt: skip
        check_finite(self._options, "agent")
        for name, valid, wanted in (
            ("learning_rate", learning_rate > 0, "a number above 0"),
            ("beta1", 0 <= beta1 < 1, "a number in [0, 1)"),
            ("beta2", 0 <= beta2 < 1, "a number in [0, 1)"),
            ("gamma", 0 <= gamma <= 1, "a number in [0, 1]"),
            ("n_epochs", n_epochs >= 1, "at least 1"),
            ("n_minibatches", n_minibatches >= 1, "at least 1"),
            ("clip_range", clip_range > 0, "a number above 0"),
            ("gae_lambda", gae_lambda is None or 0 <= gae_lambda <= 1, "a number in [0, 1], or null"),
            ("max_grad_norm", max_grad_norm >= 0, "0 (off) or a number above it"),
            ("reduced_channels", 1 <= reduced_channels <= MOST_UNITS, f"at least 1 and at most {MOST_UNITS}"),
            ("hidden", 1 <= hidden <= MOST_UNITS, f"at least 1 and at most {MOST_UNITS}"),
            ("cell", cell in get_args(Cell), "gru, lstm or none"),
            ("action_std", action_std > 0, "a number above 0"),
        ):
            if not valid:
                raise UserError(f"agent.{name} is {self._options[name]}; give {wanted}")
        self.gamma = gamma
        self.n_epochs = n_epochs
        self.n_minibatches = n_minibatches
        self.clip_range = clip_range
        self.vf_coef = vf_coef
        self.ent_coef = ent_coef
        self.ent_coef_final = ent_coef if ent_coef_final is None else ent_coef_final
        self.gae_lambda = gae_lambda
        self.max_grad_norm = max_grad_norm
        with torch.random.fork_rng(devices=[]):
            # Layers draw their weights from this generator, on CPU whatever the device; it is put back afterwards.
            torch.default_generator.manual_seed(derive_seed(seed, "ppo weights"))
            network = RecurrentActorCritic(
                observation_space=env.single_observation_space,
                action_space=env.single_action_space,
                cell=cell,
                reduced_channels=reduced_channels,
                hidden=hidden,
                action_std=action_std,
                learn_std=learn_std,
                batch_norm=batch_norm,
            )
        self.network = network.to(self.device).eval()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=learning_rate, betas=(beta1, beta2))
        self.generator = torch.Generator(self.device).manual_seed(derive_seed(seed, "ppo actions"))

    def options(self) -> dict[str, Any]:
        """All of them."""
        return {**super().options(), **self._options}

    def macs_per_step(self) -> int:
        """Counted on one step of the network, critic included (one dot product)."""
        network = copy.deepcopy(self.network).cpu()
        observation = blank(self.observation_space, 1)
        return macs(lambda state: network.step(observation, state), network.initial_state(1))

    # ---- acting -------------------------------------------------------------------------------------------------

    def _choose(self, outputs: Tensor, value: Tensor, deterministic: bool) -> PolicyOutput:
        """Choices for the actor's outputs, and what learning needs to know of them."""
        distribution = self.network.distribution(outputs)
        sample = distribution.mode() if deterministic else distribution.sample(self.generator)
        return PolicyOutput(
            action=distribution.action(sample),
            log_prob=distribution.log_prob(sample),
            value=value,
            sample=sample,
            # Evaluation is what is looked at; training does without.
            probabilities=distribution.probabilities() if deterministic else None,
        )

    @torch.no_grad()
    def act(self, observation: Observation, info: Info, *, deterministic: bool = False) -> PolicyOutput:
        """One sequence call; ``info`` is privileged and not looked at."""
        return self._choose(*self.network.sequence(observation), deterministic)

    @torch.no_grad()
    def act_step(
        self, observation: Observation, state: Tensor | None, info: Info, *, deterministic: bool = False
    ) -> tuple[PolicyOutput, Tensor]:
        """One step of whole episodes; the state is as in :meth:`predict`."""
        if state is None:
            state = self.network.initial_state(len(features_of(observation)))
        outputs, value, state = self.network.step(observation, state)
        return self._choose(outputs, value, deterministic), state

    # ---- learning -----------------------------------------------------------------------------------------------

    def train_epoch(
        self, env: PatchSelectionVectorEnv, epoch: int, *, epochs: int, tick: Tick = no_tick
    ) -> Mapping[str, float]:
        """Makes one pass over the videos, in batches of the environment's size: one PPO update for each.

        Raises:
            UserError: when not one of the videos can be decoded any more.
        """
        self.generator.manual_seed(derive_seed(self.seed, "ppo actions", epoch))
        progress = epoch / max(1, epochs - 1)
        ent_coef = self.ent_coef + progress * (self.ent_coef_final - self.ent_coef)
        history: list[dict[str, Tensor]] = []
        videos: list[int] = []
        # Actions are drawn in the mode that they are learnt from in, so that the first ratio is 1.
        self.network.train()
        for rollout in env.rollouts(self, epoch=epoch):
            history.append(self.update(rollout, ent_coef=ent_coef))
            videos.append(len(rollout.reward))
            tick(0, loss=history[-1]["train/loss"], videos=rollout.info["video"])
        self.network.eval()
        if not history:
            raise UserError("none of the training videos can be decoded; there is nothing to learn from")
        # A pass's last batch may be small: each video counts as much as any other.
        share = torch.tensor(videos, device=self.device) / sum(videos)
        scalars = {name: float((torch.stack([part[name] for part in history]) * share).sum()) for name in history[0]}
        return {**scalars, "train/ent_coef": ent_coef}

    def update(self, rollout: Rollout, *, ent_coef: float) -> dict[str, Tensor]:
        """One PPO update on B whole episodes; returns scalars named as in Stable-Baselines3."""
        output = rollout.output
        assert output.log_prob is not None
        assert output.value is not None
        sample = output.action if output.sample is None else output.sample
        advantage, target = self._advantage(rollout.reward, output.value)
        parts: list[PPOTerms] = []
        for _ in range(self.n_epochs):
            for rows in self._minibatches(len(rollout.reward)):
                outputs, value = self.network.sequence(take_rows(rollout.observation, rows))
                distribution = self.network.distribution(outputs)
                terms = ppo_loss(
                    log_prob=distribution.log_prob(sample[rows]),
                    old_log_prob=output.log_prob[rows],
                    advantage=advantage[rows],
                    value=value,
                    value_target=target[rows],
                    entropy=distribution.entropy(),
                    clip_range=self.clip_range,
                    vf_coef=self.vf_coef,
                    ent_coef=ent_coef,
                )
                self.optimizer.zero_grad(set_to_none=True)
                terms.loss.backward()
                if self.max_grad_norm:
                    torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.max_grad_norm)
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
        """Advantages and value targets, (B, T) each."""
        if self.gae_lambda is None:
            target = normalise(discounted_returns(reward, self.gamma))
            return target - value, target
        advantage = gae(reward, value, self.gamma, self.gae_lambda)
        return normalise(advantage), advantage + value

    def _minibatches(self, count: int) -> Iterator[slice | Tensor]:
        """Rows of each part; a single part is the whole batch in its order, and no copy of it."""
        if self.n_minibatches == 1:
            yield slice(None)
        else:
            order = torch.randperm(count, generator=self.generator, device=self.device)
            yield from order.tensor_split(min(self.n_minibatches, count))

    # ---- saving -------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """The network's, as ``policy.…``."""
        return {f"policy.{name}": value for name, value in self.network.state_dict().items()}

    def load_tensors(self, tensors: Mapping[str, Tensor], *, what: str) -> None:
        """Restores the network.

        Raises:
            UserError: when it was saved with another map, grid or width.
        """
        checkpoint.load_into(self.network, tensors, prefix="policy.", what=what)

    def training_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The network and Adam's moments; a pass's random numbers follow from its number."""
        optimizer, plain = optimizer_tensors(self.optimizer)
        return {**self.tensors(), **{f"optimizer.{name}": value for name, value in optimizer.items()}}, plain

    def load_training_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any], *, what: str) -> None:
        """Restores the network and the optimiser.

        Raises:
            UserError: when they were saved with another map, grid, width or optimiser.
        """
        self.load_tensors(tensors, what=what)
        own = {
            name.removeprefix("optimizer."): value for name, value in tensors.items() if name.startswith("optimizer.")
        }
        restore_optimizer(self.optimizer, own, plain)
