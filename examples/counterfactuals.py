"""What would every other patch have been worth? The outcomes of all actions, from the same history."""

import sys

import gymnasium

from adafocus_rl.agents import RandomAgent

RUN = sys.argv[1] if sys.argv[1:] else "demo:"

env = gymnasium.make_vec("adafocus_rl:AdaFocus/PatchSelection-v0", num_envs=16, run=RUN, split="val")
rollout = env.rollout(RandomAgent(env, seed=0))
outcomes = env.counterfactuals(rollout)
print(outcomes.reward.shape)  # (B, T, A)

best, worst = outcomes.probability.amax(-1).mean(), outcomes.probability.amin(-1).mean()
print(f"p(true class): {best:.3f} with the best patch of each frame, {worst:.3f} with the worst")
taken = outcomes.reward.gather(-1, rollout.output.action[..., None])[..., 0]
print("regret of the random agent", float((outcomes.reward.amax(-1) - taken).mean()))
