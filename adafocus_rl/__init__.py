"""AdaFocus as a decision problem: importing this package registers its Gymnasium environments.

The subpackages ``envs``, ``agents`` and ``experiments`` lie beside this folder in a checkout and inside it in an
installation. Links in this folder make both look the same to Python, editors and type checkers.
"""

from pathlib import Path

import gymnasium

__version__ = "0.1.0"

_FOLDER = Path(__file__).resolve().parent
if not (_FOLDER / "envs").is_dir() and (_FOLDER.parent / "envs" / "spaces.py").is_file():
    # A checkout on a file system without symbolic links, where git writes links as text files.
    __path__.append(str(_FOLDER.parent))

ENVIRONMENTS = {
    "AdaFocus/PatchSelection-v0": (
        "adafocus_rl.experiments.gym_entry:make_patch_selection",
        "adafocus_rl.experiments.gym_entry:make_patch_selection_vec",
    ),
    "AdaFocus/FrameSkipping-v0": (
        "adafocus_rl.experiments.gym_entry:make_frame_skipping",
        "adafocus_rl.experiments.gym_entry:make_frame_skipping_vec",
    ),
    "AdaFocus/FrameSelection-v0": (
        "adafocus_rl.experiments.gym_entry:make_frame_selection",
        "adafocus_rl.experiments.gym_entry:make_frame_selection_vec",
    ),
    "AdaFocus/LastCrop-v0": (
        "adafocus_rl.experiments.gym_entry:make_last_crop",
        "adafocus_rl.experiments.gym_entry:make_last_crop_vec",
    ),
    "AdaFocus/FindThePatch-v0": (
        "adafocus_rl.envs.find_the_patch:FindThePatchEnv",
        "adafocus_rl.envs.find_the_patch:FindThePatchVectorEnv",
    ),
}
"""Entry points by environment id: the single environment, and the vector environment.

``import adafocus_rl`` registers them, so ``gymnasium.make("adafocus_rl:AdaFocus/…")`` finds them. They are given as
strings because importing them takes seconds.
"""

for _id, (_single, _vector) in ENVIRONMENTS.items():
    if _id not in gymnasium.registry:
        gymnasium.register(_id, entry_point=_single, vector_entry_point=_vector)
