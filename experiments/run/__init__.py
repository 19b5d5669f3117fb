"""A run on disk: its folder, its checkpoints, and what may be resumed."""
