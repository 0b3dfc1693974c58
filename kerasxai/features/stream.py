"""Any source of images as batches of one size, read once and never held as a whole."""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasxai.data.samples import class_indices, elements
from kerasxai.tools.errors import KerasxaiError

Batch = dict[str, Any]
_TUPLE = ("image", "label")


def batches(data: Any, batch_size: int) -> Iterator[Batch]:
    """Give images, and what comes with them, in batches of `batch_size`; only the last may be smaller.

    Args:
        data: Images `(N, H, W, C)`; or a `tf.data.Dataset`, `keras.utils.PyDataset`, list, generator or other iterable
            of samples or batches, each a dict as of `kerasxai.data.load`, a tuple `(image, label)`, or an image; or one
            dict or tuple of whole arrays. Of an iterable, no more than one batch and one element is held.
        batch_size: At least 1.

    Yields:
        Dicts of `image` `(B, H, W, C)` and whatever else the samples have, as arrays or, where shapes differ, lists;
        `label` as `(B,)` int64, `name` as a list of str. Without names, images are called by their place in the data.

    Raises:
        KerasxaiError: There are no images, they differ in size, or they are no images.
    """
    if batch_size < 1:
        raise KerasxaiError(f"batch_size must be 1 or more, not {batch_size}")
    waiting: list[Batch] = []
    done = held = 0
    for group in _groups(data, batch_size):
        waiting.append(group)
        held += _count(group)
        while held >= batch_size:
            joined = _joined(waiting)
            yield _finished(_rows(joined, 0, batch_size), done)
            done, held = done + batch_size, held - batch_size
            waiting = [_rows(joined, batch_size, None)] if held else []
    if held:
        yield _finished(_joined(waiting), done)
    elif not done:
        raise KerasxaiError("there are no images: the data are empty")


def check_rereadable(data: Any, who: str) -> None:
    """Refuse a generator where data are read twice."""
    if iter(data) is data if isinstance(data, Iterable) and not isinstance(data, Mapping) else False:
        raise KerasxaiError(f"{who} reads the data twice, and a generator can be read once; give a tf.data.Dataset")


def _groups(data: Any, batch_size: int) -> Iterator[Batch]:
    """Yield dicts of arrays or lists, each with a batch axis."""
    if isinstance(data, (Mapping, tuple)) or hasattr(data, "__array__"):
        whole = _named(data)
        for start in range(0, len(whole["image"]), batch_size):
            yield _checked(_rows(whole, start, start + batch_size))
        return
    # A PyDataset has no iterator of its own that ends.
    for element in elements(data) if isinstance(data, keras.utils.PyDataset) else data:
        fields = {name: _array(value) for name, value in _named(element).items()}
        rank = np.ndim(fields["image"])
        if rank not in (3, 4):
            raise KerasxaiError(f"expected images (height, width, channels) or batches of them, came rank {rank}")
        yield _checked(fields if rank == 4 else {name: [value] for name, value in fields.items()})


def _named(element: Any) -> dict[str, Any]:
    if isinstance(element, Mapping):
        if "image" not in element:
            raise KerasxaiError(f"the samples have no 'image', but {', '.join(map(str, element)) or 'nothing'}")
        return dict(element)
    if isinstance(element, tuple):
        return dict(zip(_TUPLE, element, strict=False))
    return {"image": element}


def _array(value: Any) -> Any:
    return value.numpy() if isinstance(value, (tf.Tensor, tf.RaggedTensor)) else value


def _checked(group: Batch) -> Batch:
    for name, value in group.items():
        if len(value) != _count(group):
            raise KerasxaiError(f"expected one {name} for each of {_count(group)} images, came {len(value)}")
    return group


def _count(group: Batch) -> int:
    return len(group["image"])


def _rows(group: Batch, start: int, stop: int | None) -> Batch:
    return {name: value[start:stop] for name, value in group.items()}


def _joined(groups: list[Batch]) -> Batch:
    if len(groups) == 1:
        return groups[0]
    names = [name for name in groups[0] if all(name in group for group in groups)]
    return {name: [one for group in groups for one in group[name]] for name in names}


def _finished(batch: Batch, done: int) -> Batch:
    shapes = {np.shape(image) for image in batch["image"]}
    if len(shapes) > 1:
        raise KerasxaiError(f"expected images of one size, came {', '.join(map(str, sorted(shapes)))}; resize them")
    if len(shape := next(iter(shapes))) != 3:
        raise KerasxaiError(f"expected images (height, width, channels), came shape {shape}")
    finished = {name: _stacked(value) for name, value in batch.items()}
    if "label" in finished:
        labels = np.asarray(finished["label"])
        # Multi-hot rows have several classes, of which none may be picked.
        multiple = labels.ndim == 2 and labels.shape[1] > 1
        finished["label"] = class_indices(labels) if multiple else labels.reshape(len(labels)).astype(np.int64)
    names = finished.get("name", np.arange(done, done + _count(batch)))
    finished["name"] = [os.fsdecode(name) if isinstance(name, bytes) else str(name) for name in list(names)]
    return finished


def _stacked(values: Any) -> Any:
    if isinstance(values, np.ndarray):
        return values
    if hasattr(values, "__array__"):
        return np.asarray(values)
    return np.stack(values) if len({np.shape(value) for value in values}) == 1 else list(values)
