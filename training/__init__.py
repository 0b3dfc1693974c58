"""Training and evaluation scripts, and what they share."""
