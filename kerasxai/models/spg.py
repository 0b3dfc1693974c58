"""Self-produced guidance (SPG): confident regions of a classifier's maps supervise its features, object or background.

Zhang et al. 2018, arXiv:1807.08902; the details follow the port of `clovaai/wsolevaluation`, which follows the authors.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf
from keras import ops

from kerasxai.models.acol import Shape, minmax
from kerasxai.models.heads import center, check_head, class_maps, convolution, initializer
from kerasxai.models.label_aware import LabelAwareModel
from kerasxai.models.model_cloning import share_variables
from kerasxai.models.multi_label import Classes, is_multi, maps_of_classes
from kerasxai.tools.errors import KerasxaiError

THRESHOLDS = ((0.7, 0.01), (0.5, 0.05), (0.7, 0.1))
"""Pairs (high, low) for the teachers of B2, B1 and C: above high a position is object, below low background."""
_LEAST_SHARE = 30 / 224**2
_RELATIVE_HIGH = 0.7

ThreeMaps: TypeAlias = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def guidance(maps: tf.Tensor, high: float, low: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Make masks of the confident regions of a map.

    If fewer than 30 of 224 x 224 positions of a map are above `high`, the object is where the map exceeds 0.7 of its
    largest value.

    Args:
        maps: `(B, h, w, 1)` in [0, 1].
        high: Above this a position is object.
        low: Below this a position is background, even if it is object by the other rule.

    Returns:
        The mask `(B, h, w, 1)` float32, 1 for object, and another, 1 where the first is known; no gradient passes.

    Example:
        >>> mask, known = guidance(maps, 0.7, 0.1)
    """
    # A teacher must not learn from its student.
    maps = ops.stop_gradient(ops.cast(maps, "float32"))
    above = maps > high
    share = ops.mean(ops.cast(above, "float32"), (1, 2), keepdims=True)
    strongest = maps > _RELATIVE_HIGH * ops.max(maps, (1, 2), keepdims=True)
    background = maps < low
    is_object = ops.where(share < _LEAST_SHARE, strongest, above) & ~background
    return ops.cast(is_object, "float32"), ops.cast(is_object | background, "float32")


