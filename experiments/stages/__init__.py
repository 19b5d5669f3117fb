"""The four stages of training as outer loops, one file each."""

from adafocus_rl.experiments.stages.stage0 import train_encoders
from adafocus_rl.experiments.stages.stage1 import train_on_random_patches
from adafocus_rl.experiments.stages.stage2 import train_policy
from adafocus_rl.experiments.stages.stage3 import finetune_classifier, train_full_frame_classifier

__all__ = [
    "finetune_classifier",
    "train_encoders",
    "train_full_frame_classifier",
    "train_on_random_patches",
    "train_policy",
]
