"""The inputs of a model: which of several is explained, how they fit together, and checks of their shapes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.tools.errors import KerasxaiError

Inputs: TypeAlias = "tf.Tensor | NDArray[Any] | Sequence[Inputs] | Mapping[str, Inputs] | None"
"""What a model is called with: one array, or a list, tuple or dict of them, also nested."""
InputName: TypeAlias = "int | str | Sequence[int | str] | None"
"""One of several inputs: its path or name, its index, or None for the only one that can be meant."""
Specs: TypeAlias = "tf.TensorSpec | Sequence[Specs] | Mapping[str, Specs] | None"
"""The specs of a model's inputs, in their structure; None where the model has none."""

_KINDS = {2: "tokens (N, T)", 3: "a series (N, T, C)", 4: "images (N, H, W, C)", 5: "volumes (N, D, H, W, C)"}


@dataclass(frozen=True)
class InputLayout:
    """The structure of a model's inputs, and which of them is explained.

    Attributes:
        template: The structure, with the number of each input in its place; None stays None.
        paths: Each input's path, such as `"question"`, `"0"` or `"scene/image"`.
        explained: The number of the explained one.
    """

    template: Inputs
    paths: tuple[str, ...]
    explained: int

    @property
    def key(self) -> tuple[Any, ...]:
        """What a trace depends on, hashable."""
        return (repr(self.template), self.explained)

    def join(self, images: tf.Tensor, other_inputs: Sequence[tf.Tensor]) -> Inputs:
        """Returns the inputs of the model from the explained one and the other ones, in their order."""
        flat = [*other_inputs[: self.explained], images, *other_inputs[self.explained :]]
        return tf.nest.map_structure(lambda i: None if i is None else flat[i], self.template)


def split_inputs(
    given: Inputs, specs: Specs, names: Sequence[str], image_input: InputName = None
) -> tuple[InputLayout | None, NDArray[Any], list[NDArray[Any]]]:
    """Splits the inputs that a user gives into the explained one and the other ones.

    Args:
        given: An array, or a list, tuple or dict of them, also nested. A list counts as several inputs where the model
            has several, or where it has no specs and the items are arrays with a batch axis.
        specs: The specs of the model's inputs, see `kerasxai.engine.layers.input_specs`, or None.
        names: The names of the model's inputs, in their order; empty where it has none.
        image_input: Which input is explained: its path or name, its index, or None for the only one that can be meant.

    Returns:
        The layout, or None for a single input; the explained input; the other inputs, NumPy arrays `(N, ...)`.

    Raises:
        KerasxaiError: No input or several could be meant, or their batches differ.
    """
    if not _are_several(given, specs, image_input):
        if image_input is not None:
            raise KerasxaiError(
                f"expected several inputs to choose image_input={image_input!r} from, got one; omit image_input="
            )
        return None, np.asarray(given), []
    paths, leaves = paths_of(given)
    numbers = iter(range(len(leaves)))
    template = tf.nest.map_structure(lambda x: None if x is None else next(numbers), given)
    arrays = [_array(path, leaf) for path, leaf in zip(paths, leaves, strict=True)]
    names = names if len(names) == len(paths) and not isinstance(given, dict) else paths
    explained = _explained(paths, names, arrays, image_input)
    count = len(arrays[explained])
    rest = [
        _for_each(path, x, count, paths[explained])
        for i, (path, x) in enumerate(zip(paths, arrays, strict=True))
        if i != explained
    ]
    return InputLayout(template, tuple(paths), explained), arrays[explained], rest


def spec_of(layout: InputLayout | None, specs: Specs, names: Sequence[str]) -> tf.TensorSpec | None:
    """Returns the spec of the explained input, or None where the model has none.

    Args:
        layout: The structure of the inputs that were given.
        specs: The specs of the model's inputs.
        names: The names of its inputs, in the same order.
    """
    if layout is None or specs is None or isinstance(specs, tf.TensorSpec):
        return specs if isinstance(specs, tf.TensorSpec) else None
    path, flat = layout.paths[layout.explained], tf.nest.flatten(specs)
    if isinstance(specs, dict) and path in specs:
        return specs[path]
    if path in names:
        return flat[names.index(path)]
    return flat[layout.explained] if len(flat) == len(layout.paths) else None


def _are_several(given: Inputs, specs: Specs, image_input: InputName) -> bool:
    if isinstance(given, dict) or (image_input is not None and isinstance(given, (list, tuple))):
        return True
    if not isinstance(given, (list, tuple)) or not given:
        return False
    if specs is not None:
        return not isinstance(specs, tf.TensorSpec)
    shapes = [np.shape(x) if isinstance(x, (np.ndarray, tf.Tensor)) else None for x in given]
    if None in shapes:
        return any(isinstance(x, dict) for x in given)
    # A list of pictures of one size is a batch; arrays of four dimensions or of several sizes are inputs.
    return len(set(shapes)) > 1 or len(shapes[0] or ()) > 3


def paths_of(given: Inputs, prefix: str = "") -> tuple[list[str], list[Any]]:
    """Returns the paths and the leaves of a list, tuple or dict, also nested, without those that are None."""
    if given is None:
        return [], []
    if not isinstance(given, (dict, list, tuple)):
        return [prefix.rstrip("/")], [given]
    items = sorted(given.items()) if isinstance(given, dict) else enumerate(given)
    parts = [paths_of(value, f"{prefix}{name}/") for name, value in items]
    return [path for paths, _ in parts for path in paths], [leaf for _, leaves in parts for leaf in leaves]


