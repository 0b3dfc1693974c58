"""What a model of one or several inputs takes, for callbacks that hold or read it."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.data.samples import are_nested
from kerasxai.engine.layers import input_names
from kerasxai.engine.samples import laid_out
from kerasxai.tools.errors import KerasxaiError


def explained(images: Any, image_input: Any = None) -> NDArray[Any]:
    """Returns the input that is explained, of an array or a structure of inputs.

    Args:
        images: What a model takes.
        image_input: As for `kerasxai.Explainer`; of a list of inputs an index.

    Raises:
        KerasxaiError: No input or several could be meant.
    """
    if not are_nested(images):
        return np.asarray(images)
    return laid_out(images, None, [], image_input if image_input is not None else _only_images(images))[1]


def _only_images(images: Any) -> Any:
    """Returns the index of an only input: a structure of one has no other that could be meant."""
    return 0 if len(tf.nest.flatten(images)) == 1 else None


def rows_of(images: Any, rows: slice) -> Any:
    """Returns some rows of an array or of each of a structure of inputs."""
    return tf.nest.map_structure(lambda leaf: np.asarray(leaf)[rows], images)


def identity_of(images: Any) -> str:
    """Returns a digest of the values, types and shapes of an array or a structure of inputs."""
    digest = hashlib.sha256()
    for leaf in tf.nest.flatten(images):
        array = np.asarray(leaf)
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def fields_for(model: Any, element: Any) -> list[str]:
    """Returns the names of a model's inputs if it has several and the data's dicts have a field for each, else [].

    Args:
        model: A Keras model.
        element: The first element of the data, or what a `tf.data.Dataset` tells of its elements.
    """
    names = input_names(model)
    found = len(names) > 1 and isinstance(element, Mapping) and set(names) <= set(element)
    return names if found else []


def inputs_of(model: Any, images: Any, fields: dict[str, Any]) -> Any:
    """Returns what a model takes: the images, or of a model of several inputs the fields of their names.

    Args:
        model: A Keras model.
        images: An array or a structure of inputs.
        fields: The fields of the samples other than `image`.
    """
    names, known = input_names(model), {"image": images, **fields}
    if len(names) > 1 and not are_nested(images) and set(names) <= set(known):
        return {name: known[name] for name in names}
    return images


def check_inputs(model: Any, images: Any, who: str) -> None:
    """Refuses one array for a model of several inputs, and several inputs for a model of one.

    Args:
        model: A Keras model; one that does not tell its inputs is not checked.
        images: What the data have as images, or something with their structure.
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
