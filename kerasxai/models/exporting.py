"""Export of a model as ONNX, TensorFlow Lite or SavedModel by Keras' exporters, checked before it is kept."""

import contextlib
import importlib.util
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from kerasxai.engine.images.image_input import image_input
from kerasxai.engine.layers import walk
from kerasxai.models.acol import ACoLHead
from kerasxai.models.export_formats import ExportFormat, format_of
from kerasxai.models.exported import Outputs, runner_of
from kerasxai.models.loading import check_image_model
from kerasxai.models.names import class_names
from kerasxai.tools.error_reasons import reason
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import cannot, write_json

PREDICTIONS, MAPS = "predictions", "maps"
TOLERANCE = 1e-4
"""How far the outputs of an exported model may be from those of the model, as a share of the largest output or 1."""
_HALF_TOLERANCE = 1e-2
# Of the checked batches; several, because an exported model may be fixed to the batch that it was traced with.
_BATCHES = (1, 3)


@dataclass(frozen=True)
class Exported:
    """A checked export.

    Attributes:
        path: The file, or the folder of a SavedModel.
        format: A name in `kerasxai.models.export_formats.FORMATS`.
        outputs: Name -> shape without the batch; the class maps are called `maps`.
        images: How many images the outputs were compared on.
        difference: The largest difference to the outputs of the model, as a share of the largest output or 1.
        tolerance: The largest difference that is kept.
    """

    path: Path
    format: str
    outputs: dict[str, tuple[int | None, ...]]
    images: int
    difference: float
    tolerance: float


def export(
    model: keras.Model, path: str | os.PathLike[str], format: str | None = None, *, maps: bool = True
) -> Exported:
    """Export a model by `keras.Model.export`, and keep the file only if its outputs equal those of the model.

    A classifier from `build_classifier` gets a second output: `maps`, the class activation maps `(B, h, w, C)` of all
    classes at the size of the last feature map, next to `predictions`. On the heads `gap`, `conv1x1` and `spg` their
    means over the positions are the logits, apart from the bias of `gap`; on `acol` they are the fused maps of both
    branches in [0, 1], of which the second is without the regions of the predicted class. Class names, the images that
    the model takes and the check are written to `PATH.json`.

    The check compares noise and smooth images, in batches of different sizes. The tolerance is 1e-4 of the largest
    output or of 1, and 1e-2 for a model that computes in half precision.

    Args:
        model: A model of images `(B, H, W, C)`.
        path: The file, or the folder of a SavedModel; must not exist.
        format: `"onnx"`, `"tflite"` or `"savedmodel"`; None: by the suffix, `"savedmodel"` without a known one.
        maps: Whether the class maps are a second output, if the model has a head with class maps.

    Returns:
        What was written.

    Raises:
        KerasxaiError: The path exists, a package is missing, the model cannot be exported, or its outputs differ.

    Example:
        >>> model = build_classifier("EfficientNetLite0", 8, head="conv1x1")
        >>> export(model, "model.onnx").outputs
        {'predictions': (8,), 'maps': (7, 7, 8)}
    """
    path = Path(path)
    row = format_of(format, path.suffix)
    _check_packages(row)
    record = path.with_name(path.name + ".json")
    for one in (path, record):
        if one.exists():
            raise KerasxaiError(f"expected a new path for an exported model, got {one}, which exists; choose another")
    check_image_model(model, classes=False)
    outputs = getattr(model, "outputs", None) or []
    if len(outputs) > 1 and not isinstance(model.output, dict):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in outputs)
        raise KerasxaiError(f"expected a model with one output or a dict of outputs, got outputs of {shapes}")
    with_maps = with_class_maps(model) if maps else None
    exported_model = model if with_maps is None else with_maps
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In the folder of the path, so that the rename is atomic.
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=path.parent) as folder:
            written = Path(folder, path.name)
            _write(exported_model, written, row)
            found = _checked(exported_model, written, row, path)
            written.rename(path)
    except OSError as error:
        raise cannot("write", path, error) from error
    write_json(record, _record(model, found))
    return found


def _check_packages(row: ExportFormat) -> None:
    missing = [name for name in row.packages if importlib.util.find_spec(name) is None]
    if missing:
        raise KerasxaiError(
            f"cannot export to {row.name}: {', '.join(missing)} not installed; run pip install 'kerasxai[{row.name}]'"
        )


def with_class_maps(model: keras.Model) -> keras.Model | None:
    """Return a classifier from `build_classifier` with its class maps as a second output; None for another model.

    Args:
        model: A classifier; the new model shares its layers.

    Returns:
        A model with the outputs `predictions` and `maps`, float32; see `export`.

    Example:
        >>> with_class_maps(build_classifier("EfficientNetLite0", 8)).output["maps"].shape
        (None, 7, 7, 8)
    """
    layers = {layer.name: layer for layer in getattr(model, "layers", [])}
    last, head = layers.get("predictions"), layers.get("acol")
    if last is None or not hasattr(last, "class_names") or len(model.inputs) != 1:
        return None
    predictions = model.output
    if isinstance(head, ACoLHead):
        logits, maps = _ACoLOutputs(head, name="acol_with_maps")(head.input)
        predictions = last(logits)
    elif isinstance(layers.get("logits"), keras.layers.GlobalAveragePooling2D):
        maps = layers["logits"].input
    elif isinstance(layers.get("logits"), keras.layers.Dense) and "avg_pool" in layers:
        maps = _WeightedMaps(layers["logits"], name="class_maps")(layers["avg_pool"].input)
    else:
        return None
    outputs = {PREDICTIONS: predictions, MAPS: ops.cast(maps, "float32")}
    return keras.Model(model.inputs[0], outputs, name=model.name)


