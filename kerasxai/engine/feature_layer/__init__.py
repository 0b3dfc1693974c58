"""Choice of the feature map that is explained, read off the traced graph."""
