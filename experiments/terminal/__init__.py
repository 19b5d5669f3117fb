"""Terminal output: messages, progress bars and tables."""
