"""``adafocus tune``: a search for options of an agent on the frozen recognizer and bank of a run."""
