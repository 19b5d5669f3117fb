"""Many videos at once, as tensors on the device of the features: step by step, and as whole episodes."""

import sys

import gymnasium
import torch

from adafocus_rl.agents import RandomAgent

RUN = sys.argv[1] if sys.argv[1:] else "demo:"

env = gymnasium.make_vec("adafocus_rl:AdaFocus/PatchSelection-v0", num_envs=32, run=RUN)
observation, info = env.reset(seed=0)
print(observation.shape, observation.device)  # (B, C, h, w)

# Step by step. A new episode begins in the step that ends the one before (Gymnasium's SAME_STEP).
for _ in range(env.source.num_steps):
    action = torch.randint(env.single_action_space.n, (env.num_envs,), device=observation.device)
    observation, reward, terminated, truncated, info = env.step(action)
print("returns", info["episode"]["r"][:4])

# Whole episodes: the same numbers without a loop over frames, because the frames do not depend on the actions.
rollout = env.rollout(RandomAgent(env, seed=0))
print("rewards", rollout.reward.shape, "predictions", rollout.logits[:, -1].argmax(-1)[:4])
