"""Inputs of models with one or several inputs, as callbacks keep and read them."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from kerasxai.data.samples import are_nested
from kerasxai.engine.inputs import InputName, Inputs, split_inputs
from kerasxai.engine.layers import input_names
from kerasxai.tools.errors import KerasxaiError

Data = tf.data.Dataset | keras.utils.PyDataset | Sequence[object] | Mapping[str, object] | ArrayLike
"""Images with labels and annotations, in any form that `kerasxai.data.samples` reads."""


def explained_input(images: Inputs, image_input: InputName = None) -> NDArray:
    """Return the input that is explained, of an array or a structure of inputs.

    Args:
        images: The inputs of a model.
        image_input: As for `kerasxai.Explainer`; of a list of inputs an index.

    Raises:
        KerasxaiError: No input or several may be the explained one.
    """
    if not are_nested(images):
        return np.asarray(images)
    return split_inputs(images, None, [], image_input if image_input is not None else _only_input(images))[1]


def _only_input(images: Inputs) -> int | None:
    """Return the index of the input if there is only one."""
    return 0 if len(tf.nest.flatten(images)) == 1 else None


def rows_of(images: Inputs, rows: slice) -> Inputs:
    """Return some rows of an array or of each of a structure of inputs."""
    return tf.nest.map_structure(lambda leaf: np.asarray(leaf)[rows], images)


def identity_of(images: Inputs) -> str:
    """Return a digest of the values, types and shapes of an array or a structure of inputs."""
    digest = hashlib.sha256()
    for leaf in tf.nest.flatten(images):
        array = np.asarray(leaf)
        # Type and shape too: the same bytes may be other images.
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def fields_for(model: keras.Model, element: object) -> list[str]:
    """Return the names of a model's inputs if it has several and the data have a field for each, else [].

    Args:
        model: A Keras model.
        element: The first element of the data, or the spec of the elements of a `tf.data.Dataset`.
    """
    names = input_names(model)
    found = len(names) > 1 and isinstance(element, Mapping) and set(names) <= set(element)
    return names if found else []


def inputs_of(model: keras.Model, images: Inputs, fields: Mapping[str, ArrayLike]) -> Inputs:
    """Return the inputs of a model: the images, or for a model of several inputs the fields of their names.

    Args:
        model: A Keras model.
        images: An array or a structure of inputs.
        fields: The fields of the samples other than `image`.
    """
    names = input_names(model)
    known: dict[str, Any] = {"image": images, **fields}
    if len(names) > 1 and not are_nested(images) and set(names) <= set(known):
        return {name: known[name] for name in names}
    return images


def check_inputs(model: keras.Model, images: object, who: str) -> None:
    """Refuse one array for a model of several inputs, and several inputs for a model of one.

    Args:
        model: A Keras model; one whose inputs are unknown is not checked.
        images: The images of the data, or specs of their structure.
        who: The callback.

    Raises:
        KerasxaiError: The number of inputs differs.
    """
    names = input_names(model)
    given = len(tf.nest.flatten(images)) if are_nested(images) else 1
    if names and (given != len(names) and not (isinstance(images, Mapping) and set(names) <= set(images))):
        raise KerasxaiError(
            f"{who}: expected {len(names)} input{'s' * (len(names) > 1)} ({', '.join(names)}) as the model takes, "
            f"got {given}; give images as the dict or list that the model takes"
        )
