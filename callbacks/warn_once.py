"""Helpers that keep callbacks from breaking training and from disturbing one another."""

import contextlib
import inspect
import itertools
import warnings
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras

from kerasxai.tools.errors import KerasxaiError

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
    def block(self, what: str, consequence: str = "training goes on") -> Iterator[None]:
        """Run a block, and warn the first time if it fails.

        Args:
            what: The work of the block, as the end of "could not ...".
            consequence: The effect of the failure.
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
    """Return whether an epoch is due: every n-th and the last planned one."""
    return done % every == 0 or done == epochs


def companions(callback: keras.callbacks.Callback) -> list[Any]:
    """Return all callbacks of the running training, in their order; `callback` alone if unknown.

    Keras gives a callback no access to the others; the list that calls it is found on the stack.
    """
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, keras.callbacks.CallbackList) and any(one is callback for one in caller.callbacks):
            return list(caller.callbacks)
        frame = frame.f_back
    return [callback]


def check_figures(callback: Any, names: Iterable[str], others: list[Any]) -> None:
    """Refuse callbacks that would write figures of the same name into the logs.

    Args:
        callback: The callback that is checked.
        names: The names of its figures.
        others: All callbacks of the training, see `companions`.

    Raises:
        KerasxaiError: Another one writes a figure of these names, or the callback stands in the list twice.
    """
    check_once(callback, others)
    for other in others:
        shared = set(names) & set(getattr(other, "names", ())) if hasattr(other, "prefix") else set()
        if other is not callback and shared:
            raise KerasxaiError(
                f"two callbacks write {sorted(shared)[0]!r} into the logs ({type(other).__name__} and "
                f"{type(callback).__name__}), so that the second would overwrite the first; give one another prefix="
            )


def free_prefix(callback: Any, figures: Iterable[str], others: list[Any]) -> str:
    """Returns the prefix under which a callback's figures overwrite none of an earlier one, and warns if it is another.

    Args:
        callback: The callback, with a `prefix` and a `method`.
        figures: The names of its figures without the prefix.
        others: All callbacks of the training, see `companions`.
    """
    check_once(callback, others)
    earlier = others[: next(place for place, other in enumerate(others) if other is callback)]
    taken = {name for other in earlier if hasattr(other, "prefix") for name in getattr(other, "names", ())}
    tried = itertools.chain(
        [callback.prefix, f"{callback.prefix}{callback.method}_"],
        (f"{callback.prefix}{callback.method}_{number}_" for number in itertools.count(2)),
    )
    free = next(prefix for prefix in tried if taken.isdisjoint(prefix + figure for figure in figures))
    if free != callback.prefix:
        kind = type(callback).__name__
        warnings.warn(
            f"two callbacks write the same figures into the logs, so those of the second {kind} "
            f"({callback.method}) are called {free}...; set prefix= to choose a name",
            stacklevel=3,
        )
    return free


def check_once(callback: Any, others: list[Any]) -> None:
    """Refuse a callback that is in the list of callbacks twice."""
    if sum(other is callback for other in others) > 1:
        raise KerasxaiError(f"expected each callback once, got the same {type(callback).__name__} twice")


def same_folder(first: Path | None, second: Path | None) -> bool:
    """Return whether two paths, perhaps None, are the same folder."""
    return first is not None and second is not None and first.resolve() == second.resolve()


class Results(dict[int, dict[str, float]]):
    """Figures by the number of completed epochs, of one training and those that it continues."""

    _model: Any = None

    def begin(self, model: Any, epoch: int) -> None:
        """Remove figures that do not belong to a training of `model` that continues after `epoch` epochs."""
        same = self._model is not None and self._model() is model
        for done in [done for done in self if not same or done > epoch or epoch == 0]:
            del self[done]
        self._model = weakref.ref(model)
