"""Random weights, layer by layer from the top, and the weights of before, to the bit."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai.engine.inputs import Inputs
from kerasxai.engine.layer_table import list_layers
from kerasxai.engine.layers import walk


@dataclass(frozen=True)
class WeightedLayer:
    """A layer with weights of its own, outside of its sublayers.

    Attributes:
        path: Such as `"backbone/block1_conv"`.
        layer: The layer.
        weights: Its floating weights; seeds of random layers are left out.
    """

    path: str
    layer: keras.Layer
    weights: Sequence[keras.Variable]


def layers_from_top(model: keras.Model, images: Inputs = None) -> list[WeightedLayer]:
    """Return the layers with weights, the last one called first.

    Args:
        model: A Keras model of any kind.
        images: A batch to trace with, for models without an input shape.

    Example:
        >>> [layer.path for layer in layers_from_top(model)][0]
        'predictions'
    """
    claimed: set[int] = set()
    owned: dict[str, WeightedLayer] = {}
    for path, layer in walk(model):  # Sublayers before the layer that contains them.
        weights = [one for one in layer.weights if id(one) not in claimed and "float" in str(one.dtype)]
        if weights:
            owned[path] = WeightedLayer(path, layer, weights)
        claimed |= {id(one) for one in layer.weights}
    called = dict.fromkeys(row.path for row in reversed(list_layers(model, images)))
    # The model itself, and layers whose call is not seen, may have weights as well: these are the last to be replaced.
    return [owned[path] for path in dict.fromkeys([*called, *owned]) if path in owned]


@contextlib.contextmanager
def weights_restored(variables: Sequence[keras.Variable]) -> Iterator[None]:
    """Give variables back their values, to the bit, at the end of a block, also after an error.

    Args:
        variables: Of any model; others that use the same model at the same time see the changed values.
    """
    kept = [_values(variable) for variable in variables]
    try:
        yield
    finally:
        for variable, values in zip(variables, kept, strict=True):
            variable.assign(values)


def randomize(layer: WeightedLayer, generator: np.random.Generator) -> None:
    """Draw the weights of a layer by its initializers; a weight without one is a permutation of its own values.

    Args:
        layer: The layer.
        generator: Of seeds and permutations.
    """
    for variable in layer.weights:
        initializer = _initializer(layer.layer, variable.name)
        if initializer is None:
            values = _values(variable)
            variable.assign(generator.permutation(values.ravel()).reshape(values.shape))
        else:
            # The layer's own initializer has a fixed seed, and would give the first weights of a model built here.
            seed = {"seed": int(generator.integers(2**31))} if "seed" in initializer.get_config() else {}
            fresh = type(initializer).from_config(initializer.get_config() | seed)
            variable.assign(fresh(variable.shape, dtype=variable.dtype))


def _initializer(layer: keras.Layer, name: str) -> keras.initializers.Initializer | None:
    """Return the initializer of a weight, by the names that Keras' layers give both."""
    stem = name.removesuffix("_kernel")
    for attribute in (f"{name}_initializer", f"{stem}_initializer", "depthwise_initializer"):
        found = getattr(layer, attribute, None)
        if isinstance(found, keras.initializers.Initializer) and (name == "kernel" or attribute[0] == name[0]):
            return found
    return None


def _values(variable: keras.Variable) -> NDArray:
    return np.array(keras.ops.convert_to_numpy(variable.value))
