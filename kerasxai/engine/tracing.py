"""Patching live layers in one thread while a pass is traced, and restoring them.

Cutting a model in two (`keras.Model(inputs, [layer.output, ...])`) fails on nested and subclassed models. Replacing
methods of the live layers works on every kind, because Keras looks up `layer.call` at each call.

A layer is shared by all threads, so its method is replaced by a hook that looks up the changes of the current thread:
any other thread gets the layer's own method, even if it looked up the hook just before it is removed. Attributes of a
live layer are never set: to change attributes, the method runs on a shallow copy of the layer.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

import keras
import tensorflow as tf

from kerasxai.engine.images.video_frames import in_batch, is_time_distributed
from kerasxai.engine.keras_internals import CLEAR_LOSSES
from kerasxai.tools.errors import KerasxaiError

if TYPE_CHECKING:
    from kerasxai.engine.inputs import Inputs

_MISSING = object()
_P = ParamSpec("_P")
_R = TypeVar("_R")
LayerMethod: TypeAlias = Callable[..., Any]
"""A method of a layer, such as its call."""
_Key = tuple[int, str]

# One lock for all models, because models share layers (wrappers, copies) and are built by their first pass. It is held
# only for a pass of the model, not for the user's score, so a score may wait for other threads that explain.
_PASSES = threading.RLock()
_HOOKS = threading.RLock()


@dataclass(eq=False)
class _Change:
    """One change of one method of a layer; compared by identity."""

    layer: keras.Operation
    method: str
    around: Callable[..., Any] | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    innermost: bool = False

    @property
    def key(self) -> _Key:
        return (id(self.layer), self.method)


@dataclass(eq=False)
class _Hook:
    """A hook in place of a layer's method, the earlier entry of its `__dict__`, and the threads that need it."""

    layer: keras.Operation
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
    """Makes a function that patches layers wait until no other thread is in such a function.

    No patch outlives the call, even if it is interrupted (Ctrl-C) while patches are removed.
    """

    @functools.wraps(function)
    def alone(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        # An interrupt can be raised at the start of any Python function, including `__exit__` of a context manager. So
        # the lock, a C object, is taken by `with`, and the loop that restores everything is in this very function.
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
def build(model: keras.Model, inputs: Inputs) -> None:
    """Makes the weights of a model that has no input shape before its first call."""
    if not model.built:
        model(inputs, training=False)


@contextlib.contextmanager
def patched(layer: keras.Operation, **attributes: Any) -> Iterator[None]:
    """Makes the calls of a layer by this thread in a block use other attributes.

    The layer keeps its attributes: its call runs on a shallow copy, which shares weights, losses and sublayers.

    Args:
        layer: The layer (or model).
        **attributes: The attributes and their values.

    Example:
        >>> layer = keras.layers.Dense(3, activation="softmax")
        >>> with patched(layer, activation=keras.activations.linear):
        ...     logits = layer(x)
    """
    with _changed([_Change(layer, _call_of(layer), attributes=attributes)]):
        yield


@contextlib.contextmanager
def intercepted(layer: keras.Operation, around: LayerMethod, method: str | None = None) -> Iterator[None]:
    """Routes the calls of a layer by this thread in a block through `around(original_call, *args, **kwargs)`.

    For a quantized layer `quantized_call` is wrapped, which Keras calls. A `call` that is a `tf.function` is replaced
    by its Python function, because a separate graph would hide the layers inside from the traced pass.

    Args:
        layer: The layer (or model, or `keras.Operation`).
        around: Takes the original call and its arguments, and returns the output of the layer.
        method: Another method of the layer to wrap in place of its call.

    Example:
        >>> outputs = []
        >>> def keep(call, *args, **kwargs):
        ...     outputs.append(call(*args, **kwargs))
        ...     return outputs[-1]
        >>> with intercepted(layer, keep):
        ...     model(images, training=False)
    """
    with _changed([_Change(layer, method or _call_of(layer), around)]):
        yield


@dataclass(eq=False)
class Call:
    """One call of one layer in a traced pass; compared by identity.

    Attributes:
        path: The layer's path.
        layer: The layer.
        output: What it returned.
        start: How many operations the traced graph had before the call.
        stop: How many it had after it.
        has_inner_calls: Whether other recorded layers were called within.
    """

    path: str
    layer: keras.Operation
    output: Any
    start: int = 0
    stop: int = 0
    has_inner_calls: bool = False


@contextlib.contextmanager
def recorded(layers: Iterable[tuple[str, keras.Layer]], record: Callable[[Call], None]) -> Iterator[None]:
    """Reports each call of each given layer in this thread, innermost first, as `record(Call(path, layer, output))`.

    Losses that layers add in the block are dropped, because they would be tensors of the traced graph; the losses of
    the last real call of the model are kept.

    Args:
        layers: Pairs of path and layer, as `kerasxai.engine.layers.walk` gives them.
        record: Called with every finished call, in the order in which the calls finish.
    """
    count = tf.compat.v1.get_default_graph().num_operations
    finished = [0]
    changes = []
    for path, layer in layers:
        if is_time_distributed(layer):
            # In place of the layer's own call, inside all other patches of that call.
            changes.append(_Change(layer, _call_of(layer), in_batch(layer), innermost=True))

        def around(
            original: LayerMethod, *args: Any, path: str = path, layer: keras.Layer = layer, **kwargs: Any
        ) -> Inputs:
            start, finished_before = count(), finished[0]
            output = original(*args, **kwargs)
            has_inner_calls = finished[0] > finished_before
            finished[0] += 1
            record(Call(path, layer, output, start, count(), has_inner_calls))
            return output

        changes.append(_Change(layer, _call_of(layer), around))
        changes += [_Change(layer, method, skipped) for method in ("add_loss", CLEAR_LOSSES)]
    with _changed(changes):
        yield


def skipped(original: LayerMethod, *args: object, **kwargs: object) -> None:
    """Does nothing in place of a method; for `intercepted`."""


def _call_of(layer: keras.Operation) -> str:
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
    """Ends changes of this thread; those that ended already, or are of another thread, are ignored."""
    ended = set(changes)
    for key in {change.key for change in ended} & set(_here.changes):
        with _HOOKS:
            mine = _here.changes[key]
            mine[:] = [change for change in mine if change not in ended]
            if not mine:
                # In this order the call can be repeated after an interrupt.
                _release(key)
                _here.changes.pop(key, None)


def _release(key: _Key) -> None:
    """Removes a hook that no thread needs any more."""
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


def _hooked(layer: keras.Operation, method: str) -> _Hook:
    """Puts a hook in place of a method, bypassing Keras' `__setattr__`, which tracks and refuses attributes."""
    original, key = getattr(layer, method), (id(layer), method)

    def hook(*args: Any, **kwargs: Any) -> Any:
        changes = _here.changes.get(key)
        if not changes:
            return original(*args, **kwargs)
        return _as_changed(made, changes)(*args, **kwargs)

    made = _Hook(layer, method, vars(layer).get(method, _MISSING), hook, set())
    # Keras builds its error messages from the signature of the function.
    hook.__wrapped__ = original  # type: ignore[attr-defined]
    _hooks[key] = made
    object.__setattr__(layer, method, hook)
    return made


def _unhook(hook: _Hook) -> None:
    if vars(hook.layer).get(hook.method) is not hook.function:
        return  # Other code has set another method meanwhile.
    if hook.before is _MISSING:
        object.__delattr__(hook.layer, hook.method)
    else:
        object.__setattr__(hook.layer, hook.method, hook.before)


def _as_changed(hook: _Hook, changes: list[_Change]) -> LayerMethod:
    """Returns a layer's own method with all changes around it."""
    attributes = {name: value for change in changes for name, value in change.attributes.items()}
    call = _plain(hook, _with_attributes(hook, attributes) if attributes else hook.layer)
    for change in list(changes):
        if change.around is not None:
            call = functools.partial(change.around, call)
    return call


def _with_attributes(hook: _Hook, attributes: dict[str, Any]) -> keras.Operation:
    copy = object.__new__(type(hook.layer))
    own = vars(hook.layer).copy()
    own.pop(hook.method, None)
    vars(copy).update(own | attributes)
    return copy


def _plain(hook: _Hook, layer: keras.Operation) -> LayerMethod:
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
