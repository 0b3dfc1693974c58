"""The traced model: layers, forward passes, scores and map layouts, on which every method is built."""
