"""Gymnasium's ids of this project's environments.

``import adafocus_rl`` registers them, so ``gymnasium.make("adafocus_rl:AdaFocus/…")`` finds them. What makes them is
named, not imported: it stands on higher floors, and takes seconds to load.
"""

from __future__ import annotations

import gymnasium as gym

ENTRY_POINTS = {
    "AdaFocus/PatchSelection-v0": (
        "adafocus_rl.experiments.gym_entry:make_patch_selection",
        "adafocus_rl.experiments.gym_entry:make_patch_selection_vec",
    ),
    "AdaFocus/FrameSkipping-v0": (
        "adafocus_rl.experiments.gym_entry:make_frame_skipping",
        "adafocus_rl.experiments.gym_entry:make_frame_skipping_vec",
    ),
    "AdaFocus/FindThePatch-v0": (
        "adafocus_rl.envs.find_the_patch:FindThePatchEnv",
        "adafocus_rl.envs.find_the_patch:FindThePatchVectorEnv",
    ),
}
"""What makes the single environment, and the vector environment, of each id.

One that is opened from a run folder is made in ``adafocus_rl.experiments.gym_entry``.
"""


def register_environments() -> None:
    """Makes the ids known to Gymnasium; a second time changes nothing."""
    for name, (single, vector) in ENTRY_POINTS.items():
        if name not in gym.registry:
            gym.register(name, entry_point=single, vector_entry_point=vector)
