"""One video at a time, as any tool for Gymnasium environments sees it."""

import sys

import gymnasium

RUN = sys.argv[1] if sys.argv[1:] else "demo:"

env = gymnasium.make("adafocus_rl:AdaFocus/PatchSelection-v0", run=RUN, split="val", render_mode="rgb_array")
print(env.observation_space, env.action_space)

observation, info = env.reset(seed=0)
terminated, total = False, 0.0
while not terminated:
    action = env.action_space.sample()  # a position on the grid of patches
    observation, reward, terminated, truncated, info = env.step(action)
    total += reward
print("return", round(total, 3), "of video", info["video"], "with the true class", info["label"])
print("the last frame as a picture:", env.render().shape)
