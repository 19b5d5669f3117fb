"""Configuration of a run: dataclasses, recipes and overlays, and the keys of the command line."""
