"""Changing what live layers do in one thread while a pass is traced there, and putting everything back.

Cutting a model in two (`keras.Model(inputs, [layer.output, ...])`) fails on nested and subclassed models. Replacing
methods of the live layers works on every kind, because Keras looks up `layer.call` at each call.

A layer is shared by all threads, so its method is replaced by a hook that looks up the changes of the thread it runs
in: any other thread gets the layer's own method, also if it looked the hook up just before it is removed. Attributes of
a live layer are never set. Where a layer is to see other attributes, its method runs on a shallow copy that has them.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import tensorflow as tf

from kerasxai.engine.images.video_frames import in_batch, is_time_distributed
from kerasxai.engine.keras_internals import CLEAR_LOSSES
from kerasxai.tools.errors import KerasxaiError

_MISSING = object()
_P = ParamSpec("_P")
_R = TypeVar("_R")
_Key = tuple[int, str]

# One lock for all models, because models share layers (wrappers, twins) and are built by their first pass. It is held
# for a pass of the model alone, not for the user's score, so that a score may wait for other threads that explain.
_PASSES = threading.RLock()
_HOOKS = threading.RLock()


@dataclass(eq=False)
class _Change:
    """One change of one method of a layer; equal to itself alone."""

    layer: Any
    method: str
    around: Callable[..., Any] | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    innermost: bool = False

    @property
    def key(self) -> _Key:
        return (id(self.layer), self.method)


@dataclass(eq=False)
class _Hook:
    """A hook in place of a layer's method, what the layer had in its `__dict__` there, and the threads that need it."""

    layer: Any
    method: str
    before: Any
    function: Callable[..., Any]
    threads: set[int]


class _Here(threading.local):
    """The changes of one thread, innermost first."""

    def __init__(self) -> None:
        self.changes: dict[_Key, list[_Change]] = {}


_here = _Here()
_hooks: dict[_Key, _Hook] = {}


