"""A reward of your own: the gain in log-probability, which punishes confident mistakes more than the default does."""

import sys

import gymnasium

from adafocus_rl.agents import RandomAgent
from adafocus_rl.envs import REWARDS

RUN = sys.argv[1] if sys.argv[1:] else "demo:"


@REWARDS.register("log_gain")
def log_gain(context):
    """Return log p(after the step) − log p(before it), (N,)."""
    return context.chosen.clamp_min(1e-6).log() - context.previous.clamp_min(1e-6).log()


env = gymnasium.make_vec("adafocus_rl:AdaFocus/PatchSelection-v0", num_envs=8, run=RUN, reward="log_gain")
rollout = env.rollout(RandomAgent(env))
print(rollout.reward[0])

# The sum over an episode telescopes: it is log p in the end, minus log p of that class before the first frame.
last = rollout.logits[:, -1].float().log_softmax(-1).gather(-1, rollout.info["label"][:, None])[:, 0]
before = last - rollout.reward.sum(1)
for label in rollout.info["label"].unique().tolist():
    print("class", label, "before the first frame:", before[rollout.info["label"] == label].exp())
