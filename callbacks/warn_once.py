"""Errors of a callback as warnings, so that training continues."""

import contextlib
import warnings
from collections.abc import Iterator

_LONGEST = 300


class WarnOnce:
    """Turn errors into warnings, one for each kind of work that fails, so that training continues.

    Args:
        who: The callback's name, for the messages.

    Example:
        >>> guard = WarnOnce("ExplanationCallback")
        >>> with guard.block("write pictures"):
        ...     raise OSError("disk full")  # warns
        >>> with guard.block("write pictures"):
        ...     raise OSError("disk full")  # does not warn again
    """

    def __init__(self, who: str) -> None:
        self.who = who
        self.warned: set[str] = set()

    @contextlib.contextmanager
    def block(self, what: str, consequence: str = "training continues") -> Iterator[None]:
        """Run a block, and warn the first time if it fails.

        Args:
            what: The work of the block, as the end of "could not ...".
            consequence: The effect of the failure.
        """
        try:
            yield
        # Whatever fails here, hours of training must not be lost for a picture.
        except Exception as error:
            if what not in self.warned:
                self.warned.add(what)
                reason = " ".join(str(error).split()) or "no reason given"
                if len(reason) > _LONGEST:
                    reason = reason[:_LONGEST] + " ..."
                message = f"{self.who} could not {what}: {type(error).__name__}: {reason}; {consequence}"
                # The frames between are this generator, contextlib and the callback.
                warnings.warn(message, stacklevel=4)
