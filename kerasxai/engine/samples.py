"""What a model takes: one input that is explained, and others that are held as they are.

Methods know images and targets alone. They repeat, cut and tile the targets in step with the images, so that the number
of the sample travels inside the target, and each pass gathers what belongs to its samples.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kerasxai.tools.errors import KerasxaiError

_ROW = 2**32
_KINDS = {2: "tokens (N, T)", 3: "a series (N, T, C)", 4: "images (N, H, W, C)", 5: "volumes (N, D, H, W, C)"}


def packed(targets: Any, rows: Any) -> Any:
    """Returns targets `(B,)` int64 that carry the number of their sample; row 0 alone leaves them as they are."""
    return targets + rows * _ROW


def unpacked(targets: Any) -> tuple[Any, Any]:
    """Returns the classes `(B,)`, -1 and above, and the numbers of the samples `(B,)`, of packed targets."""
    rows = (targets + 1) // _ROW
    return targets - rows * _ROW, rows


def numbered(view: Any, targets: Any) -> Any:
    """Returns the targets of a batch as a view's passes need them: with the numbers of the samples where they gather.

    Whoever asks a view about the images of a batch goes through here, so that every pass gathers under one condition.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        targets: `(B,)` int64, one for each image of the batch, in its order.
    """
    gathers = bool(view.others) or view.wanted is not None
    return packed(targets, np.arange(len(targets))) if gathers else targets


@dataclass(frozen=True)
class Sample:
    """What belongs to the samples of one pass beside their images.

    Attributes:
        classes: `(B,)` int64, -1 for the predicted one.
        rows: `(B,)` int64, their numbers in the explained batch, or None where nothing has to be gathered.
        others: The other inputs, gathered.
        wanted: Targets that are no classes, gathered, or None.
    """

    classes: Any
    rows: Any = None
    others: tuple[Any, ...] = ()
    wanted: Any = None

    @classmethod
    def gathered(cls, targets: Any, held: list[Any], has_wanted: bool) -> "Sample":
        """Returns what belongs to packed targets.

        Args:
            targets: `(B,)` int64.
            held: The other inputs of the whole batch, and last the targets that are no classes, if there are such.
            has_wanted: Whether there are such.
        """
        if not held:
            return cls(targets)
        classes, rows = unpacked(targets)
        mine = [tf.gather(x, rows) for x in held]
        wanted = mine.pop() if has_wanted else None
        return cls(classes, rows, tuple(mine), wanted)


@dataclass(frozen=True)
class Layout:
    """How the inputs of a model lie in their list or dict, and which of them is explained.

    Attributes:
        template: The structure, with each input's number in its place; what is None stays None.
        paths: Each input's path, such as `"question"`, `"0"` or `"scene/image"`.
        explained: The number of the explained one.
    """

    template: Any
    paths: tuple[str, ...]
    explained: int

    @property
    def key(self) -> tuple[Any, ...]:
        """What distinguishes one traced layout from another."""
        return (repr(self.template), self.explained)

    def joined(self, images: Any, others: Any) -> Any:
        """Returns what the model takes, of the explained input and the others in their order."""
        flat = [*others[: self.explained], images, *others[self.explained :]]
        return tf.nest.map_structure(lambda i: None if i is None else flat[i], self.template)


def laid_out(given: Any, specs: Any, names: list[str], image_input: Any = None) -> tuple[Layout | None, Any, list[Any]]:
    """Parts what a user gives a model into the explained input and the others.

    Args:
        given: An array, or a list, tuple or dict of them, also nested. A list counts as several inputs where the model
            has several, or where it says nothing and the items are arrays with a batch of their own.
        specs: What the model says that it takes, see `kerasxai.engine.layers.input_specs`, or None.
        names: The names of the model's inputs, as it orders them; empty where it has none.
        image_input: Which input is explained: its path or name, its index, or None for the only one that can be meant.

    Returns:
        The layout, or None for a single input; the explained input; the others, NumPy arrays `(N, ...)`.

    Raises:
        KerasxaiError: No input or several could be meant, or the inputs do not fit together.
    """
    if not _are_several(given, specs, image_input):
        if image_input is not None:
            raise KerasxaiError(f"image_input={image_input!r} chooses one of several inputs; this model was given one")
        return None, given, []
    paths, leaves = paths_of(given)
    numbers = iter(range(len(leaves)))
    template = tf.nest.map_structure(lambda x: None if x is None else next(numbers), given)
    arrays = [_array(path, leaf) for path, leaf in zip(paths, leaves, strict=True)]
    names = names if len(names) == len(paths) and not isinstance(given, dict) else paths
    explained = _explained(paths, names, arrays, image_input)
    count = len(arrays[explained])
    others = [
        _for_each(path, x, count, paths[explained])
        for i, (path, x) in enumerate(zip(paths, arrays, strict=True))
        if i != explained
    ]
    return Layout(template, tuple(paths), explained), arrays[explained], others


def spec_of(layout: Layout | None, specs: Any, names: list[str]) -> Any:
    """Returns the spec of the explained input, or None where the model does not say what it takes.

    Args:
        layout: How the inputs were given.
        specs: What the model says that it takes.
        names: The names of its inputs in the same order.
    """
    if layout is None or specs is None or isinstance(specs, tf.TensorSpec):
        return specs if isinstance(specs, tf.TensorSpec) else None
    path, flat = layout.paths[layout.explained], tf.nest.flatten(specs)
    if isinstance(specs, dict) and path in specs:
        return specs[path]
    if path in names:
        return flat[names.index(path)]
    return flat[layout.explained] if len(flat) == len(layout.paths) else None


def _are_several(given: Any, specs: Any, image_input: Any) -> bool:
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


def paths_of(given: Any, prefix: str = "") -> tuple[list[str], list[Any]]:
    """Returns the paths and the leaves of a list, tuple or dict, also nested, without what is None."""
    if given is None:
        return [], []
    if not isinstance(given, (dict, list, tuple)):
        return [prefix.rstrip("/")], [given]
    items = sorted(given.items()) if isinstance(given, dict) else enumerate(given)
    parts = [paths_of(value, f"{prefix}{name}/") for name, value in items]
    return [path for paths, _ in parts for path in paths], [leaf for _, leaves in parts for leaf in leaves]


def _array(path: str, given: Any) -> np.ndarray:
    array = np.asarray(given)
    if array.ndim == 0:
        raise KerasxaiError(f"input {path!r} must have a batch axis, it is a single {array.dtype}")
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _explained(paths: list[str], names: list[str], arrays: list[np.ndarray], wanted: Any) -> int:
    listed = ", ".join(
        f"{path!r} {'' if path == name else f'({name}) '}{x.dtype} {x.shape}"
        for path, name, x in zip(paths, names, arrays, strict=True)
    )
    if wanted is not None:
        return _named(paths, names, wanted, listed)
    for rank in (4, 5, 3):
        those = [i for i, x in enumerate(arrays) if x.ndim == rank and x.dtype.kind in "fiub"]
        floating = [i for i in those if arrays[i].dtype.kind == "f" or arrays[i].dtype == np.uint8]
        if len(those) == 1 or len(floating) == 1:
            return floating[0] if floating else those[0]
        if those:
            break
    raise KerasxaiError(f"which input is explained? Say image_input=, the path, name or index of one of {listed}")


def _named(paths: list[str], names: list[str], wanted: Any, listed: str) -> int:
    if isinstance(wanted, (int, np.integer)) and not isinstance(wanted, bool):
        if str(wanted) in paths:
            return paths.index(str(wanted))
        if -len(paths) <= wanted < len(paths):
            return int(wanted) % len(paths)
    path = "/".join(map(str, wanted)) if isinstance(wanted, (tuple, list)) else str(wanted)
    found = [i for i, pair in enumerate(zip(paths, names, strict=True)) if path in pair]
    if len(found) != 1:
        raise KerasxaiError(f"there is no input {wanted!r}; the inputs are {listed}")
    return found[0]


def _for_each(path: str, array: np.ndarray, count: int, explained: str) -> np.ndarray:
    if len(array) not in (1, count):
        raise KerasxaiError(
            f"input {path!r} has a batch of {len(array)}, and {explained!r}, which is explained, one of {count}; "
            f"give one for each of them, or one for all"
        )
    return np.broadcast_to(array, (count, *array.shape[1:]))


def checked_rank(array: np.ndarray, spec: Any, name: str = "images") -> np.ndarray:
    """Returns the explained input, or says what is wrong with its shape or numbers.

    Args:
        array: What the user gave.
        spec: What the model takes there, or None.
        name: How the message calls it.

    Raises:
        KerasxaiError: Its number of dimensions is not what the model takes, it is empty, or it holds no numbers.
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
        raise KerasxaiError(f"there are no images to explain: {name} has length 0")
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise KerasxaiError(f"{name} must be numbers, not {array.dtype}")
    return array


def _lacks_color_axis(shape: tuple[int, ...], spec: Any) -> bool:
    """Returns whether a batch of gray inputs lies without the axis of its single color, `(N, 28, 28)`."""
    known = None if spec is None else spec.shape
    if known is None or known.rank in (None, 2) or len(shape) != known.rank - 1 or known[-1] != 1:
        return False
    sides = tuple(known[1:-1])
    fits = all(side in (None, given) for side, given in zip(sides, shape[1:], strict=True))
    # A single image (28, 28, 1) has as many dimensions; of open sides only its last one says so.
    return fits and not (shape[-1] == 1 and sides[-1] != 1)


def _missing_axes(shape: tuple[int, ...], spec: Any, name: str) -> str:
    """Returns how to put in the axis that the user may have left out, or an empty string."""
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
    # Of another size, as the next message will say.
    return single if len(shape) == takes.rank - 1 and shape[-1] == takes[-1] else ""
