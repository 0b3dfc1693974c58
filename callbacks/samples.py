"""Images with labels and boxes, in whatever form a user has them, as samples one by one."""

import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kerasxai.core.errors import KerasxaiError

NAMES = ("image", "label", "boxes", "mask")
_RESHUFFLING = ("_reshuffle_each_iteration", "_rerandomize")

Sample = dict[str, Any]


def samples(data: Any, names: Sequence[str] = NAMES) -> Iterator[Sample]:
    """Gives samples one by one.

    Args:
        data: A `tf.data.Dataset`, batched or not, or a list, of dicts as `kerasxai.data.load` gives them (`image`,
            `label`, `boxes`, `mask`) or of tuples in this order; or one such dict or tuple of whole arrays; or images
            `(N, H, W, C)` alone.

    Yields:
        Dicts of NumPy arrays, with those of the four names that there are: `image` `(H, W, C)`, `label` `()` or one-hot
        `(classes,)`, `boxes` `(k, 4)` without padding, `mask` `(H, W)`.

    Raises:
        KerasxaiError: The images are neither single ones nor batches.
    """
    for element in _elements(data):
        fields = {name: _rows(value) for name, value in named(element).items() if name in names}
        rank = np.ndim(fields.get("image", 0))
        if rank not in (3, 4):
            raise KerasxaiError(f"expected images (height, width, channels) or batches of them, came {_form(element)}")
        count = len(fields["image"]) if rank == 4 else 1
        if rank == 3:
            fields = {name: [value] for name, value in fields.items()}
        for name, value in fields.items():
            if len(value) != count:
                raise KerasxaiError(f"expected {name} for each of {count} images, came {len(value)}")
        for i in range(count):
            sample = {name: value[i] for name, value in fields.items()}
            if "boxes" in sample:
                sample["boxes"] = _without_padding(sample["boxes"])
            yield sample


def batches(data: Any, size: int) -> Iterator[dict[str, list[Any]]]:
    """Gives the samples of `data` in batches: for each name the list of what the samples have."""
    source = samples(data)
    while group := list(itertools.islice(source, size)):
        yield {name: [sample[name] for sample in group] for name in group[0]}


def named(element: Any) -> dict[str, Any]:
    """Returns the fields of one element by name; a tuple's stand in the order image, label, boxes, mask."""
    if isinstance(element, Mapping):
        return {name: element[name] for name in NAMES if name in element}
    if isinstance(element, (tuple, list)):
        return dict(zip(NAMES, element, strict=False))
    return {"image": element}


def fields_of(data: Any) -> dict[str, Any]:
    """Returns what the elements of `data` have, without reading a dataset: names and something with a shape."""
    return named(data.element_spec if isinstance(data, tf.data.Dataset) else next(iter(_elements(data)), {}))


def class_indices(labels: Any) -> np.ndarray:
    """Returns labels `(N,)`, `(N, 1)` or one-hot `(N, classes)` as `(N,)` int64.

    Raises:
        KerasxaiError: They are none of these, or not whole numbers from 0.
    """
    array = np.asarray(labels)
    if array.ndim == 2:
        array = array[:, 0] if array.shape[1] == 1 else array.argmax(axis=1)
    if array.ndim != 1 or array.dtype.kind not in "iufb" or (array != np.floor(array)).any() or (array < 0).any():
        raise KerasxaiError(f"expected labels (N,) of classes counted from 0, came shape {np.shape(labels)}")
    return array.astype(np.int64)


def warn_if_reshuffled(data: Any, who: str) -> None:
    """Warns of a dataset with an order that changes at each reading.

    All iterators of such a dataset share one state of the generator: reading it here changes the order in which
    training sees it, if training reads the same object.
    """
    if isinstance(data, tf.data.Dataset) and _reshuffles(data):
        warnings.warn(
            f"{who}: the dataset is shuffled anew at each reading, and each reading changes the order of the next; "
            "if training reads it too, give a dataset without shuffle here",
            stacklevel=3,
        )


def _reshuffles(dataset: Any) -> bool:
    # tf.data tells nowhere in public whether a dataset shuffles; where these names change, nobody is warned.
    if any(getattr(dataset, name, None) for name in _RESHUFFLING):
        return True
    try:
        return any(_reshuffles(source) for source in dataset._inputs())
    except (AttributeError, NotImplementedError):
        return False


def _elements(data: Any) -> Iterable[Any]:
    if isinstance(data, tf.data.Dataset):
        return data
    if isinstance(data, (list, tuple)) and data and isinstance(data[0], (Mapping, tuple)):
        return data
    if isinstance(data, list) and data and np.ndim(data[0]) == 3:
        return data
    return [data]


def _rows(value: Any) -> Any:
    if isinstance(value, tf.RaggedTensor):
        return [row.numpy() for row in value]
    if isinstance(value, (list, tuple)):
        return value
    return value.numpy() if isinstance(value, tf.Tensor) else np.asarray(value)


def _without_padding(boxes: Any) -> np.ndarray:
    boxes = np.asarray(boxes, np.float32)
    boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise KerasxaiError(f"expected boxes (k, 4) of x0, y0, x1, y1 for each image, came {boxes.shape}")
    # kerasxai.data fills batches up with rows of -1.
    return boxes[boxes[:, 2] >= 0]


def _form(element: Any) -> str:
    if isinstance(element, Mapping):
        return f"a dict of {', '.join(map(str, element)) or 'nothing'}"
    shape = np.shape(element[0]) if isinstance(element, (tuple, list)) and element else np.shape(element)
    return f"{type(element).__name__} with shape {shape}"
