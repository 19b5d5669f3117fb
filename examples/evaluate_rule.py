"""How much do rules gain without learning anything? The mean return of some on validation videos."""

import sys

import gymnasium

from adafocus_rl.agents import CenterAgent, HeuristicAgent, MotionAgent, RandomAgent
from adafocus_rl.envs import RewardConfig

RUN = sys.argv[1] if sys.argv[1:] else "demo:"

# 0 baseline positions: the reward is p(true class) minus its mean over the patches of all positions.
env = gymnasium.make_vec(
    "adafocus_rl:AdaFocus/PatchSelection-v0",
    num_envs=64,
    run=RUN,
    split="val",
    shuffle=False,
    reward=RewardConfig(kind="random", baseline_positions=0),
)
for agent in (RandomAgent(env), CenterAgent(env), HeuristicAgent(env), MotionAgent(env)):
    returns = [value for rollout in env.rollouts(agent, epoch=0) for value in rollout.reward.sum(1).tolist()]
    print(f"{agent.label:10} {sum(returns) / len(returns):+.3f} over {len(returns)} videos")
