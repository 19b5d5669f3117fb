"""``adafocus compare``: several agents, or variants of one, on the same frozen recognizer, with many seeds."""
