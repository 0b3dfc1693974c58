"""What a model takes for an image: size, channels, value range, dtype and frames."""
