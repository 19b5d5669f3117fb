"""AdaFocus as a decision problem: perception, from video files to features, metrics and checkpoints."""

__version__ = "0.1.0"
