"""Does an agent learn at all? A debug environment without a run, whose best return is known."""

import gymnasium

from adafocus_rl.agents import PPOAgent, PPOOptions

env = gymnasium.make_vec("adafocus_rl:AdaFocus/FindThePatch-v0", num_envs=32, grid=2, num_frames=3, memory=True)
agent = PPOAgent(env, PPOOptions(hidden=32, cell="gru", learning_rate=0.01), seed=0)
print(f"the best return is {env.best_return}")
agent.learn(env, epochs=8, callback=lambda epoch, scalars: print(epoch, round(scalars["rollout/ep_rew_mean"], 2)))
# With cell="none" it cannot reach the best return, because the cell is lit in the first frame only.
