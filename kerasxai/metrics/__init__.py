"""How well heatmaps localize the object."""
