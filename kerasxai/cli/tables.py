"""Printing tables on the terminal; see `kerasxai.core.tables`."""

from kerasxai.core.tables import print_table

__all__ = ["print_table"]
