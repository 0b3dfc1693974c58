"""The other callbacks of a training: whether their files and figures collide, and their order."""

import inspect
import itertools
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import keras

from kerasxai.tools.errors import KerasxaiError


class MeasuringCallback(Protocol):
    """A callback that writes figures into the logs under a prefix."""

    prefix: str
    method: str


def training_callbacks(callback: keras.callbacks.Callback) -> list[keras.callbacks.Callback]:
    """Return all callbacks of the running training, in their order; `callback` alone if unknown."""
    # Keras gives a callback no access to the others, so the list that calls it is searched on the stack.
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, keras.callbacks.CallbackList) and any(one is callback for one in caller.callbacks):
            return list(caller.callbacks)
        frame = frame.f_back
    return [callback]


def check_once(callback: object, callbacks: list[keras.callbacks.Callback]) -> None:
    """Refuse a callback that is in the list of callbacks twice."""
    if sum(other is callback for other in callbacks) > 1:
        raise KerasxaiError(f"expected each callback once, got the same {type(callback).__name__} twice")


def earlier_callbacks(callback: object, callbacks: list[keras.callbacks.Callback]) -> list[keras.callbacks.Callback]:
    """Return the callbacks that run before `callback`."""
    return callbacks[: next(index for index, other in enumerate(callbacks) if other is callback)]


def check_figures(
    callback: keras.callbacks.Callback, names: Sequence[str], callbacks: list[keras.callbacks.Callback]
) -> None:
    """Refuse callbacks that would write figures of the same name into the logs.

    Args:
        callback: The callback that is checked.
        names: The names of its figures.
        callbacks: All callbacks of the training, see `training_callbacks`.

    Raises:
        KerasxaiError: Another one writes a figure of these names, or the callback is in the list twice.
    """
    check_once(callback, callbacks)
    for other in callbacks:
        shared = set(names) & figure_names(other)
        if other is not callback and shared:
            raise KerasxaiError(
                f"expected figures of different names in the logs, got {sorted(shared)[0]!r} from both "
                f"{type(other).__name__} and {type(callback).__name__}; give one another prefix="
            )


def check_order(
    callback: keras.callbacks.Callback, names: Sequence[str], callbacks: list[keras.callbacks.Callback]
) -> None:
    """Refuse callbacks that look for a figure in the logs before `callback` has written it.

    Args:
        callback: The callback that writes the figures.
        names: The names of its figures.
        callbacks: All callbacks of the training, see `training_callbacks`.

    Raises:
        KerasxaiError: One that monitors a figure is earlier in the list.
    """
    for other in earlier_callbacks(callback, callbacks):
        figure = getattr(other, "monitor", None)
        if figure in names:
            who = type(callback).__name__
            raise KerasxaiError(
                f"expected {who} before {type(other).__name__}, which monitors {figure!r}, got it after: callbacks "
                f"run in the order of the list; put {who} first"
            )


def free_prefix(callback: MeasuringCallback, figures: Iterable[str], callbacks: list[keras.callbacks.Callback]) -> str:
    """Return a prefix under which no figure of an earlier callback is overwritten; warn if it is a new one.

    Args:
        callback: The callback.
        figures: The names of its figures without the prefix.
        callbacks: All callbacks of the training, see `training_callbacks`.
    """
    check_once(callback, callbacks)
    taken: set[str] = set().union(*(figure_names(other) for other in earlier_callbacks(callback, callbacks)))
    candidates = itertools.chain(
        [callback.prefix, f"{callback.prefix}{callback.method}_"],
        (f"{callback.prefix}{callback.method}_{number}_" for number in itertools.count(2)),
    )
    free = next(prefix for prefix in candidates if taken.isdisjoint(prefix + figure for figure in figures))
    if free != callback.prefix:
        kind = type(callback).__name__
        warnings.warn(
            f"two callbacks write the same figures into the logs, so those of the second {kind} "
            f"({callback.method}) are called {free}...; set prefix= to choose a name",
            stacklevel=3,
        )
    return free


def figure_names(callback: object) -> set[str]:
    """Return the names under which a callback of this package writes figures, or an empty set."""
    # Other callbacks may have `names` of another meaning; only ours also have a prefix.
    return set(getattr(callback, "names", ())) if hasattr(callback, "prefix") else set()


def same_folder(first: Path | None, second: Path | None) -> bool:
    """Return whether two paths, perhaps None, are the same folder."""
    return first is not None and second is not None and first.resolve() == second.resolve()
