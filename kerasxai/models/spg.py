"""Self-produced guidance: what a classifier is sure of in its own maps teaches its features to part object and ground.

Zhang et al. 2018, arXiv:1807.08902; the details follow the port of `clovaai/wsolevaluation`, which follows the authors.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kerasxai.models.acol import minmax
from kerasxai.models.heads import check_head, convolution, initializer
from kerasxai.models.label_aware import LabelsShown
from kerasxai.models.model_cloning import twin
from kerasxai.tools.errors import KerasxaiError

THRESHOLDS = ((0.7, 0.01), (0.5, 0.05), (0.7, 0.1))
"""From which value on a place is object, and below which it is ground: for what teaches B2, B1 and C."""
_FEWEST = 30 / 224**2
_INSTEAD = 0.7


def guidance(maps: Any, high: float, low: float) -> tuple[Any, Any]:
    """Makes masks of what a map is sure of.

    Where fewer than 30 of 224 x 224 places of a map are above `high`, its object is what exceeds 0.7 of its largest
    value.

    Args:
        maps: `(B, h, w, 1)` in [0, 1].
        high: Above this a place is object.
        low: Below this a place is ground, even where it is object.

    Returns:
        The mask `(B, h, w, 1)` float32, 1 for object, and where it is known, as 1 and 0; no gradient passes.

    Example:
        >>> mask, known = guidance(maps, 0.7, 0.1)
    """
    maps = ops.stop_gradient(ops.cast(maps, "float32"))
    chosen = maps > high
    share = ops.mean(ops.cast(chosen, "float32"), (1, 2), keepdims=True)
    strongest = maps > _INSTEAD * ops.max(maps, (1, 2), keepdims=True)
    ground = maps < low
    is_object = ops.where(share < _FEWEST, strongest, chosen) & ~ground
    return ops.cast(is_object, "float32"), ops.cast(is_object | ground, "float32")


@keras.saving.register_keras_serializable("kerasxai")
class SelfProducedGuidance(keras.layers.Layer):
    """Passes class maps on, and in training guides the features that they are made of by masks of their own.

    The true class's map, brought to [0, 1], teaches branch B2 what is object and what is ground; B2 teaches B1; the
    mean of both teaches C. Each mask leaves out what is between two thresholds. B1 sees the backbone's map, B2 the
    first convolution's, C the last one's, so that all three guide what the classifier is made of. Nothing of it is
    there at inference: the output is the class maps.

    Departures from the port: B1 and B2 stand on the backbone's last map and the convolution after it, instead of two
    depths of the backbone, so that any backbone serves; masks are made at the maps' own resolution, not at 224 pixels;
    branches are as wide as the classifier's convolutions.

    Args:
        width: Channels of the branches' 3x3 convolutions.
        thresholds: Three pairs `(high, low)`: for what teaches B2, B1 and C; see `guidance`.
        seed: Seed of the new weights.
        dilation_rate: By how many places the 3x3 convolutions look apart; see `kerasxai.models.with_output_stride`.
        **kwargs: As for `keras.layers.Layer`.

    Attributes:
        targets: None, or during a patched pass the classes (B,) and the sample weights (B,) or None.
    """

    produces_class_maps = True

    def __init__(
        self,
        width: int = 512,
        thresholds: Sequence[Sequence[float]] = THRESHOLDS,
        seed: int | None = None,
        dilation_rate: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        pairs = _pairs(thresholds)
        self.width = width
        self.thresholds = [list(pair) for pair in pairs]
        self.seed = seed
        self.dilation_rate = dilation_rate
        self.num_classes: int | None = None
        self.targets: Any = None
        self.first_b1 = self._convolution("b1", 0)
        self.first_b2 = self._convolution("b2", 1)
        self.shared_b = [*self._convolution("shared", 2), self._map("shared_map", 3)]
        self.branch_c = [*self._convolution("c", 4), self._map("c_map", 5)]

    def _convolution(self, name: str, number: int) -> list[keras.layers.Layer]:
        kernel = initializer(self.seed, number)
        return convolution(self.width, name, False, kernel, self.dtype_policy, self.dilation_rate)

    def _map(self, name: str, number: int) -> keras.layers.Layer:
        kernel = initializer(self.seed, number)
        return keras.layers.Conv2D(1, 1, kernel_initializer=kernel, name=name, dtype=self.dtype_policy)

    def build(self, maps_shape: Any, features_shape: Any, first_shape: Any, last_shape: Any) -> None:
        """Makes the weights of the branches."""
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
        """Returns a layer with the same variables for maps that are finer by `rate`."""
        other = twin(self, dilation_rate=self.dilation_rate * rate)
        other.num_classes = self.num_classes
        return other

    def branches(self, features: Any, first: Any, last: Any) -> tuple[Any, Any, Any]:
        """Returns the logits of B1, B2 and C, `(B, h, w, 1)` float32: whether a place is object."""
        b1 = _run(self.shared_b, _run(self.first_b1, features))
        b2 = _run(self.shared_b, _run(self.first_b2, first))
        return tuple(ops.cast(logits, "float32") for logits in (b1, b2, _run(self.branch_c, last)))

    def guiding_loss(self, maps: Any, branches: tuple[Any, Any, Any], classes: Any, weights: Any = None) -> Any:
        """Returns the sum of the three branches' losses.

        Args:
            maps: Class maps `(B, h, w, C)`.
            branches: As `branches` returns them.
            classes: `(B,)`, whose map teaches.
            weights: `(B,)` or None.
        """
        b1, b2, c = branches
        attention = minmax(ops.take_along_axis(maps, ops.cast(classes, "int32")[:, None, None, None], axis=-1))
        sure_b1, sure_b2 = ops.sigmoid(b1), ops.sigmoid(b2)
        pairs = ((b2, attention), (b1, sure_b2), (c, (sure_b1 + sure_b2) / 2))
        losses = []
        for (logits, teacher), (high, low) in zip(pairs, self.thresholds, strict=True):
            mask, known = guidance(teacher, high, low)
            if weights is not None:
                known = known * ops.reshape(ops.cast(weights, "float32"), (-1, 1, 1, 1))
            each = ops.binary_crossentropy(mask, logits, from_logits=True)
            losses.append(ops.divide_no_nan(ops.sum(each * known), ops.sum(known)))
        return sum(losses[1:], losses[0])

    def call(self, maps: Any, features: Any, first: Any, last: Any) -> Any:
        """Returns the class maps as they came; where labels are shown the branches' loss is added."""
        if self.targets is not None:
            classes, weights = self.targets
            self.add_loss(self.guiding_loss(maps, self.branches(features, first, last), classes, weights))
        return maps

    def compute_output_spec(self, maps: Any, *args: Any, **kwargs: Any) -> keras.KerasTensor:
        """Returns what the maps are."""
        return keras.KerasTensor(maps.shape, dtype=maps.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that this layer was made with."""
        names = ("width", "thresholds", "seed", "dilation_rate")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _run(layers: list[keras.layers.Layer], x: Any) -> Any:
    for layer in layers:
        x = layer(x)
    return x


def _pairs(thresholds: Any) -> list[tuple[float, float]]:
    try:
        pairs = [(float(high), float(low)) for high, low in thresholds]
    except (TypeError, ValueError):
        pairs = []
    if len(pairs) != 3 or not all(0 <= low <= high <= 1 for high, low in pairs):
        raise KerasxaiError(
            f"thresholds must be three pairs (high, low) with 0 <= low <= high <= 1; got {thresholds!r}"
        )
    return pairs


@keras.saving.register_keras_serializable("kerasxai")
class SPGModel(LabelsShown):
    """A functional model with a `SelfProducedGuidance`, which it shows the labels while it fits and evaluates.

    The loss is the compiled loss plus the three branches'. Labels are as for `ACoLModel`.

    Example:
        >>> model = build_classifier("EfficientNetLite0", 8, head="spg")
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> model.fit(images, labels)
    """

    def shown(self, classes: Any, labels: Any, weights: Any) -> dict[str, Any]:
        """Returns the classes whose maps teach; an image whose class is not known (-1) teaches nothing."""
        known = ops.cast(classes >= 0, "float32")
        weights = known if weights is None else ops.reshape(ops.cast(weights, "float32"), (-1,)) * known
        return {"targets": (ops.maximum(classes, 0), weights)}


def spg(
    features: Any,
    num_classes: int,
    *,
    width: int = 512,
    normalize: bool = True,
    thresholds: Sequence[Sequence[float]] = THRESHOLDS,
    dropout: float = 0.0,
    seed: int | None = None,
) -> Any:
    """Puts two 3x3 convolutions and one channel a class on a feature map, guided in training by their own masks.

    The class maps are the output of the layer `guidance`, a `SelfProducedGuidance`, which says how it is done.

    Args:
        features: Symbolic feature map (B, h, w, K).
        num_classes: Number of classes.
        width: Channels of the 3x3 convolutions, of the branches as well.
        normalize: Whether batch normalization stands between each of the two and its ReLU; the branches have none.
        thresholds: Three pairs `(high, low)`, as for `SelfProducedGuidance`.
        dropout: Share of features dropped in training before the class maps.
        seed: Seed of the new weights.

    Returns:
        Symbolic logits (B, num_classes), float32, of a layer named `logits`.

    Example:
        >>> logits = spg(backbone.output, 10, width=256)
    """
    check_head(width, normalize, dropout, seed)
    stages = [features]
    for number in (0, 1):
        x = stages[-1]
        for layer in convolution(width, f"head_conv{number + 1}", normalize, initializer(seed, number)):
            x = layer(x)
        stages.append(x)
    x = keras.layers.Dropout(dropout, name="head_dropout")(stages[-1]) if dropout else stages[-1]
    maps = keras.layers.Conv2D(num_classes, 1, kernel_initializer=initializer(seed, 2), name="class_maps")(x)
    branches = None if seed is None else seed + 3
    maps = SelfProducedGuidance(width, thresholds, branches, name="guidance")(maps, *stages)
    return keras.layers.GlobalAveragePooling2D(name="logits", dtype="float32")(maps)
