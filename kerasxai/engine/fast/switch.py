"""The switch of all optimizations; see `kerasxai.engine.fast`."""

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar

VARIABLE = "KERASXAI_FAST"
"""The environment variable that switches all optimizations off, with the value `0`."""

# A context variable, so that a thread that compares maps does not slow others down.
_enabled: ContextVar[bool] = ContextVar("enabled", default=os.environ.get(VARIABLE, "1") != "0")


def enabled() -> bool:
    """Returns whether optimizations are on in this context."""
    return _enabled.get()


@contextlib.contextmanager
def disabled() -> Iterator[None]:
    """Switches all optimizations off in a block, for the current thread.

    Example:
        >>> with kerasxai.engine.fast.disabled():
        ...     explanation = kerasxai.Explainer(model, "occlusion")(images)
    """
    token = _enabled.set(False)
    try:
        yield
    finally:
        _enabled.reset(token)