def _array(path: str, given: tf.Tensor | NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(given)
    if array.ndim == 0:
        raise KerasxaiError(f"input {path!r} must have a batch axis, got a single {array.dtype}")
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _explained(paths: Sequence[str], names: Sequence[str], arrays: list[NDArray[Any]], image_input: InputName) -> int:
    listed = ", ".join(
        f"{path!r} {'' if path == name else f'({name}) '}{x.dtype} {x.shape}"
        for path, name, x in zip(paths, names, arrays, strict=True)
    )
    if image_input is not None:
        return _named(paths, names, image_input, listed)
    for rank in (4, 5, 3):
        those = [i for i, x in enumerate(arrays) if x.ndim == rank and x.dtype.kind in "fiub"]
        floating = [i for i in those if arrays[i].dtype.kind == "f" or arrays[i].dtype == np.uint8]
        if len(those) == 1 or len(floating) == 1:
            return floating[0] if floating else those[0]
        if those:
            break
    raise KerasxaiError(
        f"expected one input that can be meant, got {listed}; name the explained one with image_input=, its path, name "
        "or index"
    )


def _named(paths: Sequence[str], names: Sequence[str], image_input: InputName, listed: str) -> int:
    if isinstance(image_input, (int, np.integer)) and not isinstance(image_input, bool):
        if str(image_input) in paths:
            return paths.index(str(image_input))
        if -len(paths) <= image_input < len(paths):
            return int(image_input) % len(paths)
    path = "/".join(map(str, image_input)) if isinstance(image_input, (tuple, list)) else str(image_input)
    found = [i for i, pair in enumerate(zip(paths, names, strict=True)) if path in pair]
    if len(found) != 1:
        raise KerasxaiError(
            f"expected the path, name or index of an input, got {image_input!r}; the inputs are {listed}"
        )
    return found[0]


def _for_each(path: str, array: NDArray[Any], count: int, explained: str) -> NDArray[Any]:
    if len(array) not in (1, count):
        raise KerasxaiError(
            f"expected input {path!r} to have a batch of 1 or {count}, as the explained input {explained!r} has, got "
            f"{len(array)}; give one for each of them, or one for all"
        )
    return np.broadcast_to(array, (count, *array.shape[1:]))


def checked_rank(array: NDArray[Any], spec: tf.TensorSpec | None, name: str = "images") -> NDArray[Any]:
    """Returns the explained input, checked for its shape and dtype.

    Args:
        array: The input.
        spec: The spec of the model's input, or None.
        name: Its name in messages.

    Raises:
        KerasxaiError: Its number of dimensions is wrong, it is empty, or it holds no numbers.
    """
    array = np.asarray(array)
    rank = None if spec is None else spec.shape.rank
    if _lacks_color_axis(array.shape, spec):
        # Keras adds the axis of a single color as well.
        array = array[..., None]
    if array.ndim not in ([rank] if rank is not None else _KINDS):
        takes = _KINDS.get(rank, f"{rank} dimensions") if rank is not None else ", ".join(_KINDS.values())
        raise KerasxaiError(f"{name} must be {takes}, got shape {array.shape}{_missing_axes(array.shape, spec, name)}")
    if len(array) == 0:
        raise KerasxaiError(f"expected images to explain, got {name} of length 0")
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise KerasxaiError(f"{name} must be numbers, got {array.dtype}")
    return array


def _lacks_color_axis(shape: tuple[int, ...], spec: tf.TensorSpec | None) -> bool:
    """Returns whether a batch of gray inputs lacks the axis of its single color, `(N, 28, 28)`."""
    known = None if spec is None else spec.shape
    if known is None or known.rank in (None, 2) or len(shape) != known.rank - 1 or known[-1] != 1:
        return False
    spatial = tuple(known[1:-1])
    fits = all(side in (None, given) for side, given in zip(spatial, shape[1:], strict=True))
    # A single image (28, 28, 1) has as many dimensions; of open spatial only its last one says so.
    return fits and not (shape[-1] == 1 and spatial[-1] != 1)


def _missing_axes(shape: tuple[int, ...], spec: tf.TensorSpec | None, name: str) -> str:
    """Returns how to add the axis that the user may have omitted, or an empty string."""
    single = f"; a single image needs a batch axis: {name}[None]"
    if spec is None:
        return ""
    takes = spec.shape
    colors = 1 if takes[-1] is None else takes[-1]
    for hint, changed in (
        (single, (1, *shape)),
        (f"; gray images need a color axis: {name}[..., None]", (*shape, 1)),
        (f"; gray images need a color axis: {name}[:, None]", (*shape[:1], 1, *shape[1:])),
        (f"; gray images need {colors} colors: np.repeat({name}[..., None], {colors}, -1)", (*shape, colors)),
        (f"; a single gray image needs a batch and a color axis: {name}[None, ..., None]", (1, *shape, 1)),
    ):
        if takes.is_compatible_with((None, *changed[1:])):
            return hint
    # Another size: the next message names it.
    return single if len(shape) == takes.rank - 1 and shape[-1] == takes[-1] else ""
