"""Train the paper's policy with PPO on the stored features of a run, evaluate it, save it and load it again."""

import sys
from pathlib import Path

import gymnasium

from adafocus_rl.agents import PPOAgent, PPOOptions

RUN = sys.argv[1] if sys.argv[1:] else "demo:"
EPOCHS = 2
ID = "adafocus_rl:AdaFocus/PatchSelection-v0"

env = gymnasium.make_vec(ID, num_envs=64, run=RUN)
agent = PPOAgent(env, PPOOptions(hidden=64, cell="gru"), seed=0)
agent.learn(env, epochs=EPOCHS, callback=lambda epoch, scalars: print(epoch, scalars["rollout/ep_rew_mean"]))

held_out = gymnasium.make_vec(ID, num_envs=64, run=RUN, split="val", shuffle=False)
right = seen = 0
for episodes in held_out.source.batches(64):
    rollout = held_out.rollout(agent.bind(held_out), episodes=episodes, deterministic=True)
    right += int((rollout.logits[:, -1].argmax(-1) == rollout.info["label"]).sum())
    seen += len(episodes)
print(f"top-1 {100 * right / seen:.1f} % of {seen} validation videos")

agent.save("policy.safetensors")
again = PPOAgent.load("policy.safetensors", env)
print("saved", Path("policy.safetensors").stat().st_size, "bytes;", again.options.hidden, "units")
