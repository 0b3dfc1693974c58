"""Reading samples from arrays, lists, `tf.data.Dataset` and `keras.utils.PyDataset`."""

import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from kerasxai.engine.keras_internals import is_reshuffled
from kerasxai.tools.errors import KerasxaiError

NAMES = ("image", "label", "boxes", "mask")
OF_SEVERAL_LABELS = ("labels", "box_labels", "box_difficult", "class_mask")
"""Fields of samples with several labels an image, in dicts only."""
# How far the entries of a one-hot row may be from a sum of 1: half precision and label smoothing round.
_ROUNDING = 1e-2
_MOST_ROWS = 5

Sample = dict[str, Any]


def rank_of(value: object) -> int:
    """Return the number of axes of an array or a spec, and -1 for anything else."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tf.TensorShape):
        return -1 if shape.rank is None else shape.rank
    return -1 if shape is None else len(shape)


def are_nested(images: object) -> bool:
    """Return whether images are a structure of a model's inputs, and neither an array nor a list of images."""
    if isinstance(images, Mapping):
        return True
    if not isinstance(images, list | tuple) or not images:
        return False
    if any(are_nested(one) for one in images):
        return True
    ranks = [rank_of(one) for one in images]
    return min(ranks) >= 0 and (isinstance(images, tuple) or max(ranks) > 3 or len(set(ranks)) > 1)


def stacked(images: list[Any]) -> Any:
    """Stack images of one size, or structures of inputs, to one batch.

    Raises:
        KerasxaiError: They differ in size.
    """
    return tf.nest.map_structure(lambda *leaves: _stacked_leaves(leaves), *images)


def _stacked_leaves(leaves: tuple[Any, ...]) -> NDArray[Any]:
    sizes = {np.shape(leaf) for leaf in leaves}
    if len(sizes) > 1:
        raise KerasxaiError(f"expected images of one size, got {', '.join(map(str, sorted(sizes)))}; resize them")
    batch = np.stack(leaves)
    # Python floats of further inputs become float64, which models do not take; images keep their type.
    return batch.astype(np.float32) if batch.dtype == np.float64 and np.ndim(leaves[0]) != 3 else batch


def samples(
    data: object, names: Sequence[str] = NAMES, inputs: Sequence[str] = (), further: bool = False
) -> Iterator[Sample]:
    """Iterate over single samples.

    Args:
        data: A `tf.data.Dataset` or `keras.utils.PyDataset`, or a list, batched or not, of dicts as
            `kerasxai.data.load` gives them (`image`, `label`, `boxes`, `mask`) or of tuples in this order; or one such
            dict or tuple of whole arrays; or images `(N, H, W, C)` alone. For a model of several inputs, `image` is
            the dict, list or tuple that the model takes.
        names: The fields to yield.
        inputs: The names of a model's several inputs. Where the dicts have a field for each, these are its inputs.
        further: Whether to yield further fields of dicts, too.

    Yields:
        Dicts of NumPy arrays, with those of the four names that there are: `image` `(H, W, C)` or a structure of
        inputs, `label` `()` or one-hot `(classes,)`, `boxes` `(k, 4)` without padding, `mask` `(H, W)`; of dicts, with
        their names, also the fields of several labels an image, see `kerasxai.data.load`.

    Raises:
        KerasxaiError: The images are neither single ones nor batches, or the data have a form that is not read here.
    """
    for element in elements(data):
        found = {name: value for name, value in fields_by_name(element).items() if name in names}
        if isinstance(element, Mapping) and "image" in element:
            if inputs and set(inputs) <= set(element):
                found["image"] = {name: element[name] for name in inputs}
            if further:
                found = {name: value for name, value in element.items() if name not in NAMES} | found
        yield from _rows(found, element)


def _rows(fields: dict[str, Any], element: object) -> Iterator[Sample]:
    """Iterate over the samples of one element, which is a single sample or a batch."""
    nested = are_nested(fields.get("image"))
    values = {name: _array(value) for name, value in fields.items() if name != "image" or not nested}
    image = tf.nest.map_structure(_array, fields["image"]) if nested else values.pop("image", 0)
    leaves = tf.nest.flatten(image) if nested else [image]
    rank = max((np.ndim(leaf) for leaf in leaves), default=0)
    if rank not in (3, 4):
        raise KerasxaiError(f"expected images (height, width, channels) or batches of them, got {_form(element)}")
    if rank == 3:
        yield _finished({"image": image, **values})
        return
    count = max(len(leaf) for leaf in leaves if np.ndim(leaf))
    for leaf in leaves:
        if np.ndim(leaf) == 0 or len(leaf) not in (1, count):
            raise KerasxaiError(f"expected an input for each of {count} images, got shape {np.shape(leaf)}")
    fitting = {name: value for name, value in values.items() if hasattr(value, "__len__") and _length(value) == count}
    for name in values:
        if name in NAMES and name not in fitting:
            raise KerasxaiError(f"expected {name} for each of {count} images, got {_length(values[name])}")
    for i in range(count):
        row = {name: value[i] for name, value in fitting.items()}
        picked = tf.nest.map_structure(lambda leaf, i=i: leaf[i % len(leaf)], image) if nested else image[i]
        yield _finished({"image": picked, **row})


