"""The feature map that is explained by default, read off the traced graph."""
