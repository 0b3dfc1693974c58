"""Warnings about names of earlier versions."""

import warnings


def warn_deprecated(name: str, instead: str) -> None:
    """Warn that a function or a module of an earlier version is deprecated; call it in that function or module.

    Args:
        name: The old name.
        instead: The name to use now.
    """
    # The line to blame is that of the caller's caller; Python leaves its import machinery out of the count.
    warnings.warn(f"{name} is deprecated; use {instead}", DeprecationWarning, stacklevel=3)
