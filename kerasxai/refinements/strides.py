"""A finer feature map from the same weights: late strides are replaced by dilations while the model is explained."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.engine.dilation import POOLINGS, dilated_pool, window_of
from kerasxai.engine.score_model import Alteration
from kerasxai.engine.tracing import intercepted, patched
from kerasxai.refinements.stride_plan import Change, planned
from kerasxai.tools.errors import KerasxaiError, KerasxaiWarning
from kerasxai.tools.options import whole

if TYPE_CHECKING:
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.traced_model import TracedModel
    from kerasxai.refinements.chain import ModelExplain


@contextlib.contextmanager
def at_stride(model: keras.Model, stride: int, shape: tuple[int, ...]) -> Iterator[list[str]]:
    """Limit the output stride of a model to `stride`, within a block.

    The change of each layer is planned from one traced pass of the unchanged model. Beyond the limit a strided layer
    gets stride 1; later kernels, windows and padding are dilated by the removed strides (the "a trous" algorithm), so
    that every weight applies to the same positions as in training.

    Args:
        model: Any Keras model of known or given image size.
        stride: A power of 2.
        shape: The shape of one image, `(H, W, C)`.

    Yields:
        The paths of the layers that changed.

    Raises:
        KerasxaiError: The model has no stride beyond it, or a layer that combines several positions cannot be dilated.
    """
    plan = planned(model, stride, shape)
    if not plan.changes:
        raise KerasxaiError(
            f"stride must be below the output stride of the model, got {stride} for {model.name!r}, which has no "
            "larger one to remove"
        )
    if plan.apart:
        warnings.warn(
            f"refine=stride: the strides of the inputs of {plan.apart[0]!r} took positions half a step apart, which "
            "are now the same: the finer map is close to the old one, not equal to it",
            KerasxaiWarning,
            stacklevel=2,
        )
    with contextlib.ExitStack() as stack:
        for change in plan.changes.values():
            stack.enter_context(_changed(change))
        yield list(plan.changes)


def _changed(change: Change) -> contextlib.AbstractContextManager[None]:
    if not change.pools:
        return patched(change.layer, **change.settings)
    kind = next(name for pooling, name in POOLINGS.items() if isinstance(change.layer, pooling))
    padding = change.settings.get("padding", change.layer.padding)

    def pooled(original: Callable[..., Any], maps: tf.Tensor, *args: Any, **kwargs: Any) -> tf.Tensor:
        return dilated_pool(maps, kind, window_of(change.layer), change.dilation, padding)

    return intercepted(change.layer, pooled)


def stride(model: TracedModel, explain: ModelExplain, batch: Samples, *, stride: int = 16) -> NDArray[Any]:
    """The method on a finer feature map: the network has an output stride of 16 or 8 instead of 32.

    The map is that of `kerasxai.models.with_output_stride`; every second (fourth, ...) position of it equals a position
    of the old one, except in networks with squeeze-and-excitation, which weights channels by their mean over the finer
    map, and those named in a warning.

    Args:
        model: The model.
        explain: The method.
        batch: The images and their classes.
        stride: The size of the image divided by the size of the last map, a power of 2.

    Returns:
        `(N, H, W)` float32.

    Raises:
        KerasxaiError: It is not a power of 2, the model has no stride beyond it, or a layer that combines several
            positions cannot be dilated.

    Example:
        >>> kerasxai.Explainer(model, "cam", refine="stride:stride=8")(images).heatmaps

    Paper: Chen et al. 2018, "DeepLab", arXiv:1606.00915. Departure: at inference only, on weights trained at stride 32.
    """
    if whole("stride", stride, 1) & (stride - 1):
        raise KerasxaiError(f"stride must be a power of 2, got {stride}")
    if not model.takes_images_only:
        raise KerasxaiError("expected a model with images (N, H, W, C) as its only input, got another")
    shape = tuple(batch.images.shape[1:])
    try:
        finer = model.altered(Alteration(("stride", stride, shape), lambda: at_stride(model.model, stride, shape)))
        return explain(finer, batch)
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        if isinstance(error, KerasxaiError):
            raise
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise KerasxaiError(f"cannot run {model.model.name!r} with an output stride of {stride}: {reason}") from error
