"""Which pixels a unit of a layer can see, read off the traced graph."""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from kerasxai.engine.coverage.receptive_field import AxisField, ReceptiveFieldReader
from kerasxai.engine.layers import input_specs
from kerasxai.engine.tracing import build, one_pass_at_a_time
from kerasxai.features.capture import traced_output
from kerasxai.features.preprocessed import without_preprocessing
from kerasxai.tools.errors import KerasxaiError


@dataclass(frozen=True)
class ReceptiveField:
    """The pixels that the units of a map see: the unit at row `i` sees rows `start + i * stride` to that plus `size`.

    Attributes:
        layer: The layer's path.
        size: Height and width in pixels; None along an axis where each unit sees all of the image.
        stride: Pixels from one unit to the next, by rows and columns.
        start: First row and column that the unit at (0, 0) sees; below 0 it looks beyond the edge, into the padding.
        image_size: Height and width of the images it was found for; padding depends on them.
        map_size: Height and width of the layer's map.
    """

    layer: str
    size: tuple[int | None, int | None]
    stride: tuple[int, int]
    start: tuple[int, int]
    image_size: tuple[int, int]
    map_size: tuple[int, int]

    @property
    def offset(self) -> tuple[float, float]:
        """Row and column of the middle of what the unit at (0, 0) sees; the middle of the first pixel is 0."""
        rows, columns = (
            start + ((extent if size is None else size) - 1) / 2
            for start, size, extent in zip(self.start, self.size, self.image_size, strict=True)
        )
        return rows, columns

    def box(self, row: int, column: int, clip: bool = True) -> tuple[int, int, int, int]:
        """Return what the unit at a place of the map sees, as (x0, y0, x1, y1), x1 and y1 exclusive.

        Args:
            row: Of the map.
            column: Of the map.
            clip: Whether what lies beyond the image's edges is cut off.
        """
        spans = []
        for i, place in enumerate((row, column)):
            size, extent = self.size[i], self.image_size[i]
            if size is None:
                spans.append((0, extent))
                continue
            first = self.start[i] + place * self.stride[i]
            last = first + size
            spans.append((min(max(first, 0), extent), max(min(last, extent), 0)) if clip else (first, last))
        (y0, y1), (x0, x1) = spans
        return x0, y0, x1, y1


def receptive_field(
    model: Any, layer: Any = None, image_size: int | tuple[int, int] | None = None, gates: bool = True
) -> ReceptiveField:
    """Find the exact receptive field of a layer's units, in any model, nested and subclassed ones too.

    Each operation between image and layer says which of its inputs an output looks at (Araujo et al., Computing
    Receptive Fields of Convolutional Neural Networks, Distill 2019, https://distill.pub/2019/computing-receptive-fields).
    The field is the smallest rectangle that holds all pixels a unit depends on; pixels within need not matter, as
    behind dilated convolutions. Other than there, an operation that cannot be read is an error and never a guess.

    Args:
        model: Any Keras model.
        layer: A path, name or layer; None takes the last feature map.
        image_size: Side or (height, width) of the images, for models that take any; padding depends on it.
        gates: Whether a unit that is multiplied by a summary of the whole image, as squeeze and excitation does, sees
            the whole image. False leaves such factors out, so that what remains is the place it looks at.

    Raises:
        KerasxaiError: The layer gives no map, the model does not know its image size, or an operation on the way
            cannot be read.

    Example:
        >>> receptive_field(keras.applications.VGG16(weights=None, include_top=False), "block5_conv3", 224).size
        (196, 196)
    """
    height, width, channels = _shape(model, image_size)
    found: dict[str, Any] = {}

    def trace(images: Any) -> Any:
        with without_preprocessing():
            path, output = _inlined_output(model, layer, images)
        if output.shape.rank != 4 or None in output.shape[1:3]:
            raise KerasxaiError(f"layer {path!r} gives {tuple(output.shape)}, not a map of known height and width")
        spans = ReceptiveFieldReader(images, gates).read(output)
        if spans is None:
            raise KerasxaiError(f"layer {path!r} does not depend on the image")
        found.update(path=path, spans=spans, map_size=tuple(output.shape[1:3]))
        return output

    build(model, tf.zeros((1, height, width, channels)))
    spec = tf.TensorSpec((None, height, width, channels), tf.float32)
    tf.function(trace, autograph=False).get_concrete_function(spec)
    rows, columns = found["spans"].rows, found["spans"].columns
    return ReceptiveField(
        found["path"],
        (_size(rows), _size(columns)),
        (_stride(rows, height), _stride(columns, width)),
        (rows.first if rows else 0, columns.first if columns else 0),
        (height, width),
        found["map_size"],
    )


@one_pass_at_a_time
def _inlined_output(model: Any, layer: Any, images: Any) -> tuple[str, Any]:
    """Trace functions inside layers in place; Keras compiles grouped convolutions as a function of their own.

    The setting holds for all threads, so that only one of them may change it at a time.
    """
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        return traced_output(model, layer, images)
    finally:
        tf.config.run_functions_eagerly(before)


def _size(field: AxisField | None) -> int | None:
    return None if field is None else field.last - field.first + 1


def _stride(field: AxisField | None, extent: int) -> int:
    return extent if field is None else field.stride


def _shape(model: Any, image_size: int | tuple[int, int] | None) -> tuple[int, int, int]:
    spec = input_specs(model)
    shape: Any = tuple(spec.shape[1:]) if isinstance(spec, tf.TensorSpec) and spec.shape.rank == 4 else (None, None, 3)
    if shape[0] in (1, 3) and shape[2] not in (1, 3):
        shape = (*shape[1:], shape[0])
    wanted: Any = (image_size, image_size) if isinstance(image_size, int) else image_size or (None, None)
    sides: Any = tuple(own or given for own, given in zip(shape[:2], wanted, strict=True))
    if None in sides:
        raise KerasxaiError(
            f"the model {model.name!r} takes images of any size, and padding depends on it: give image_size"
        )
    if any(given not in (None, own) for own, given in zip(shape[:2], wanted, strict=True) if own):
        raise KerasxaiError(f"the model {model.name!r} takes images of {shape[0]} x {shape[1]}, not {wanted}")
    return sides[0], sides[1], shape[2] or 3
