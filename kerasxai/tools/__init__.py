"""Errors, files, options and terminal output. Nothing here imports TensorFlow."""