@keras.saving.register_keras_serializable("kerasxai")
class SelfProducedGuidance(keras.layers.Layer):
    """Return class maps unchanged, and in training add a loss: masks of these maps supervise their features.

    The true class's map, scaled to [0, 1], teaches branch B2 object and background; B2 teaches B1; the mean of both
    teaches C. Of several classes an image, the largest value of their maps teaches. Each mask omits values between two
    thresholds. The input of B1 is the backbone's map, that of B2 the first convolution's, that of C the last one's, so
    that the loss reaches all features of the classifier. At inference there are no branches.

    Departures from the port: the inputs of B1 and B2 are the backbone's last map and that of the convolution after it,
    instead of two depths of the backbone, so that any backbone works; masks have the resolution of the maps, not 224
    pixels; branches are as wide as the classifier's convolutions.

    Args:
        width: Channels of the branches' 3x3 convolutions.
        thresholds: Three pairs `(high, low)`, for the teachers of B2, B1 and C; see `guidance`.
        seed: Seed of the new weights.
        dilation_rate: Dilation of the 3x3 convolutions; see `kerasxai.models.with_output_stride`.
        labels: `"single"`, or `"multi"` for several classes an image.
        **kwargs: As for `keras.layers.Layer`.

    Attributes:
        multi: Whether an image may have several classes.
        targets: None, or during a patched pass the classes (B,), or (B, C) bool of several, and the sample weights (B,)
            or None.
    """

    produces_class_maps = True

    def __init__(
        self,
        width: int = 512,
        thresholds: Sequence[Sequence[float]] = THRESHOLDS,
        seed: int | None = None,
        dilation_rate: int = 1,
        labels: str = "single",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.multi = is_multi(labels)
        pairs = _pairs(thresholds)
        self.width = width
        self.thresholds = [list(pair) for pair in pairs]
        self.seed = seed
        self.dilation_rate = dilation_rate
        self.num_classes: int | None = None
        self.targets: tuple[Classes, tf.Tensor | None] | None = None
        self.first_b1 = self._convolution("b1", 0)
        self.first_b2 = self._convolution("b2", 1)
        self.shared_b = [*self._convolution("shared", 2), self._map("shared_map", 3)]
        self.branch_c = [*self._convolution("c", 4), self._map("c_map", 5)]

    def _convolution(self, name: str, number: int) -> list[keras.Layer]:
        kernel = initializer(self.seed, number)
        return convolution(self.width, name, False, kernel, self.dtype_policy, self.dilation_rate)

    def _map(self, name: str, number: int) -> keras.Layer:
        kernel = initializer(self.seed, number)
        return keras.layers.Conv2D(1, 1, kernel_initializer=kernel, name=name, dtype=self.dtype_policy)

    def build(self, maps_shape: Shape, features_shape: Shape, first_shape: Shape, last_shape: Shape) -> None:
        """Create the weights of the branches."""
        # Keras stores the shapes in saved models under the names of these arguments.
        self.num_classes = maps_shape[-1]
        inner = (*last_shape[:-1], self.width)
        for layers, shape in (
            (self.first_b1, features_shape),
            (self.first_b2, first_shape),
            (self.shared_b, inner),
            (self.branch_c, last_shape),
        ):
            for layer in layers:
                layer.build(shape)
                shape = layer.compute_output_shape(shape)
        self.built = True

    def dilated(self, rate: int) -> "SelfProducedGuidance":
        """Return a layer that shares the variables, for maps that are finer by `rate`."""
        finer = share_variables(self, dilation_rate=self.dilation_rate * rate)
        finer.num_classes = self.num_classes
        return finer

    def branches(self, features: tf.Tensor, first: tf.Tensor, last: tf.Tensor) -> ThreeMaps:
        """Return the logits of B1, B2 and C, `(B, h, w, 1)` float32: whether a position is object."""
        b1 = _run(self.shared_b, _run(self.first_b1, features))
        b2 = _run(self.shared_b, _run(self.first_b2, first))
        c = _run(self.branch_c, last)
        return ops.cast(b1, "float32"), ops.cast(b2, "float32"), ops.cast(c, "float32")

    def guiding_loss(
        self, maps: tf.Tensor, branches: ThreeMaps, classes: Classes, weights: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Return the sum of the three branches' losses.

        Args:
            maps: Class maps `(B, h, w, C)`.
            branches: The result of `branches`.
            classes: `(B,)`, the class whose map is the teacher; or `(B, C)` bool, the classes whose maps are.
            weights: `(B,)` or None.
        """
        b1, b2, c = branches
        # Each map of several classes is scaled by itself, or the strongest class alone would teach.
        several = len(classes.shape) == 2
        attention = maps_of_classes(minmax(maps), classes) if several else minmax(maps_of_classes(maps, classes))
        object_b1, object_b2 = ops.sigmoid(b1), ops.sigmoid(b2)
        taught = ((b2, attention), (b1, object_b2), (c, (object_b1 + object_b2) / 2))
        losses = []
        for (logits, teacher), (high, low) in zip(taught, self.thresholds, strict=True):
            mask, known = guidance(teacher, high, low)
            if weights is not None:
                known = known * ops.reshape(ops.cast(weights, "float32"), (-1, 1, 1, 1))
            each = ops.binary_crossentropy(mask, logits, from_logits=True)
            losses.append(ops.divide_no_nan(ops.sum(each * known), ops.sum(known)))
        return sum(losses[1:], losses[0])

    def call(self, maps: tf.Tensor, features: tf.Tensor, first: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
        """Return the class maps unchanged; if `targets` is set, add the loss of the branches."""
        if self.targets is not None:
            classes, weights = self.targets
            self.add_loss(self.guiding_loss(maps, self.branches(features, first, last), classes, weights))
        return maps

    def compute_output_spec(
        self, maps: keras.KerasTensor, *features: keras.KerasTensor, **kwargs: keras.KerasTensor
    ) -> keras.KerasTensor:
        """Return the spec of the maps."""
        return keras.KerasTensor(maps.shape, dtype=maps.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        names = ("width", "thresholds", "seed", "dilation_rate")
        # Files of other models stay readable for older versions.
        multi = {"labels": "multi"} if self.multi else {}
        return {**super().get_config(), **{name: getattr(self, name) for name in names}, **multi}


def _run(layers: Sequence[keras.Layer], x: tf.Tensor) -> tf.Tensor:
    for layer in layers:
        x = layer(x)
    return x


def _pairs(thresholds: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    try:
        pairs = [(float(high), float(low)) for high, low in thresholds]
    except (TypeError, ValueError):
        pairs = []
    if len(pairs) != 3 or not all(0 <= low <= high <= 1 for high, low in pairs):
        raise KerasxaiError(
            f"thresholds must be three pairs (high, low) with 0 <= low <= high <= 1, got {thresholds!r}"
        )
    return pairs


@keras.saving.register_keras_serializable("kerasxai")
class SPGModel(LabelAwareModel):
    """A functional model with a `SelfProducedGuidance`, to which it passes the labels in training and evaluation.

    The loss is the compiled loss plus those of the three branches. Labels are as for `ACoLModel`.

    Example:
        >>> model = build_classifier("EfficientNetLite0", 8, head="spg")
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> model.fit(images, labels)
    """

    def label_attributes(self, classes: Classes, labels: tf.Tensor, weights: tf.Tensor | None) -> Mapping[str, Any]:
        """Return the classes whose maps teach; an image without a known class (-1) has the weight 0."""
        several = len(classes.shape) == 2
        known = ops.cast(ops.any(classes, -1) if several else classes >= 0, "float32")
        weights = known if weights is None else ops.reshape(ops.cast(weights, "float32"), (-1,)) * known
        return {"targets": (classes if several else ops.maximum(classes, 0), weights)}


def spg(
    features: keras.KerasTensor,
    num_classes: int,
    *,
    width: int = 512,
    normalize: bool = True,
    thresholds: Sequence[Sequence[float]] = THRESHOLDS,
    dropout: float = 0.0,
    seed: int | None = None,
    labels: str = "single",
) -> keras.KerasTensor:
    """Two 3x3 convolutions and one channel for each class, guided in training by masks of the class maps.

    The class maps are the output of the layer `guidance`; see `SelfProducedGuidance`.

    Args:
        features: Symbolic feature map (B, h, w, K).
        num_classes: Number of classes.
        width: Channels of the 3x3 convolutions, also in the branches.
        normalize: Whether to put batch normalization between each of the two and its ReLU; the branches have none.
        thresholds: Three pairs `(high, low)`, as for `SelfProducedGuidance`.
        dropout: Share of features dropped in training before the class maps.
        seed: Seed of the new weights.
        labels: As for `kerasxai.models.build_classifier`.

    Returns:
        Symbolic logits (B, num_classes), float32, of a layer named `logits`.

    Example:
        >>> logits = spg(backbone.output, 10, width=256)
    """
    check_head(width, normalize, dropout, seed)
    inputs = [features]
    for number in (0, 1):
        x = inputs[-1]
        for layer in convolution(width, f"head_conv{number + 1}", normalize, initializer(seed, number)):
            x = layer(x)
        inputs.append(x)
    x = keras.layers.Dropout(dropout, name="head_dropout")(inputs[-1]) if dropout else inputs[-1]
    last = class_maps(num_classes, initializer(seed, 2), "class_maps", multi=is_multi(labels))
    maps = last(x)
    center(last)
    # The convolutions and the class maps before it use the seeds up to seed + 2.
    branches = None if seed is None else seed + 3
    maps = SelfProducedGuidance(width, thresholds, branches, labels=labels, name="guidance")(maps, *inputs)
    return keras.layers.GlobalAveragePooling2D(name="logits", dtype="float32")(maps)
