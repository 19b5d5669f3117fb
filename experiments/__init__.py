"""Outer loops: the training stages 0-III, evaluation, and the command line ``adafocus``."""
