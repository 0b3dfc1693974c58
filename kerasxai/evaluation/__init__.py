"""Evaluation of a classifier: accuracy, and how well its heatmaps localize the object."""
