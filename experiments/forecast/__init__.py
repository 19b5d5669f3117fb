"""How long a training will take, and how much disk and memory it needs, measured on a few batches."""