def _length(value: list[Any] | tuple[Any, ...] | NDArray[Any]) -> int:
    return len(value) if isinstance(value, list | tuple) or np.ndim(value) else 0


def _finished(sample: Sample) -> Sample:
    if "boxes" in sample:
        # The number of boxes before the padding is removed from all of their fields.
        real = _real_boxes(sample["boxes"])
        for name in ("box_labels", "box_difficult"):
            if name in sample:
                sample[name] = np.asarray(sample[name])[real]
        sample["boxes"] = _without_padding(sample["boxes"])
    return sample


def batches(
    data: object, size: int, inputs: Sequence[str] = (), names: Sequence[str] = NAMES
) -> Iterator[dict[str, list[Any]]]:
    """Iterate over batches of `size` samples: for each field the list of its values."""
    source = samples(data, names, inputs)
    while group := list(itertools.islice(source, size)):
        yield {name: [sample[name] for sample in group] for name in group[0]}


def fields_by_name(element: object) -> dict[str, Any]:
    """Return the fields of one element by name; those of a tuple are image, label, boxes, mask."""
    if isinstance(element, Mapping):
        found = {name: element[name] for name in (*NAMES, *OF_SEVERAL_LABELS) if name in element}
        return found if "image" in found else {"image": dict(element)}
    if isinstance(element, tuple | list):
        if len(element) > 1 and not are_nested(element[0]) and all(rank_of(one) >= 3 for one in element[:2]):
            return {"image": element}
        return dict(zip(NAMES, element, strict=False))
    return {"image": element}


def fields_of(data: object) -> dict[str, Any]:
    """Return the fields of the elements of `data` by name; specs for a dataset, which is not read."""
    return fields_by_name(element_of(data))


def element_of(data: object) -> Any:
    """Return the first element of `data`, or the element spec of a `tf.data.Dataset`."""
    return data.element_spec if isinstance(data, tf.data.Dataset) else next(iter(elements(data)), {})


def first_images(
    data: object, count: int | None, read_labels: bool = True
) -> tuple[Any, NDArray[np.int64] | None, dict[str, Any]]:
    """Return the first images of `data`, all of one size, with their labels and further fields.

    Args:
        data: As for `samples`.
        count: How many; None: all.
        read_labels: Whether labels are read; without, those of the data may have any form.

    Returns:
        The images; their labels `(N,)` or None; and those further fields of dicts that are numbers, which may be
        inputs of a model.

    Raises:
        KerasxaiError: There are none, they differ in size, or the labels are of several classes.
    """
    names = ("image", "label") if read_labels else ("image",)
    found = list(itertools.islice(samples(data, names, further=True), count))
    if not found:
        raise KerasxaiError("expected at least one image, got empty data")
    labels = class_indices(np.stack([sample["label"] for sample in found])) if "label" in found[0] else None
    columns = {name: [sample[name] for sample in found] for name in found[0] if all(name in one for one in found)}
    further = {
        name: np.stack(column)
        for name, column in columns.items()
        if name not in NAMES
        and len({np.shape(one) for one in column}) == 1
        and np.asarray(column[0]).dtype.kind in "biuf"
    }
    return stacked([sample["image"] for sample in found]), labels, further


def is_one_batch_of_inputs(data: object) -> bool:
    """Return whether data are whole arrays for a model of several inputs, without labels."""
    if isinstance(data, Mapping):
        return "image" not in data
    return isinstance(data, list | tuple) and not _holds_elements(data) and fields_by_name(data).get("image") is data


def class_indices(labels: ArrayLike) -> NDArray[np.int64]:
    """Return labels `(N,)`, `(N, 1)` or one-hot `(N, classes)`, perhaps smoothed, as `(N,)` int64.

    Raises:
        KerasxaiError: They are none of these, or not whole numbers from 0, or a row has several classes or none.
    """
    array = np.asarray(labels)
    if array.dtype.kind not in "iufb" or array.ndim not in (1, 2):
        raise KerasxaiError(f"expected labels (N,) of classes counted from 0, got {array.dtype} {array.shape}")
    if array.ndim == 2 and array.shape[1] > 1:
        rows = array.astype(np.float64)
        highest = rows.max(axis=1, keepdims=True)
        one = ((rows == highest).sum(1) == 1) & (np.abs(rows.sum(1) - 1) < _ROUNDING) & (rows >= -_ROUNDING).all(1)
        if not one.all():
            wrong = np.flatnonzero(~one)
            listed = ", ".join(map(str, wrong[:_MOST_ROWS])) + (", ..." if len(wrong) > _MOST_ROWS else "")
            raise KerasxaiError(
                f"expected one true class for each image, got labels {array.shape} with several classes or none in "
                f"rows {listed}; give labels (N,) with the class that is meant"
            )
        return rows.argmax(axis=1)
    array = array.reshape(len(array))
    if not (np.isfinite(array).all() and (array == np.floor(array)).all() and (array >= 0).all()):
        raise KerasxaiError(f"expected labels (N,) of classes counted from 0, got {array[:_MOST_ROWS]}")
    return array.astype(np.int64)


