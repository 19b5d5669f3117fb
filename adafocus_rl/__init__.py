"""AdaFocus as a decision problem: perception, from video files to features, metrics and checkpoints."""

from adafocus_rl.registration import register_environments

register_environments()

__version__ = "0.1.0"
