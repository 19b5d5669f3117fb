"""The readers of the product, a module for each kind of file; importing this package announces all of them."""

from fuzz.readers import commands, kept, lists, media, packages, planted, runs, settings, weights

__all__ = ["commands", "kept", "lists", "media", "packages", "planted", "runs", "settings", "weights"]
