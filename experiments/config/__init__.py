"""What a run is made of: dataclasses, recipes and overlays, and the keys of the command line."""
