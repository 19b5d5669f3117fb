"""``adafocus bench counterfactuals``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from adafocus_rl.agents import PPOAgent
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.experiments.bench.synthetic import paper_bank
from adafocus_rl.experiments.bench.timing import Timing, compare
from adafocus_rl.models.classifiers import create_classifier
from adafocus_rl.seeding import seed_all

PAPER_VIDEOS = 16
"""Number of videos at the paper's sizes."""


def bench_counterfactuals(device: torch.device) -> Iterator[Timing]:
    """Compute the outcomes of all 49 actions in whole episodes, at the paper's sizes with random features.

    Against the same by f_C's ordinary step for every action, and against π's forward pass and its update, with the
    backward pass.
    """
    seed_all("bench counterfactuals")
    classifier = create_classifier("gru", input_dim=1280 + 2048, num_classes=200, hidden=1024, dropout=0.0)
    classifier = classifier.to(device).eval().requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        bank = paper_bank(Path(folder), videos=PAPER_VIDEOS, device=device)
        env = PatchSelectionVectorEnv(
            bank, classifier, num_envs=PAPER_VIDEOS, shuffle=False, autoreset_mode=AutoresetMode.DISABLED
        )
        agent = PPOAgent(env)
        episodes = bank.episodes(bank.videos)
        rollout = env.rollout(agent, episodes=episodes, with_reward=False)
        # Any states do for the plain side.
        history = rollout.states

        @torch.no_grad()
        def every_step() -> Tensor:
            # As ``counterfactuals``, one frame at a time: the inputs of all frames take 2.6 GB.
            probabilities = []
            for frame in range(bank.num_steps):
                when = torch.full((len(episodes), 1), frame, device=device)
                every = torch.arange(bank.grid.num_actions, device=device).expand(len(episodes), 1, -1)
                local = episodes.local_at(when, every)[:, 0]
                vector = episodes.global_vector[:, frame, None].expand(-1, local.shape[1], -1)
                state = history[:, frame, None].expand(-1, local.shape[1], -1).flatten(0, 1)
                logits = classifier.logits(classifier.cell(torch.cat((vector, local), dim=-1).flatten(0, 1), state))
                probabilities.append(logits.softmax(-1))
            return torch.cat(probabilities)

        def all_outcomes() -> object:
            return env.counterfactuals(rollout)

        @torch.no_grad()
        def policy() -> object:
            return agent.network.sequence(rollout.observation)

        def update() -> None:
            agent.network.train()  # cuDNN's GRU has no gradient otherwise
            outputs, states = agent.network.sequence(rollout.observation)
            (outputs.mean() + states.mean()).backward()

        yield compare(
            "counterfactuals", ("projected f_C", all_outcomes), ("a step for each action", every_step), device
        )
        yield compare("counterfactuals", ("all actions' outcomes", all_outcomes), ("π's forward pass", policy), device)
        yield compare("counterfactuals", ("all actions' outcomes", all_outcomes), ("π's update", update), device)