def warn_if_reshuffled(data: object, who: str) -> None:
    """Warn about a dataset whose order changes at each iteration.

    All iterators of such a dataset share one random state: reading it here changes the order in which training sees
    it, if training reads the same object.
    """
    if isinstance(data, tf.data.Dataset) and is_reshuffled(data):
        warnings.warn(
            f"{who}: the dataset is shuffled differently at each reading, and each reading changes the order of the "
            "next; if training reads it too, give a dataset without shuffle here",
            stacklevel=3,
        )


def elements(data: object) -> Iterable[Any]:
    """Return the samples or batches of `data`; a dict or tuple of whole arrays is one batch.

    Raises:
        KerasxaiError: The data can be read once only, or have a form that is not known.
    """
    if isinstance(data, tf.data.Dataset):
        return data
    if isinstance(data, keras.utils.PyDataset) or _is_sequence_of_batches(data):
        return _batches_of(data)
    if isinstance(data, list | tuple):
        return data if _holds_elements(data) else [data]
    if isinstance(data, Mapping) or hasattr(data, "__array__") or isinstance(data, tf.RaggedTensor):
        return [data]
    kind = f"{type(data).__module__.partition('.')[0]} {type(data).__name__}".removeprefix("builtins ")
    raise KerasxaiError(
        f"expected arrays, a list, a tf.data.Dataset or a keras.utils.PyDataset, got {kind}; "
        "give some of its batches as a list: list(itertools.islice(data, 4))"
    )


def _holds_elements(data: Sequence[Any]) -> bool:
    """Distinguish a list of samples or batches from one sample or batch with its label and boxes."""
    if not data:
        return False
    first = data[0]
    if isinstance(first, Mapping | tuple) or (isinstance(first, list) and are_nested(first)):
        # ({"left": ..., "right": ...}, labels) is one batch, and so is ((left, right), labels).
        return isinstance(data, list) or len(data) == 1 or isinstance(data[1], type(first))
    return isinstance(data, list) and rank_of(first) == 3 and all(rank_of(one) == 3 for one in data)


def _is_sequence_of_batches(data: object) -> TypeGuard[Sequence[Any]]:
    """Return whether data are a `Sequence` of another Keras than the imported one."""
    return all(hasattr(data, name) for name in ("__getitem__", "__len__", "on_epoch_end"))


def _batches_of(data: keras.utils.PyDataset | Sequence[Any]) -> Iterator[Any]:
    count = data.num_batches if isinstance(data, keras.utils.PyDataset) else len(data)
    return (data[i] for i in (itertools.count() if count is None else range(count)))


def is_endless(data: object) -> bool:
    """Return whether data never end."""
    if isinstance(data, tf.data.Dataset):
        return bool(data.cardinality() == tf.data.INFINITE_CARDINALITY)
    return isinstance(data, keras.utils.PyDataset) and data.num_batches is None


def _array(value: object) -> Any:
    if isinstance(value, tf.RaggedTensor):
        return [row.numpy() for row in value]
    if isinstance(value, list | tuple):
        return value
    return value.numpy() if isinstance(value, tf.Tensor) else np.asarray(value)


def _without_padding(given: ArrayLike) -> NDArray[np.float32]:
    boxes = np.asarray(given, np.float32)
    boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise KerasxaiError(f"expected boxes (k, 4) of x0, y0, x1, y1 for each image, got {boxes.shape}")
    # kerasxai.data pads batches with rows of -1.
    return boxes[boxes[:, 2] >= 0]


def _real_boxes(given: ArrayLike) -> NDArray[np.bool_]:
    boxes = np.asarray(given, np.float32)
    return boxes[:, 2] >= 0 if boxes.ndim == 2 and boxes.size else np.zeros(len(boxes), np.bool_)


def _form(element: object) -> str:
    if isinstance(element, Mapping):
        return f"a dict of {', '.join(map(str, element)) or 'nothing'}"
    first: Any = element[0] if isinstance(element, tuple | list) and element else element
    return f"{type(element).__name__}" + ("" if are_nested(first) else f" with shape {np.shape(first)}")
