"""Models whose explained input is of integers, such as uint8 images that the model casts itself.

Two passes are possible. For scores and maps the model gets integers: images that methods change (noise, masks,
resizing) are rounded and clipped to the range. For gradients at the input the model gets floating numbers instead, so
that its own cast changes nothing and the gradient is that behind the cast.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeGuard

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.engine.keras_internals import INPUT_CONVERSION, converts_inputs, declared_inputs, functional_of
from kerasxai.engine.tracing import intercepted
from kerasxai.tools.errors import KerasxaiError

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.score_model import Answer, ScoreModel
    from kerasxai.engine.traced_model import TracedModel


def takes_whole_numbers(spec: tf.TensorSpec | None) -> TypeGuard[tf.TensorSpec]:
    """Returns whether an input is an image (or series, volume) of integers, which tokens `(N, T)` are not.

    Args:
        spec: The spec of the input, or None if the model has none.
    """
    return spec is not None and spec.dtype.is_integer and spec.shape.rank is not None and spec.shape.rank > 2


def range_of(spec: tf.TensorSpec | None) -> tuple[float, float]:
    """Returns the lowest and the highest number that an input accepts, infinite for floating numbers."""
    return (float(spec.dtype.min), float(spec.dtype.max)) if takes_whole_numbers(spec) else (-np.inf, np.inf)


def as_taken(images: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns float32 images in the dtype of a model's input, rounded and clipped if it is of integers.

    A cast alone would truncate the fraction, and turn -3 into 253.

    Args:
        images: A float32 tensor.
        dtype: The dtype of the input.
    """
    # Tokens (B, T) are never changed by a method, and large ids lose nothing by a plain cast.
    is_image = dtype.is_integer and images.shape.rank > 2
    return tf.saturate_cast(tf.round(images), dtype) if is_image else tf.cast(images, dtype)


def check_whole(images: NDArray[Any], spec: tf.TensorSpec | None) -> None:
    """Checks that images for an input of integers are whole numbers within its range.

    Raises:
        KerasxaiError: They are fractions, such as pixels in [0, 1], or too large or too small.
    """
    if not takes_whole_numbers(spec) or images.dtype.kind in "ub" or images.dtype == spec.dtype.as_numpy_dtype:
        return
    low, high = range_of(spec)
    if (images != np.rint(images)).any() or images.min() < low or images.max() > high:
        raise KerasxaiError(
            f"images must be whole numbers from {low:.0f} to {high:.0f} for a model whose input is {spec.dtype.name}, "
            f"got numbers from {images.min():g} to {images.max():g}"
        )


@contextlib.contextmanager
def model_input(
    images: tf.Tensor, spec: tf.TensorSpec | None, layers: list[tuple[str, keras.Layer]], as_floats: bool
) -> Iterator[tf.Tensor]:
    """Yields float32 images in the dtype of a model's input, for a call of the model in the block.

    Args:
        images: A float32 tensor.
        spec: The spec of the input, or None if the model has none.
        layers: Pairs of path and layer, as `kerasxai.engine.layers.walk` yields them.
        as_floats: Whether the model gets the floating images instead.

    Raises:
        KerasxaiError: The model accepts no floating images.
    """
    if not as_floats or not takes_whole_numbers(spec):
        yield as_taken(images, tf.float32 if spec is None else spec.dtype)
        return
    try:
        with given_floats(layers):
            yield images
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        if isinstance(error, KerasxaiError):
            raise
        # Keras wraps errors in several lines, of which the first says what failed.
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise no_gradient(spec, f"operations that take no others ({reason})") from error


@contextlib.contextmanager
def given_floats(layers: Iterable[tuple[str, keras.Layer]]) -> Iterator[None]:
    """Makes functional and sequential models accept floating numbers for declared integers, in a block.

    Args:
        layers: Pairs of path and layer, as `kerasxai.engine.layers.walk` gives them.
    """
    # Models share functional models and policies, which are patched once each.
    every = [layer for _, layer in layers]
    graphs = [graph for layer in every for graph in (layer, functional_of(layer))]
    policies = [layer.dtype_policy for layer in every]
    with contextlib.ExitStack() as stack:
        for graph in {id(one): one for one in graphs if converts_inputs(one)}.values():
            stack.enter_context(intercepted(graph, functools.partial(_convert_inputs, graph), method=INPUT_CONVERSION))
        # A sequential model converts its input by its dtype policy, before its functional model does.
        for policy in {id(one): one for one in policies}.values():
            stack.enter_context(intercepted(policy, _convert_input, method="convert_input"))
        yield


def _convert_inputs(
    graph: keras.Model, original: Callable[[list[tf.Tensor]], list[tf.Tensor]], flat: list[tf.Tensor]
) -> list[tf.Tensor]:
    """Replaces a functional model's conversion of its flat inputs to the declared dtypes."""
    triples = zip(flat, declared_inputs(graph), original(flat), strict=True)
    return [x if _is_float_for_integer(x, declared.dtype) else converted for x, declared, converted in triples]


def _convert_input(original: Callable[..., tf.Tensor], x: tf.Tensor, autocast: bool, dtype: str) -> tf.Tensor:
    """Replaces a dtype policy's conversion of an input."""
    return x if _is_float_for_integer(x, dtype) else original(x, autocast, dtype)


def _is_float_for_integer(given: tf.Tensor, declared: str | tf.DType) -> bool:
    return isinstance(given, tf.Tensor) and given.dtype.is_floating and tf.as_dtype(declared).is_integer


def clean_of_floats(forward: Forward, batch: Samples, *, explain: str) -> dict[str, tf.Tensor]:
    """Query: the score of unchanged floating images, for a model of whole numbers."""
    return {"scores": forward(batch, as_floats=True).explained(explain)}


def resolve_floats(model: ScoreModel, batch: Samples) -> Answer:
    """Does as `ScoreModel.resolve`, without rounding the images of a model of whole numbers."""
    if takes_whole_numbers(model.input_spec):
        return model.evaluate(clean_of_floats, batch, explain="logit")
    return model.resolve(batch)


def check_takes_floats(model: TracedModel, batch: Samples) -> None:
    """Checks once that a model of whole numbers computes the same of floating ones, as its gradient supposes.

    Args:
        model: The model.
        batch: A batch, of float32 images.

    Raises:
        KerasxaiError: It does not, or accepts none.
    """
    if "floats" in model.checked or not takes_whole_numbers(model.input_spec):
        return
    whole = batch.with_images(tf.clip_by_value(tf.round(batch.images), *range_of(model.input_spec)))
    trial = model.for_copies()
    scores = trial.resolve(whole).scores.numpy()
    floats = resolve_floats(trial, whole).scores.numpy()
    if not np.allclose(scores, floats, rtol=1e-2, atol=1e-3 * max(1.0, float(np.abs(scores).max()))):
        raise no_gradient(
            model.input_spec, f"the score {scores[0]:g} for whole numbers and {floats[0]:g} for floating ones"
        )
    model.checked.add("floats")


def no_gradient(spec: tf.TensorSpec, reason: str) -> KerasxaiError:
    """Returns the error for a model whose arithmetic on integers has no gradient."""
    return KerasxaiError(
        f"expected a model that casts its {spec.dtype.name} input to floating numbers before all else, got {reason}; "
        "explain it with a method that needs only scores, such as occlusion, rise, lime or kernelshap, or at a layer"
    )
