"""What goes to a person's terminal: sentences, progress, tables."""
