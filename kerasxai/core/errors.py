"""Deprecated: `KerasxaiError` is in `kerasxai`, all errors and warnings in `kerasxai.tools.errors`."""

from kerasxai.tools.deprecation import warn_deprecated
from kerasxai.tools.errors import KerasxaiError, KerasxaiWarning

__all__ = ["KerasxaiError", "KerasxaiWarning"]

warn_deprecated("kerasxai.core.errors", "kerasxai.KerasxaiError and kerasxai.tools.errors")
