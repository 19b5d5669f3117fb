"""``adafocus bench rollout``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from adafocus_rl.experiments.bench.timing import Timing, compare
from adafocus_rl.experiments.bench.tiny_run import env_and_agent, tiny_run
from adafocus_rl.experiments.run.features import open_bank


def bench_rollout(device: torch.device) -> Timing:
    """Run whole episodes by ``rollout``, against the same by ``step``; features in a bank, the published reward."""
    with tempfile.TemporaryDirectory() as folder:
        run, recognizer = tiny_run(Path(folder), device)
        env, agent = env_and_agent(run, recognizer, open_bank(run, recognizer, "val"))
        videos = env.source.videos

        def stepped() -> None:
            observation, info = env.reset(options={"videos": videos})
            agent.begin(info)
            state = None
            for _ in range(env.source.num_steps):
                action, state = agent.predict(observation, state)
                observation, *_ = env.step(action)

        def whole() -> None:
            env.rollout(agent, episodes=env.source.episodes(videos))

        return compare("rollout", ("rollout", whole), ("step by step", stepped), device)