class _ACoLOutputs(keras.layers.Layer):
    """The logits of an ACoL head and its fused class maps."""

    def __init__(self, head: ACoLHead, **kwargs: Any) -> None:
        super().__init__(**kwargs, dtype=head.dtype_policy)
        self.head = head

    def call(self, features: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        return self.head.logits_and_maps(features)

    def compute_output_spec(self, features: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        classes = self.head.num_classes
        logits = keras.KerasTensor((features.shape[0], classes), dtype="float32")
        return logits, keras.KerasTensor((*features.shape[:-1], classes), dtype="float32")


class _WeightedMaps(keras.layers.Layer):
    """Features weighted by the weights of each class, Zhou et al. (2016, arXiv:1512.04150)."""

    def __init__(self, dense: keras.layers.Dense, **kwargs: Any) -> None:
        super().__init__(**kwargs, dtype="float32")
        self.dense = dense

    def call(self, features: keras.KerasTensor) -> keras.KerasTensor:
        return ops.matmul(features, self.dense.kernel)


def _write(model: keras.Model, path: Path, row: ExportFormat) -> None:
    """Write a model by Keras' exporter, without what the converters print."""
    try:
        with _quiet():
            # Keras exports models that were called once.
            _outputs_of(model, next(_check_images(model)))
            model.export(os.fspath(path), format=row.keras_name, verbose=False)
    except (KerasxaiError, OSError, MemoryError):
        raise
    except Exception as error:  # The converters of each format raise errors of their own.
        raise KerasxaiError(f"cannot export {model.name!r} to {row.name}: {reason(error)}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep warnings and messages of converters and runtimes off the terminal; they are about their own internals."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _without_stderr():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Redirect the descriptor of stderr, to which compiled code writes, to the null device."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _checked(model: keras.Model, written: Path, row: ExportFormat, path: Path) -> Exported:
    """Compare the outputs of a written model with those of the model.

    Raises:
        KerasxaiError: They differ, or the written model cannot be run.
    """
    half = any("float16" in str(layer.compute_dtype) for _, layer in walk(model))
    tolerance = _HALF_TOLERANCE if half else TOLERANCE
    difference, count = 0.0, 0
    try:
        with _quiet():
            run = runner_of(written, row.name)
            for images in _check_images(model):
                expected, got = _outputs_of(model, images), run(images)
                difference = max(difference, _difference(expected, got, model.name))
                count += len(images)
    except (KerasxaiError, MemoryError):
        raise
    except Exception as error:  # The runtimes of each format raise errors of their own.
        raise KerasxaiError(f"cannot run {model.name!r} exported to {row.name}: {reason(error)}") from error
    if not difference <= tolerance:
        raise KerasxaiError(
            f"expected outputs of {model.name!r} in {row.name} within {tolerance:g} of the model's, got a difference "
            f"of {difference:.2g}; nothing was kept"
        )
    shapes = {name: tuple(value.shape[1:]) for name, value in expected.items()}
    return Exported(path, row.name, shapes, count, difference, tolerance)


def _check_images(model: keras.Model) -> Iterator[NDArray[np.float32]]:
    """Yield batches of images as the model takes them, in [0, 255] and in [0, 1]."""
    taken = image_input(model)
    random = np.random.default_rng(0)
    height, width = taken.size
    for scale in (255, 1):
        for count in _BATCHES:
            coarse = random.random((count, 4, 4, taken.channels), np.float32)
            smooth = coarse.repeat(-(-height // 4), 1)[:, :height].repeat(-(-width // 4), 2)[:, :, :width]
            noise = random.random((count, height, width, taken.channels), np.float32)
            images = np.float32(scale) * (0.7 * smooth + 0.3 * noise)
            yield np.ascontiguousarray(np.moveaxis(images, -1, 1)) if taken.channels_first else images


def _outputs_of(model: keras.Model, images: NDArray[np.float32]) -> Outputs:
    outputs = model(images, training=False)
    named = outputs if isinstance(outputs, dict) else {PREDICTIONS: keras.tree.flatten(outputs)[0]}
    return {name: np.asarray(ops.convert_to_numpy(value), np.float32) for name, value in named.items()}


def _difference(expected: Outputs, got: Outputs, name: str) -> float:
    # A single output has the name that the exporter chose.
    if len(expected) == len(got) == 1:
        pairs = list(zip(expected.values(), got.values(), strict=True))
    elif expected.keys() == got.keys():
        pairs = [(expected[key], got[key]) for key in expected]
    else:
        raise KerasxaiError(f"expected outputs {', '.join(expected)} of exported {name!r}, got {', '.join(got)}")
    return max(_relative(first, second) for first, second in pairs)


def _relative(expected: NDArray[np.float32], got: NDArray[np.float32]) -> float:
    if expected.shape != got.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(expected - got).max() / max(1.0, float(np.abs(expected).max())))


def _record(model: keras.Model, found: Exported) -> dict[str, Any]:
    taken = image_input(model)
    return {
        **{name: value for name, value in asdict(found).items() if name != "path"},
        "inputs": {"height": taken.size[0], "width": taken.size[1], "channels": taken.channels, "fit": taken.fit},
        "class_names": class_names(model),
    }
