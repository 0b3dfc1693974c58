"""The formats that a model can be exported to. Nothing here imports TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass

from kerasxai.tools.errors import KerasxaiError, unknown


@dataclass(frozen=True)
class ExportFormat:
    """One row of FORMATS.

    Attributes:
        name: The name for `kerasxai.models.export`.
        keras_name: The name for `keras.Model.export`.
        suffix: The suffix of the file; empty for a folder.
        packages: The packages that Keras' exporter and the check need.
    """

    name: str
    keras_name: str
    suffix: str
    packages: Sequence[str] = ()


FORMATS: dict[str, ExportFormat] = {
    "onnx": ExportFormat("onnx", "onnx", ".onnx", ("onnx", "tf2onnx", "onnxruntime")),
    "tflite": ExportFormat("tflite", "litert", ".tflite"),
    "savedmodel": ExportFormat("savedmodel", "tf_saved_model", ""),
}


def format_of(name: str | None, suffix: str) -> ExportFormat:
    """Return a format by its name, or by the suffix of the file.

    Raises:
        KerasxaiError: The name is unknown, or the file has the suffix of another format.

    Example:
        >>> format_of(None, ".onnx").name
        'onnx'
    """
    by_suffix = {row.suffix: row for row in FORMATS.values()}
    if name is None:
        return by_suffix.get(suffix.lower(), FORMATS["savedmodel"])
    if name not in FORMATS:
        raise unknown("format", name, FORMATS)
    row = FORMATS[name]
    if row.suffix and suffix.lower() != row.suffix:
        raise KerasxaiError(f"the path of format {name} must end in {row.suffix}, got {suffix or 'no suffix'}")
    if not row.suffix and suffix.lower() in by_suffix and suffix:
        raise KerasxaiError(f"the folder of format {name} must not end in the suffix of another format, got {suffix}")
    return row
