"""An agent of your own that does not look: it sweeps over the grid. docs/add_an_agent.md has one that learns."""

import sys
from dataclasses import dataclass

import gymnasium
import torch

from adafocus_rl.agents import PlannedAgent

RUN = sys.argv[1] if sys.argv[1:] else "demo:"


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    stride: int = 2
    """Number of positions to advance in each frame."""


class SweepAgent(PlannedAgent):
    label = "sweep"
    Options = SweepOptions

    def plan(self, info, num_frames):
        """Return the positions (B, T) for the videos (B,) of ``info``."""
        steps = torch.arange(num_frames, device=info["video"].device)
        return (steps * self.options.stride % self.num_actions).expand(len(info["video"]), -1)


env = gymnasium.make_vec("adafocus_rl:AdaFocus/PatchSelection-v0", num_envs=8, run=RUN, split="val")
agent = SweepAgent(env, SweepOptions(stride=3))
rollout = env.rollout(agent)
print("positions", rollout.output.action[0].tolist())
print("boxes (top, left, height, width)", env.chosen_boxes(rollout)[0].tolist())
# Declared as an entry point, it is an agent of every command: see docs/reference/plug_ins.md.
