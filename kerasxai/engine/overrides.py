"""Overriding the output of a layer or an operation in a traced pass."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import tensorflow as tf

from kerasxai.engine.graph import replaced
from kerasxai.engine.layers import find_call
from kerasxai.engine.map_layout import MapLayout
from kerasxai.engine.tracing import intercepted

if TYPE_CHECKING:
    from kerasxai.engine.inputs import Inputs

Value: TypeAlias = tf.Tensor | Callable[[tf.Tensor], tf.Tensor]
"""A map in the layout of methods, or a function of the layer's own output."""


def override_layer(
    model: keras.Model, path: str, value: Value, layout: MapLayout, overridden: list[bool]
) -> contextlib.AbstractContextManager[None]:
    """Makes a layer return a value in place of its output while a block runs.

    Args:
        model: The model.
        path: The path of the layer, with the number of the call if there are several.
        value: See `Value`.
        layout: How the output of the layer is read as a map.
        overridden: Gets an entry for each call that returned the value.
    """
    _, layer, number = find_call(model, path)
    called = itertools.count()

    def around(original: Callable[..., tf.Tensor], *args: Any, **kwargs: Any) -> tf.Tensor:
        if number is not None and next(called) != number:
            return original(*args, **kwargs)
        overridden.append(True)
        if callable(value):
            return value(original(*args, **kwargs))
        return layout.to_model(value, original(*args, **kwargs) if layout.extra else None)

    return intercepted(layer, around)


def override_operation(outputs: Inputs, tensor: tf.Tensor, value: Value, layout: MapLayout) -> Inputs:
    """Returns the outputs of a model as if an operation had returned a value.

    An operation has no call to intercept, so all operations behind it are copied in the graph.
    """
    new = value(tensor) if callable(value) else layout.to_model(value, tensor)
    return replaced(outputs, tensor, new)
