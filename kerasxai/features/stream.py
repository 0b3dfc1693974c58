"""Batches of images of one size from any data source, read once and never held as a whole."""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias, TypeGuard

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.data.samples import NAMES, Sample, are_nested, class_indices, samples, stacked
from kerasxai.tools.errors import KerasxaiError

Data: TypeAlias = "NDArray[Any] | tf.data.Dataset | keras.utils.PyDataset | Iterable[Any] | Mapping[str, Any]"
# Any: besides images, labels and names, samples have further fields of any type, such as masks.
Batch: TypeAlias = dict[str, Any]


def batches(data: Data, batch_size: int) -> Iterator[Batch]:
    """Iterate over images and their other fields in batches of `batch_size`; only the last may be smaller.

    Args:
        data: Images `(N, H, W, C)`; or a `tf.data.Dataset`, `keras.utils.PyDataset`, list, generator or other iterable
            of samples or batches, each a dict as from `kerasxai.data.load`, a tuple `(image, label)`, or an image; or
            one dict or tuple of whole arrays.
        batch_size: At least 1.

    Yields:
        Dicts of `image` `(B, H, W, C)` and the other fields of the samples, as arrays, or as lists if shapes differ;
        `label` as `(B,)` int64, `name` as a list of str. Images without names are named by their index in the data.

    Raises:
        KerasxaiError: There are no images, or they differ in size.
    """
    if batch_size < 1:
        raise KerasxaiError(f"batch_size must be 1 or more, got {batch_size}")
    source, done = _samples(data, batch_size), 0
    while group := list(itertools.islice(source, batch_size)):
        yield _batch(group, done)
        done += len(group)
    if not done:
        raise KerasxaiError("expected at least one image, got empty data")


def check_rereadable(data: Data, reader: str) -> None:
    """Raise an error for a generator, for readers that need two passes over the data."""
    if isinstance(data, Iterator):
        raise KerasxaiError(f"expected data that {reader} can read twice, got a generator; give a tf.data.Dataset")


def _samples(data: Data, batch_size: int) -> Iterator[Sample]:
    if _is_array_of_images(data):
        # By slices, because arrays of HDF5 files are read from the disk when they are sliced.
        starts = range(0, len(data), batch_size)
        return itertools.chain.from_iterable(_with_all_fields(data[start : start + batch_size]) for start in starts)
    whole = (tf.data.Dataset, tf.RaggedTensor, keras.utils.PyDataset, Mapping, tuple)
    if isinstance(data, whole) or hasattr(data, "__array__") or hasattr(data, "on_epoch_end"):
        return _with_all_fields(data)
    # Element by element: generators can be read once only, and a list of batches looks like the inputs of a model.
    return itertools.chain.from_iterable(_with_all_fields([element]) for element in data)


def _is_array_of_images(data: Data) -> TypeGuard[NDArray[Any]]:
    return hasattr(data, "__array__") and getattr(data, "ndim", None) == 4


def _with_all_fields(data: Data) -> Iterator[Sample]:
    return samples(data, NAMES, (), True)


def _batch(group: list[Sample], done: int) -> Batch:
    if are_nested(group[0]["image"]):
        raise KerasxaiError(f"expected one image for each sample, got inputs {type(group[0]['image']).__name__}")
    batch: Batch = {"image": stacked([sample["image"] for sample in group])}
    for name in group[0]:
        if name != "image" and all(name in sample for sample in group):
            values = [sample[name] for sample in group]
            batch[name] = np.stack(values) if len({np.shape(value) for value in values}) == 1 else values
    if "label" in batch:
        labels = batch["label"]
        # Rows of several classes have no single label and are refused; -1 is allowed for unknown labels.
        one_hot = labels.ndim == 2 and labels.shape[1] > 1
        batch["label"] = class_indices(labels) if one_hot else labels.reshape(len(group)).astype(np.int64)
    batch["name"] = [_text(name) for name in batch.get("name", range(done, done + len(group)))]
    return batch


def _text(name: object) -> str:
    name = np.asarray(name).item()
    return os.fsdecode(name) if isinstance(name, bytes) else str(name)
