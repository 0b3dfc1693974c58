"""The method on enlarged images, whatever size the model was built for."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai.engine.keras_internals import INPUT_CHECK
from kerasxai.engine.layers import walk
from kerasxai.engine.tracing import intercepted, skipped
from kerasxai.refinements.averages import resized
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import real


@contextlib.contextmanager
def of_any_size(model: Any) -> Iterator[None]:
    """Lets a model take images of other sizes than it was built for, for the length of a block.

    Convolutions and global pooling do not ask how large a map is; only the record of the size that a functional model
    was built with does.

    Args:
        model: Any Keras model.
    """
    with contextlib.ExitStack() as stack:
        for layer in (model, *(layer for _, layer in walk(model))):
            if isinstance(layer, keras.Model):
                stack.enter_context(intercepted(layer, skipped, INPUT_CHECK))
        yield


def enlarge(
    view: Any, explain: Any, images: NDArray, targets: NDArray, *, factors: Any = (1.5, 2.0)
) -> NDArray[np.float32]:
    """The mean of the heatmaps of the image enlarged by factors, each brought to the same maximum.

    A map of stride 32 has 7 x 7 places at 224 pixels and 14 x 14 at 448, where each sees half as much of the object: a
    box around what is above a low threshold hugs the object more closely, and small objects are no longer smaller than
    what a place stands for.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        explain: The method, which asks that view.
        images: `(N, H, W, C)`.
        targets: `(N,)` classes.
        factors: Sizes as multiples of the image's.

    Returns:
        `(N, H, W)` float32, with the maximum of the heatmap of the first factor.

    Raises:
        KerasxaiError: A factor is no positive number, or the model takes images of one size only.

    Example:
        >>> kerasxai.Explainer(model, "cam", refine="enlarge:factors=2")(images).heatmaps

    Paper: Ahn et al. 2019, "Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations",
    arXiv:1904.05044, average CAMs over sizes. Departure: larger sizes only, and for models built for one size as well.
    """
    sizes = [real("factors", f, above=0) for f in np.atleast_1d(np.asarray(factors, object)).tolist()]
    if not sizes:
        raise KerasxaiError("factors must be one number above 0 or several, not none")
    maps = [_at_size(view, explain, images, targets, factor) for factor in sizes]
    highest = [one.max((1, 2), keepdims=True) for one in maps]
    scaled = [
        one * np.divide(highest[0], own, out=np.ones_like(own), where=(own > 0) & (highest[0] > 0))
        for one, own in zip(maps, highest, strict=True)
    ]
    return np.mean(scaled, axis=0, dtype=np.float32)


def _at_size(view: Any, explain: Any, images: NDArray, targets: NDArray, factor: float) -> NDArray[np.float32]:
    with enlarged(view, images, factor) as scaled:
        return resized(explain(scaled, targets), images.shape[1:3])


@contextlib.contextmanager
def enlarged(view: Any, images: NDArray, factor: float) -> Iterator[NDArray]:
    """Gives enlarged images, and for the length of a block a view that takes them.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(N, H, W, C)`.
        factor: The new size as a multiple of the images'.

    Raises:
        KerasxaiError: The model takes images of one size only, or other inputs as well.
    """
    height, width = images.shape[1:3]
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    if size == (height, width):
        yield images
        return
    if view.layout is not None or view.channels_first:
        raise KerasxaiError("the size can be changed of models that take images alone, (N, H, W, C)")
    try:
        with view.altering(("size", size), lambda: of_any_size(view.model), any_size=True):
            yield resized(images, size)
    except (ValueError, TypeError) as error:
        if isinstance(error, KerasxaiError):
            raise
        raise KerasxaiError(f"the model {view.model.name!r} takes images of {height} x {width} pixels only") from error
