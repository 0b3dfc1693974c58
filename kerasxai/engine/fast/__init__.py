"""Optimizations that change the time of an explanation and not its maps."""
