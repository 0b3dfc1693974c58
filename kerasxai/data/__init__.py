"""Data sets with labels, boxes and masks."""
