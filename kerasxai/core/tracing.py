"""Changing what a live layer does for the length of one traced pass, and putting everything back.

Cutting a model in two (`keras.Model(inputs, [layer.output, ...])`) fails on nested and subclassed models. Setting
instance attributes on the live layers works on every kind, because Keras looks up `layer.call` at each call.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

_MISSING = object()


@contextlib.contextmanager
def patched(obj: Any, **attributes: Any) -> Iterator[None]:
    """Sets instance attributes for the length of a block and puts the old ones back, whatever happens.

    Goes round Keras' own `__setattr__`, so that nothing is tracked and locked models can be patched as well.

    Args:
        obj: Any object with a `__dict__`, usually a layer.
        **attributes: The attributes to set.

    Example:
        >>> layer = keras.layers.Dense(3, activation="softmax")
        >>> with patched(layer, activation=keras.activations.linear):
        ...     logits = layer(x)
    """
    before = {name: vars(obj).get(name, _MISSING) for name in attributes}
    try:
        for name, value in attributes.items():
            object.__setattr__(obj, name, value)
        yield
    finally:
        for name, value in before.items():
            if value is not _MISSING:
                object.__setattr__(obj, name, value)
            elif name in vars(obj):
                object.__delattr__(obj, name)


@contextlib.contextmanager
def intercepted(layer: Any, around: Callable[..., Any]) -> Iterator[None]:
    """Sends every call of a layer through `around(original_call, *args, **kwargs)` for the length of a block.

    A quantized layer is called through `quantized_call`, so that one is wrapped where Keras would take it. A `call`
    that is a `tf.function` is replaced by the plain function beneath it, because a function of its own would hide the
    layers inside from the pass that is being traced.

    Args:
        layer: The layer (or model, or `keras.Operation`).
        around: Takes the original call and its arguments, and returns what the layer shall give.

    Example:
        >>> seen = []
        >>> def keep(call, *args, **kwargs):
        ...     seen.append(call(*args, **kwargs))
        ...     return seen[-1]
        >>> with intercepted(layer, keep):
        ...     model(images, training=False)
    """
    name = "call" if getattr(layer, "quantization_mode", None) is None else "quantized_call"
    original = getattr(layer, name)
    if isinstance(original, tf.types.experimental.PolymorphicFunction):
        original = functools.partial(getattr(type(layer), name).python_function, layer)

    def call(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    with patched(layer, **{name: call}):
        yield


@dataclass(eq=False)
class Call:
    """One call of one layer, as it was seen in a traced pass; equal to itself alone."""

    path: str
    layer: Any
    output: Any


@contextlib.contextmanager
def recorded(layers: Iterable[tuple[str, Any]], seen: Callable[[Call], None]) -> Iterator[None]:
    """Reports each call of each given layer, innermost first, as `seen(Call(path, layer, output))`.

    Args:
        layers: Pairs of path and layer, as `kerasxai.core.layers.walk` gives them.
        seen: Called with every finished call, in the order in which the calls finish.
    """
    with contextlib.ExitStack() as stack:
        for path, layer in layers:

            def around(original: Any, *args: Any, path: str = path, layer: Any = layer, **kwargs: Any) -> Any:
                output = original(*args, **kwargs)
                seen(Call(path, layer, output))
                return output

            stack.enter_context(intercepted(layer, around))
        yield