def one_pass_at_a_time(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Makes a function that changes layers wait until no other thread is in such a function.

    No change that is made within outlives the call, even if it is interrupted (Ctrl-C) while changes are taken back.
    """

    @functools.wraps(function)
    def alone(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        # An interrupt can be raised at the start of any Python function, `__exit__` of a context manager included. So
        # the lock, a C object, is taken by `with`, and the loop that puts everything back stands in this very function.
        with _PASSES:
            kept = {change for changes in _here.changes.values() for change in changes}
            try:
                return function(*args, **kwargs)
            finally:
                interrupted = None
                while True:
                    try:
                        _take_back_all_but(kept)
                        break
                    except KeyboardInterrupt as error:
                        interrupted = error
                if interrupted is not None:
                    raise interrupted

    return alone


@one_pass_at_a_time
def build(model: Any, inputs: Any) -> None:
    """Makes the weights of a model that knows no input shape before its first call."""
    if not model.built:
        model(inputs, training=False)


@contextlib.contextmanager
def patched(layer: Any, **attributes: Any) -> Iterator[None]:
    """Lets the calls of a layer that this thread makes in a block see other attributes.

    The layer itself keeps its attributes: its call runs on a shallow copy, which shares weights, losses and sublayers.

    Args:
        layer: The layer (or model).
        **attributes: What its call finds in place of its attributes of these names.

    Example:
        >>> layer = keras.layers.Dense(3, activation="softmax")
        >>> with patched(layer, activation=keras.activations.linear):
        ...     logits = layer(x)
    """
    with _changed([_Change(layer, _call_of(layer), attributes=attributes)]):
        yield


@contextlib.contextmanager
def intercepted(layer: Any, around: Callable[..., Any], method: str | None = None) -> Iterator[None]:
    """Sends every call of a layer that this thread makes in a block through `around(original_call, *args, **kwargs)`.

    A quantized layer is called through `quantized_call`, so that one is wrapped where Keras would take it. A `call`
    that is a `tf.function` is replaced by the plain function beneath it, because a function of its own would hide the
    layers inside from the pass that is being traced.

    Args:
        layer: The layer (or model, or `keras.Operation`).
        around: Takes the original call and its arguments, and returns what the layer shall give.
        method: Another method of the layer to wrap in place of its call.

    Example:
        >>> seen = []
        >>> def keep(call, *args, **kwargs):
        ...     seen.append(call(*args, **kwargs))
        ...     return seen[-1]
        >>> with intercepted(layer, keep):
        ...     model(images, training=False)
    """
    with _changed([_Change(layer, method or _call_of(layer), around)]):
        yield


@dataclass(eq=False)
class Call:
    """One call of one layer in a traced pass; equal to itself alone.

    Attributes:
        path: The layer's path.
        layer: The layer.
        output: What it returned.
        start: How many operations the traced graph had before the call.
        stop: How many it had after it.
        has_inner_calls: Whether other recorded layers were called within.
    """

    path: str
    layer: Any
    output: Any
    start: int = 0
    stop: int = 0
    has_inner_calls: bool = False


@contextlib.contextmanager
def recorded(layers: Iterable[tuple[str, Any]], seen: Callable[[Call], None]) -> Iterator[None]:
    """Reports each call of each given layer in this thread, innermost first, as `seen(Call(path, layer, output))`.

    Losses that layers add in the block are dropped, and those of the last call of the model are kept: losses of a
    traced pass would be tensors of its graph.

    Args:
        layers: Pairs of path and layer, as `kerasxai.engine.layers.walk` gives them.
        seen: Called with every finished call, in the order in which the calls finish.
    """
    count = tf.compat.v1.get_default_graph().num_operations
    finished = [0]
    changes = []
    for path, layer in layers:
        if is_time_distributed(layer):
            # In place of the layer's own call: what others put around that call stays around it.
            changes.append(_Change(layer, _call_of(layer), in_batch(layer), innermost=True))

        def around(original: Any, *args: Any, path: str = path, layer: Any = layer, **kwargs: Any) -> Any:
            start, finished_before = count(), finished[0]
            output = original(*args, **kwargs)
            has_inner_calls = finished[0] > finished_before
            finished[0] += 1
            seen(Call(path, layer, output, start, count(), has_inner_calls))
            return output

        changes.append(_Change(layer, _call_of(layer), around))
        changes += [_Change(layer, method, skipped) for method in ("add_loss", CLEAR_LOSSES)]
    with _changed(changes):
        yield


def skipped(original: Any, *args: Any, **kwargs: Any) -> None:
    """Does nothing in place of a method; for `intercepted`."""


def _call_of(layer: Any) -> str:
    return "call" if getattr(layer, "quantization_mode", None) is None else "quantized_call"


@contextlib.contextmanager
def _changed(changes: list[_Change]) -> Iterator[None]:
    try:
        for change in changes:
            _make(change)
        yield
    finally:
        _take_back(changes)


def _make(change: _Change) -> None:
    with _HOOKS:
        changes = _here.changes.setdefault(change.key, [])
        changes.insert(0 if change.innermost else len(changes), change)
        hook = _hooks.get(change.key) or _hooked(change.layer, change.method)
        hook.threads.add(threading.get_ident())


def _take_back(changes: Iterable[_Change]) -> None:
    """Ends changes in this thread; where one has ended already, or was another thread's, this does nothing."""
    ended = set(changes)
    for key in {change.key for change in ended} & set(_here.changes):
        with _HOOKS:
            mine = _here.changes[key]
            mine[:] = [change for change in mine if change not in ended]
            if not mine:
                # In this order an interrupted call can be repeated.
                _release(key)
                _here.changes.pop(key, None)


def _release(key: _Key) -> None:
    """Takes a hook away that no thread needs any more."""
    hook = _hooks.get(key)
    if hook is not None:
        hook.threads.discard(threading.get_ident())
        if not hook.threads:
            _unhook(hook)
            del _hooks[key]


def _take_back_all_but(kept: set[_Change]) -> None:
    for key, mine in list(_here.changes.items()):
        _take_back({change for change in mine if change not in kept})
        if not mine and key in _here.changes:
            # An interrupt fell between the last change and its hook.
            with _HOOKS:
                _release(key)
                _here.changes.pop(key, None)


def _hooked(layer: Any, method: str) -> _Hook:
    """Puts a hook in place of a method, round Keras' `__setattr__`, which tracks and refuses attributes."""
    original, key = getattr(layer, method), (id(layer), method)

    def hook(*args: Any, **kwargs: Any) -> Any:
        changes = _here.changes.get(key)
        if not changes:
            return original(*args, **kwargs)
        return _as_changed(made, changes)(*args, **kwargs)

    made = _Hook(layer, method, vars(layer).get(method, _MISSING), hook, set())
    # Keras explains errors by the signature of the function it called.
    hook.__wrapped__ = original  # type: ignore[attr-defined]
    _hooks[key] = made
    object.__setattr__(layer, method, hook)
    return made


def _unhook(hook: _Hook) -> None:
    if vars(hook.layer).get(hook.method) is not hook.function:
        return  # Somebody set another method meanwhile.
    if hook.before is _MISSING:
        object.__delattr__(hook.layer, hook.method)
    else:
        object.__setattr__(hook.layer, hook.method, hook.before)


def _as_changed(hook: _Hook, changes: list[_Change]) -> Callable[..., Any]:
    """Returns a layer's own method with all changes around it."""
    attributes = {name: value for change in changes for name, value in change.attributes.items()}
    call = _plain(hook, _with_attributes(hook, attributes) if attributes else hook.layer)
    for change in list(changes):
        if change.around is not None:
            call = functools.partial(change.around, call)
    return call


def _with_attributes(hook: _Hook, attributes: dict[str, Any]) -> Any:
    copy = object.__new__(type(hook.layer))
    held = vars(hook.layer).copy()
    held.pop(hook.method, None)
    vars(copy).update(held | attributes)
    return copy


def _plain(hook: _Hook, layer: Any) -> Callable[..., Any]:
    """Returns the method of a layer or of its copy as a plain function."""
    function = getattr(type(layer), hook.method) if hook.before is _MISSING else hook.before
    if isinstance(function, tf.types.experimental.PolymorphicFunction):
        function = function.python_function
    if hook.before is _MISSING:
        return function.__get__(layer)
    if layer is hook.layer:
        return function
    if getattr(function, "__self__", None) is not hook.layer:
        raise KerasxaiError(
            f"expected the layer {layer.name!r} to have the {hook.method}() of its class, got another function as an "
            "attribute; remove that attribute"
        )
    return function.__func__.__get__(layer)
