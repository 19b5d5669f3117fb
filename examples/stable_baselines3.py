"""Train an algorithm of Stable-Baselines3 on a view of the vector environment, and use it as an agent."""

import sys

import gymnasium
from stable_baselines3 import PPO

from adafocus_rl.envs.sb3_vec_env import SB3VecEnv

RUN = sys.argv[1] if sys.argv[1:] else "demo:"
STEPS = 256

env = gymnasium.make_vec("adafocus_rl:AdaFocus/PatchSelection-v0", num_envs=8, run=RUN, time_step=True)
model = PPO("MultiInputPolicy", SB3VecEnv(env), n_steps=16, batch_size=64, n_epochs=2, device="cpu", seed=0)
model.learn(STEPS)
model.save("sb3.zip")

observation = SB3VecEnv(env).reset()
action, _ = model.predict(observation, deterministic=True)
print("positions", action.tolist())
# Inside a run, the same algorithms are agents: adafocus train RECIPE --agent=SB3Agent --agent.algorithm=RecurrentPPO
