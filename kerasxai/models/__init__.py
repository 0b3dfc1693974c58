"""The tables and builders of backbones and heads."""
