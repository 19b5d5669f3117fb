"""A run as a model folder: a card, the configuration, the weights and the page of its results."""
