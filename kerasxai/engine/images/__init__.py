"""The images that a model takes: size, channels, value range, dtype and frames."""
