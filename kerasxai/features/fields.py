"""Receptive fields of the units of a layer, read from the traced graph."""

from dataclasses import dataclass

import keras
import tensorflow as tf

from kerasxai.engine.coverage.receptive_field import AxisField, ReceptiveFieldReader
from kerasxai.engine.layers import input_specs
from kerasxai.engine.tracing import build, one_pass_at_a_time
from kerasxai.features.capture import LayerName, traced_output
from kerasxai.features.preprocessed import without_preprocessing
from kerasxai.tools.errors import KerasxaiError


@dataclass(frozen=True)
class ReceptiveField:
    """Receptive field of the units of a map: the unit at row `i` sees `size` rows from `start + i * stride`.

    Attributes:
        layer: The path of the layer.
        size: Height and width in pixels; None along an axis where each unit sees the whole image.
        stride: Pixels from one unit to the next, along rows and columns.
        start: First row and column that the unit at (0, 0) sees; negative within the padding.
        image_size: Height and width of the images, on which the padding depends.
        map_size: Height and width of the map.
    """

    layer: str
    size: tuple[int | None, int | None]
    stride: tuple[int, int]
    start: tuple[int, int]
    image_size: tuple[int, int]
    map_size: tuple[int, int]

    @property
    def offset(self) -> tuple[float, float]:
        """Row and column of the center of the field of the unit at (0, 0); the center of the first pixel is 0."""
        rows, columns = (
            start + ((extent if size is None else size) - 1) / 2
            for start, size, extent in zip(self.start, self.size, self.image_size, strict=True)
        )
        return rows, columns

    def box(self, row: int, column: int, clip: bool = True) -> tuple[int, int, int, int]:
        """Return the field of one unit as a box (x0, y0, x1, y1), x1 and y1 exclusive.

        Args:
            row: Row of the unit in the map.
            column: Column of the unit in the map.
            clip: Whether to clip the box to the image.
        """
        (y0, y1), (x0, x1) = self._interval(0, row, clip), self._interval(1, column, clip)
        return x0, y0, x1, y1

    def _interval(self, axis: int, position: int, clip: bool) -> tuple[int, int]:
        size, extent = self.size[axis], self.image_size[axis]
        if size is None:
            return 0, extent
        first = self.start[axis] + position * self.stride[axis]
        last = first + size
        return (min(max(first, 0), extent), max(min(last, extent), 0)) if clip else (first, last)


def receptive_field(
    model: keras.Model, layer: LayerName = None, image_size: int | tuple[int, int] | None = None, gates: bool = True
) -> ReceptiveField:
    """Compute the exact receptive field of the units of a layer, in any model, including nested and subclassed ones.

    The field is propagated through each operation between image and layer (Araujo et al., Computing Receptive Fields of
    Convolutional Neural Networks, Distill 2019, https://distill.pub/2019/computing-receptive-fields). It is the
    smallest rectangle with all pixels that a unit depends on; pixels within it may have no influence, as with dilated
    convolutions. Difference from the article: unsupported operations raise an error instead of being skipped.

    Args:
        model: Any Keras model.
        layer: A path, name or layer; None: the last feature map.
        image_size: Side or (height, width) of the images, for models of any input size; padding depends on it.
        gates: Whether units that are multiplied by a summary of the whole image, as in squeeze and excitation, see the
            whole image. False ignores such factors.

    Raises:
        KerasxaiError: The output of the layer is not a map, the image size is unknown, or an operation is not
            supported.

    Example:
        >>> receptive_field(keras.applications.VGG16(weights=None, include_top=False), "block5_conv3", 224).size
        (196, 196)
    """
    height, width, channels = _shape(model, image_size)
    found: list[ReceptiveField] = []

    def trace(images: tf.Tensor) -> tf.Tensor:
        with without_preprocessing():
            path, output = _inlined_output(model, layer, images)
        if output.shape.rank != 4 or None in output.shape[1:3]:
            raise KerasxaiError(
                f"expected a layer with a map of known height and width, got {tuple(output.shape)} from {path!r}"
            )
        fields = ReceptiveFieldReader(images, gates).read(output)
        if fields is None:
            raise KerasxaiError(f"expected a layer that depends on the image, got {path!r}")
        rows, columns = fields.rows, fields.columns
        found.append(
            ReceptiveField(
                layer=path,
                size=(_size(rows), _size(columns)),
                stride=(_stride(rows, height), _stride(columns, width)),
                start=(rows.first if rows else 0, columns.first if columns else 0),
                image_size=(height, width),
                map_size=tuple(output.shape[1:3]),
            )
        )
        return output

    build(model, tf.zeros((1, height, width, channels)))
    spec = tf.TensorSpec((None, height, width, channels), tf.float32)
    tf.function(trace, autograph=False).get_concrete_function(spec)
    return found[0]


@one_pass_at_a_time
def _inlined_output(model: keras.Model, layer: LayerName, images: tf.Tensor) -> tuple[str, tf.Tensor]:
    """Return a traced output with functions inside layers inlined: Keras compiles grouped convolutions as functions.

    The setting is global, so only one thread may change it at a time.
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


def _shape(model: keras.Model, image_size: int | tuple[int, int] | None) -> tuple[int, int, int]:
    """Return height, width and channels of the images of a model."""
    spec = input_specs(model)
    shape = tuple(spec.shape[1:]) if isinstance(spec, tf.TensorSpec) and spec.shape.rank == 4 else (None, None, 3)
    # Channels first.
    if shape[0] in (1, 3) and shape[2] not in (1, 3):
        shape = (*shape[1:], shape[0])
    given = (image_size, image_size) if isinstance(image_size, int) else image_size
    height, width = (own or size for own, size in zip(shape[:2], given or (None, None), strict=True))
    if height is None or width is None:
        raise KerasxaiError(
            f"expected image_size for the model {model.name!r} of any input size, got None; give image_size, because "
            "padding depends on it"
        )
    if given is not None and (height, width) != tuple(given):
        raise KerasxaiError(
            f"image_size must be {height} x {width}, the input size of the model {model.name!r}, got {given}"
        )
    return height, width, shape[2] or 3
