"""The interactive report on training runs and evaluations: one HTML file."""
