"""Runs on disk: folders, checkpoints, training steps and resuming."""
