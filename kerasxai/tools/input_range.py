"""Preprocessing of pixels in [0, 255] for models that do not rescale their inputs themselves."""

import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kerasxai.tools.errors import KerasxaiError, KerasxaiWarning
from kerasxai.tools.lazy import imported_function

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Any: NumPy arrays or tensors, as in the functions of `keras.applications`.
Preprocess = Callable[[Any], Any]

# Mean and standard deviation of ImageNet, in RGB, as in keras.applications.imagenet_utils.preprocess_input.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)


def _caffe(images: Any) -> Any:
    return _colors(images)[..., ::-1] - _float32(_CAFFE_MEAN)


def _imagenet(images: Any) -> Any:
    return (_colors(images) / 255.0 - _float32(_MEAN)) / _float32(_DEVIATION)


def _float32(values: tuple[float, ...]) -> "NDArray[np.float32]":
    import numpy as np  # Only here, so that commands answer `--help` without NumPy.

    return np.array(values, np.float32)


# Only arithmetic, so that the functions work on NumPy arrays and on tensors.
RANGES: dict[str, Preprocess] = {
    "0,255": lambda images: images,
    "0,1": lambda images: images / 255.0,
    "-1,1": lambda images: images / 127.5 - 1.0,
    "caffe": _caffe,
    "imagenet": _imagenet,
}
"""Functions of float32 images `(N, H, W, C)` in [0, 255], channels last, by name."""

RANGE_HELP = (
    f"what the model takes in place of pixels in [0, 255]: {', '.join(RANGES)}, or a function MODULE:FUNCTION that is "
    "imported from the current directory and makes it of images (N, H, W, C); imagenet: mean and deviation of torch's "
    "models; caffe: BGR without the mean (default: 0,255, with a warning where the model shows no rescaling of its own)"
)


def _colors(images: Any) -> Any:
    if images.shape[-1] != 3:
        raise KerasxaiError(
            f"expected images of 3 channels for this input range, got {images.shape[-1]}; choose another"
        )
    return images


def preprocessing(given: str | Preprocess | None) -> Preprocess:
    """Return the preprocessing function of an input range.

    Args:
        given: A name in RANGES, `"module:function"`, or a function; None: the images stay in [0, 255].

    Raises:
        KerasxaiError: The name is unknown, the module cannot be imported, or the object is not a function.

    Example:
        >>> preprocessing("0,1")(np.float32([0, 255])).tolist()
        [0.0, 1.0]
    """
    if given is None:
        return RANGES["0,255"]
    if callable(given):
        return given
    if not isinstance(given, str):
        raise KerasxaiError(f"preprocess must be a name or a function, got {type(given).__name__}")
    name = given.replace(" ", "")
    if name in RANGES:
        return RANGES[name]
    if ":" not in name:
        raise KerasxaiError(
            f"expected a known input range, got {given!r}; there are 0,1 for pixels / 255, -1,1 for pixels / 127.5 - 1,"
            " imagenet, caffe, 0,255 for pixels that are not changed, and module:function"
        )
    return imported_function(name, "input range")


def name_of_range(given: str | Preprocess | None) -> str:
    """Return the name of an input range as written to the files of a run."""
    if given is None:
        return "0,255"
    if isinstance(given, str):
        return given.replace(" ", "")
    return f"{getattr(given, '__module__', '?')}:{getattr(given, '__qualname__', type(given).__name__)}"


def source_of_range(name: str) -> str | None:
    """Return the file of the module of an input range `"module:function"`; None for the others."""
    module = sys.modules.get(name.partition(":")[0]) if ":" in name else None
    return getattr(module, "__file__", None)


class ConvertedImagesWarning(KerasxaiWarning):
    """Images that are to be preprocessed are no pixels in [0, 255]."""


def _warn_of_converted(images: "NDArray[np.float32]") -> None:
    """Warn of images that were preprocessed already."""
    if not images.size:
        return
    lowest, highest = float(images.min()), float(images.max())
    # Fractions up to 1: an image of pixels would be black.
    if lowest < 0 or (highest <= 1 and (images % 1).any()):
        warnings.warn(
            f"expected images in [0, 255] to preprocess, got values in [{lowest:.3g}, {highest:.3g}]; leave out the "
            "range (preprocess=) for images that are preprocessed already",
            ConvertedImagesWarning,
            stacklevel=2,
        )


def preprocessed(function: Preprocess, images: "NDArray[Any]") -> "NDArray[np.float32]":
    """Preprocess images in [0, 255] and check the result.

    Args:
        function: Takes and returns images `(N, H, W, C)`.
        images: `(N, H, W, C)`, not modified.

    Returns:
        float32 of the same shape.

    Raises:
        KerasxaiError: The function fails, or returns another shape, or values that are not finite real numbers.
    """
    import numpy as np

    # A copy, because keras.applications.*.preprocess_input changes an array of floats in place.
    given = np.array(images, np.float32)
    if function is not RANGES["0,255"]:
        _warn_of_converted(given)
    try:
        made = np.asarray(function(given))
    except KerasxaiError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise KerasxaiError(f"cannot preprocess images: {type(error).__name__}: {reason}") from error
    if made.shape != given.shape:
        raise KerasxaiError(f"expected preprocessed images of shape {given.shape}, got {made.shape}")
    if made.dtype.kind not in "fiub" and not np.can_cast(made.dtype, np.float32):
        raise KerasxaiError(f"expected preprocessed images of real numbers, got {made.dtype}")
    # Copied only if needed: copies of whole batches take as long as reading their files.
    made = np.require(made, np.float32, "W")
    if not np.isfinite(made).all():
        raise KerasxaiError("expected preprocessed images of finite numbers, got NaN or infinity")
    return made
