"""What both callbacks need to be good guests of a training."""

import contextlib
import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import keras

_LONGEST = 300


class Care:
    """Turns errors into warnings, one for each thing that cannot be done, so that training goes on.

    Args:
        who: The callback's name, for the messages.

    Example:
        >>> care = Care("ExplanationCallback")
        >>> with care.about("write pictures"):
        ...     raise OSError("disk full")  # warns
        >>> with care.about("write pictures"):
        ...     raise OSError("disk full")  # does not warn again
    """

    def __init__(self, who: str) -> None:
        self.who = who
        self.warned: set[str] = set()

    @contextlib.contextmanager
    def about(self, what: str, consequence: str = "training goes on") -> Iterator[None]:
        """Runs a block and warns, the first time, if it fails.

        Args:
            what: What is being done, as the end of "could not ...".
            consequence: What happens now.
        """
        try:
            yield
        except Exception as error:
            if what not in self.warned:
                self.warned.add(what)
                reason = " ".join(str(error).split()) or "no reason given"
                if len(reason) > _LONGEST:
                    reason = reason[:_LONGEST] + " ..."
                message = f"{self.who} could not {what}: {type(error).__name__}: {reason}; {consequence}"
                warnings.warn(message, stacklevel=4)


def is_due(done: int, every: int, epochs: int | None) -> bool:
    """Tells whether something happens after so many epochs: after every n-th and after the last that is planned."""
    return done % every == 0 or done == epochs


def companions(callback: keras.callbacks.Callback) -> list[Any]:
    """Returns all callbacks of the training that is calling `callback`, in their order; itself alone if unknown.

    Keras tells a callback nothing of the others. The list that calls it is on the stack.
    """
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, keras.callbacks.CallbackList) and any(one is callback for one in caller.callbacks):
            return list(caller.callbacks)
        frame = frame.f_back
    return [callback]
