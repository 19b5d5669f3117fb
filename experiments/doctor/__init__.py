"""Checks of an installation: versions, devices, decoders, threads, folders, and what is missing."""
