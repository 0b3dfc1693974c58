"""Putting a map in place of what a layer or an operation gives in a traced pass."""

import contextlib
import itertools
from typing import Any

import tensorflow as tf

from kerasxai.engine.graph import replaced
from kerasxai.engine.layers import find_call
from kerasxai.engine.map_layout import MapLayout
from kerasxai.engine.tracing import intercepted


def feeding(
    model: Any, path: str, map_given: Any, form: MapLayout, given: list[bool]
) -> contextlib.AbstractContextManager[None]:
    """Makes a layer give a map in place of its output while a block runs.

    Args:
        model: The model.
        path: The layer's path, with the number of the call where there are several.
        map_given: The map, or a function that makes it of the layer's own output.
        form: How the layer's output is read as a map.
        given: Gets an entry for each call that gave the map.
    """
    _, layer, number = find_call(model, path)
    called = itertools.count()

    def around(original: Any, *args: Any, **kwargs: Any) -> Any:
        if number is not None and next(called) != number:
            return original(*args, **kwargs)
        given.append(True)
        if callable(map_given):
            return map_given(original(*args, **kwargs))
        return form.to_model(map_given, original(*args, **kwargs) if form.extra else None)

    return intercepted(layer, around)


def fed_at_operation(outputs: Any, tensor: tf.Tensor, map_given: Any, form: MapLayout) -> Any:
    """Returns what a model would return if an operation gave a map, or what a function makes of its own.

    An operation has no call to intercept, so that all operations behind it are copied in the graph.
    """
    instead = map_given(tensor) if callable(map_given) else form.to_model(map_given, tensor)
    return replaced(outputs, tensor, instead)
