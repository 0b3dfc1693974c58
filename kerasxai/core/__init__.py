"""Deprecated import paths of version 0.1.0."""
