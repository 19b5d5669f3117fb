"""Online recognition of streams."""
