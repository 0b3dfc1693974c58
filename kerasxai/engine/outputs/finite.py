"""Checks for NaN and infinity in inputs, weights, outputs and maps."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai.engine.layers import walk
from kerasxai.tools.errors import NotFiniteError

_HALF = (
    "float16 ends at 65504: load the model under another dtype policy, "
    'keras.config.set_dtype_policy("mixed_bfloat16") or "float32", before it is loaded'
)


def check_inputs(name: str, array: NDArray[Any]) -> None:
    """Checks that inputs are finite numbers.

    Args:
        name: What the message calls them.
        array: `(N, ...)`.

    Raises:
        NotFiniteError: They are not; the message names the first image.
    """
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    first = first_not_finite(array)
    raise NotFiniteError(f"{name} must be finite numbers, got {_bad(array[first])} in image {first}", first)


def first_not_finite(array: NDArray[Any]) -> int:
    """Returns the index of the first row of `(N, ...)` that holds a number that is not finite."""
    return int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(1))[0])


def check_weights(model: object) -> None:
    """Checks that a Keras model's weights are finite numbers.

    Raises:
        NotFiniteError: They are not; the message names the first one.
    """
    for weight in getattr(model, "weights", ()):
        values = np.asarray(weight)
        # NumPy has no bfloat16; its kind is V.
        if values.dtype.kind not in "fV":
            continue
        values = values.astype(np.float32)
        # Masks that are not trained may hold infinity.
        if np.isnan(values).any() or (weight.trainable and not np.isfinite(values).all()):
            name = getattr(weight, "path", None) or weight.name
            raise NotFiniteError(
                f"expected finite weights, got {_bad(values)} in {name!r}; take weights from before training diverged"
            )


def outputs_error(model: object, image: int, what: str = "outputs") -> NotFiniteError:
    """Returns the error for outputs that are not finite, or for weights that are not, which explain it.

    Args:
        model: The model, or a function.
        image: The number of the image.
        what: What is not finite.
    """
    try:
        check_weights(model)
    except NotFiniteError as error:
        return error
    # float16 overflows in layers whose weights are fine.
    layers = [layer for _, layer in walk(model)] if isinstance(model, keras.layers.Layer) else []
    half = any(layer.compute_dtype == "float16" for layer in layers)
    remedy = _HALF if half else "look at this image and at what the model computes of it"
    return NotFiniteError(f"expected finite {what} of the model, got others for image {image}; {remedy}", image)


def check_maps(heatmaps: NDArray[Any], first: int, method: str, settings: dict[str, Any]) -> None:
    """Checks that heatmaps are finite numbers.

    Args:
        heatmaps: `(B, ...)`.
        first: The number of the first image.
        method: The method.
        settings: Layer, options and refinements, for the message; those that are None are left out.

    Raises:
        NotFiniteError: They are not.
    """
    if np.isfinite(heatmaps).all():
        return
    index = first_not_finite(heatmaps)
    described = ", ".join(f"{name}={value!r}" for name, value in settings.items() if value is not None)
    raise NotFiniteError(
        f"expected a finite heatmap, got {_bad(heatmaps[index])} for image {first + index} from {method}"
        + (f" with {described}" if described else "")
        + "; the model's outputs are finite: take another layer or method",
        first + index,
    )


def _bad(values: NDArray[Any]) -> str:
    return "NaN" if np.isnan(values).any() else "infinity"
