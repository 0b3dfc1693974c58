"""Running an exported model, to compare it with the model that it was made from."""

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Outputs: TypeAlias = dict[str, NDArray[np.float32]]
"""The outputs of a model by name."""
Runner: TypeAlias = Callable[[NDArray[np.float32]], Outputs]


def runner_of(path: Path, format: str) -> Runner:
    """Return a function from a batch of images to the outputs of an exported model.

    Args:
        path: The file or folder.
        format: A name in FORMATS.
    """
    return {"onnx": _onnx, "tflite": _tflite, "savedmodel": _saved_model}[format](path)


def _onnx(path: Path) -> Runner:
    import onnxruntime

    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(None, {image.name: images}), strict=True))


def _tflite(path: Path) -> Runner:
    with warnings.catch_warnings():
        # It recommends a package of the same code.
        warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
        interpreter = tf.lite.Interpreter(model_path=os.fspath(path))
    function = interpreter.get_signature_runner()
    (image,) = function.get_input_details()
    return lambda images: _arrays(function(**{image: images}))


def _saved_model(path: Path) -> Runner:
    loaded = tf.saved_model.load(os.fspath(path))
    signature = loaded.signatures["serving_default"]
    (image,) = signature.structured_input_signature[1]

    def run(images: NDArray[np.float32]) -> Outputs:
        # A signature does not keep the model of its variables in memory.
        assert loaded is not None
        return _arrays({name: value.numpy() for name, value in signature(**{image: tf.constant(images)}).items()})

    return run


def _arrays(outputs: Mapping[str, NDArray[np.float32]]) -> Outputs:
    return {name: np.asarray(value) for name, value in outputs.items()}
