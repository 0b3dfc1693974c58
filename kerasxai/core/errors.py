"""Deprecated: `KerasxaiError` is in `kerasxai`, all errors and warnings in `kerasxai.tools.errors`."""

import warnings

from kerasxai.tools.errors import KerasxaiError, KerasxaiWarning

__all__ = ["KerasxaiError", "KerasxaiWarning"]

warnings.warn(
    "kerasxai.core.errors is deprecated; use kerasxai.KerasxaiError and kerasxai.tools.errors",
    DeprecationWarning,
    stacklevel=2,
)
