"""Accuracy, compute and time: one row per method and operating point."""
