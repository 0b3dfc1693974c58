"""The method on enlarged images, whatever size the model was built for."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai.engine.keras_internals import INPUT_CHECK
from kerasxai.engine.layers import walk
from kerasxai.engine.score_model import Alteration
from kerasxai.engine.tracing import intercepted, skipped
from kerasxai.refinements.averages import resized, scaled_to
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import real

if TYPE_CHECKING:
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.traced_model import TracedModel
    from kerasxai.refinements.chain import ModelExplain


FACTORS = (1.5, 2.0)
"""Multiples of the size of training at which images are shown by default."""


@contextlib.contextmanager
def of_any_size(model: keras.Model) -> Iterator[None]:
    """Allow images of other sizes than the model was built for, within a block.

    Convolutions and global pooling work for maps of any size; only the check of a functional model compares the input
    with the size that it was built for.

    Args:
        model: Any Keras model.
    """
    with contextlib.ExitStack() as stack:
        for layer in (model, *(layer for _, layer in walk(model))):
            if isinstance(layer, keras.Model):
                stack.enter_context(intercepted(layer, skipped, INPUT_CHECK))
        yield


def training_share(model: keras.Model) -> float:
    """Return the size of the images that a model was trained on, as a share of the size that it takes.

    Networks recognize an image that is enlarged by some factor of the size of training; a model that takes larger
    images already is to see no larger ones than it would otherwise.

    Args:
        model: Any Keras model; 1 where nothing else was saved with it.
    """
    found = (getattr(layer, "training_size", None) for layer in reversed(getattr(model, "layers", [])))
    trained = next((size for size in found if size is not None), None)
    taken = model.input_shape[1:3] if trained is not None else None
    if trained is None or taken is None or None in taken:
        return 1.0
    return math.sqrt(trained[0] * trained[1] / (taken[0] * taken[1]))


def enlarge(
    model: TracedModel, explain: ModelExplain, batch: Samples, *, factors: float | Sequence[float] | None = None
) -> NDArray[np.float32]:
    """The mean of the heatmaps of enlarged images, each scaled to the same maximum.

    A map of stride 32 has 7 x 7 positions at 224 pixels and 14 x 14 at 448, where each covers half as much of the
    object: a box around the region above a low threshold fits the object more closely, and small objects are no longer
    smaller than a position of the map.

    Args:
        model: The model.
        explain: The method.
        batch: The images and their classes.
        factors: Multiples of the image's size; None: 1.5 and 2, of a model that takes larger images than it was trained
            on, such as those of `kerasxai train`, multiples of the size of training.

    Returns:
        `(N, H, W)` float32, with the maximum of the heatmap of the first factor.

    Raises:
        KerasxaiError: A factor is not a positive number, or the model takes images of one size only.

    Example:
        >>> kerasxai.Explainer(model, "cam", refine="enlarge:factors=2")(images).heatmaps

    Paper: Ahn et al. 2019, "Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations",
    arXiv:1904.05044, average CAMs over sizes. Departure: larger sizes only, and for models built for one size as well.
    """
    if factors is None:
        factors = [one * training_share(model.model) for one in FACTORS]
    sizes = [real("factors", f, above=0) for f in np.atleast_1d(np.asarray(factors, object)).tolist()]
    if not sizes:
        raise KerasxaiError(f"factors must be one number above 0 or several, got {factors!r}")
    maps = [_at_size(model, explain, batch, factor) for factor in sizes]
    # The units of gradient methods depend on the size, so that maxima would otherwise be weights.
    return np.mean([scaled_to(maps[0], one) for one in maps], axis=0, dtype=np.float32)


def _at_size(model: TracedModel, explain: ModelExplain, batch: Samples, factor: float) -> NDArray[np.float32]:
    with enlarged(model, batch, factor) as (larger, scaled):
        return resized(explain(larger, scaled), batch.images.shape[1:3])


@contextlib.contextmanager
def enlarged(model: TracedModel, batch: Samples, factor: float) -> Iterator[tuple[TracedModel, Samples]]:
    """Yield a model that takes images of any size, and the enlarged images; errors in the block name the size.

    Args:
        model: The model.
        batch: The images.
        factor: The new size as a multiple of the images'.

    Raises:
        KerasxaiError: The model takes images of one size only, or other inputs as well.
    """
    height, width = batch.images.shape[1:3]
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    if size == (height, width):
        yield model, batch
        return
    if not model.takes_images_only:
        raise KerasxaiError("expected a model with images (N, H, W, C) as its only input, got another")
    try:
        larger = model.altered(Alteration(("size", size), lambda: of_any_size(model.model), any_size=True))
        yield larger, batch.with_images(resized(batch.images, size))
    except (ValueError, TypeError) as error:
        if isinstance(error, KerasxaiError):
            raise
        raise KerasxaiError(
            f"expected a model that takes images of any size, got {model.model.name!r}, built for {height} x {width}"
        ) from error
