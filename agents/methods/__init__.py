"""Whole systems that recognise a video."""
