"""Speed beside the plain way to the same numbers."""
