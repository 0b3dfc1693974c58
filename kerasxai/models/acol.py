"""Adversarial complementary learning (ACoL): a second branch learns without the regions that the first one found.

Zhang et al. 2018, arXiv:1804.06962; the details follow the authors' code (`xiaomengyc/ACoL`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypedDict

import keras
import tensorflow as tf
from keras import ops

from kerasxai.models.heads import center, check_head, class_maps, convolution, initializer
from kerasxai.models.label_aware import LabelAwareModel
from kerasxai.models.model_cloning import share_variables
from kerasxai.models.multi_label import Classes, is_multi, maps_of_classes, present_classes
from kerasxai.models.multi_label_losses import MaskedBinaryCrossentropy
from kerasxai.models.pooling import DilatedPooling2D
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import flag, whole, within

Shape: TypeAlias = tuple[int | None, ...]
Loss: TypeAlias = "str | keras.losses.Loss | Callable[..., tf.Tensor] | None"
"""A loss as `compile` takes it, None for cross-entropy."""


class Branches(TypedDict):
    """The outputs of both branches; see `ACoLHead.branches`."""

    logits: tf.Tensor
    logits_b: tf.Tensor
    map_a: tf.Tensor
    map_b: tf.Tensor
    keep: tf.Tensor


def minmax(maps: tf.Tensor) -> tf.Tensor:
    """Scale each map of (B, h, w, C) to [0, 1], in float32; a constant map becomes zeros."""
    maps = ops.cast(maps, "float32")
    low, high = ops.min(maps, (1, 2), keepdims=True), ops.max(maps, (1, 2), keepdims=True)
    return ops.divide_no_nan(maps - low, high - low)


@keras.saving.register_keras_serializable("kerasxai")
class FusedClassMaps(keras.layers.Layer):
    """The maximum of the class maps of two branches, each scaled to [0, 1].

    `produces_class_maps` marks the output (B, h, w, C) as class maps for explainers, which use it without weights.
    """

    produces_class_maps = True

    def call(self, map_a: tf.Tensor, map_b: tf.Tensor) -> tf.Tensor:
        """Return the fused maps (B, h, w, C), float32 in [0, 1]."""
        return ops.maximum(minmax(map_a), minmax(map_b))

    def compute_output_shape(self, map_a_shape: Shape, map_b_shape: Shape) -> Shape:
        """Return the shape of the maps."""
        return map_a_shape


@keras.saving.register_keras_serializable("kerasxai")
class ACoLHead(keras.layers.Layer):
    """Two branches of convolutions on one feature map; from the second, regions found by the first are erased.

    Each branch is 3x3 + ReLU, 3x3 + ReLU, 1x1 to one channel for each class; the means of the channels are its logits,
    and those of branch A are the output. Branch A's map of one class, scaled to [0, 1], erases the features of branch B
    at all positions where it is at least `erase_threshold`. That class is the true one while `ACoLModel` trains or
    evaluates, and otherwise the prediction of branch A. No gradient passes through the erasing. A softmax does not see
    what the class maps of a branch share, so their mean over the classes is subtracted before one erases or is fused,
    and training keeps the weights of the class maps centered over the classes.

    Of several labels an image (`labels="multi"`), the maps of all present classes erase, each scaled to [0, 1] by
    itself, as in Hou 2018, arXiv:1810.09821: branch B must find each class without what A found of it. Outside of
    training and evaluation they are the classes that A predicts. Nothing is centered or subtracted, because sigmoids
    see what the classes share.

    Departures from the authors' code: branches are narrower than their 1024 (`default_width`) and batch-normalized
    (`normalize=False` is theirs); the smoothing is an option and off, because others use it with VGG alone; a constant
    map erases nothing instead of giving NaN; the mean over the classes is subtracted from class maps; `erase_dilation`
    is an addition.

    Args:
        num_classes: Number of classes.
        width: Channels of the 3x3 convolutions.
        normalize: Whether to put batch normalization between each of them and its ReLU.
        erase_threshold: Features are erased where A's map in [0, 1] reaches this; above 1 nothing is erased.
        erase_dilation: How many positions the erased region grows, so that its edge does not reveal the class.
        smoothing: Whether to average the features over 3x3 first, with zero padding.
        dropout: Share of features dropped in training before each branch's 1x1 convolution.
        seed: Seed of the new weights.
        dilation_rate: Dilation of the 3x3 convolutions; see `kerasxai.models.with_output_stride`.
        labels: `"single"`, or `"multi"` for several classes an image.
        **kwargs: As for `keras.layers.Layer`.

    Attributes:
        relative_maps: Whether the mean over the classes is subtracted from class maps; False during a pass of an
            explainer with `score="logit"`.
        multi: Whether an image may have several classes.
        explained_class: None, or during a patched pass an integer tensor (B,): the class whose map erases; entries
            below 0 mean the class that branch A predicts. Or a tensor (B, C) bool of all classes whose maps erase.
        targets: None, or during a patched pass labels, sample weights and loss (as for `compile`, None for
            cross-entropy) of branch B.
    """

    def __init__(
        self,
        num_classes: int,
        width: int = 512,
        normalize: bool = True,
        erase_threshold: float = 0.6,
        erase_dilation: int = 0,
        smoothing: bool = False,
        dropout: float = 0.0,
        seed: int | None = None,
        dilation_rate: int = 1,
        labels: str = "single",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.multi = is_multi(labels)
        if erase_threshold <= 0:
            raise KerasxaiError(f"erase_threshold must be above 0, got {erase_threshold!r}")
        if erase_dilation < 0:
            raise KerasxaiError(f"erase_dilation must be 0 or more, got {erase_dilation!r}")
        self.num_classes = num_classes
        self.width = width
        self.normalize = normalize
        self.erase_threshold = erase_threshold
        self.erase_dilation = erase_dilation
        self.smoothing = smoothing
        self.dropout = dropout
        self.seed = seed
        self.dilation_rate = dilation_rate
        self.relative_maps = True
        self.explained_class: Classes | None = None
        self.targets: tuple[tf.Tensor, tf.Tensor | None, Loss] | None = None
        self.branch_a = self._branch("branch_a", 0)
        self.branch_b = self._branch("branch_b", 3)
        self.fused = FusedClassMaps(name="fused_class_maps", dtype="float32")

    def _branch(self, name: str, number: int) -> list[keras.Layer]:
        def kernel(index: int) -> keras.initializers.Initializer:
            return initializer(self.seed, number + index)

        policy = self.dtype_policy
        return [
            *convolution(self.width, f"{name}_conv1", self.normalize, kernel(0), policy, self.dilation_rate),
            *convolution(self.width, f"{name}_conv2", self.normalize, kernel(1), policy, self.dilation_rate),
            keras.layers.Dropout(self.dropout, name=f"{name}_dropout", dtype=policy),
            class_maps(self.num_classes, kernel(2), f"{name}_class_maps", policy, self.multi),
        ]

    def build(self, input_shape: Shape) -> None:
        """Create the weights of both branches."""
        for branch in (self.branch_a, self.branch_b):
            shape = input_shape
            for layer in branch:
                layer.build(shape)
                shape = layer.compute_output_shape(shape)
            center(branch[-1])
        self.built = True

    def dilated(self, rate: int) -> "ACoLHead":
        """Return a head that shares the variables, for a feature map that is finer by `rate`."""
        return share_variables(self, dilation_rate=self.dilation_rate * rate, erase_dilation=self.erase_dilation * rate)

    def branches(
        self, features: tf.Tensor, explained_class: Classes | None = None, training: bool | None = None
    ) -> Branches:
        """Run both branches.

        Args:
            features: Feature map (B, h, w, K).
            explained_class: As the attribute; None: A's prediction.
            training: As for a layer's call.

        Returns:
            `logits` and `logits_b` (B, C) float32, `map_a` and `map_b` (B, h, w, C), `keep` (B, h, w, 1): 1
            where branch B has the features and 0 where they were erased.
        """
        if self.smoothing:
            # The zeros of the padding count in the authors' average, unlike in "same" pooling.
            zeros = (self.dilation_rate, self.dilation_rate)
            padded = ops.pad(features, ((0, 0), zeros, zeros, (0, 0)))
            features = DilatedPooling2D("average", (3, 3), self.dilation_rate, "valid", dtype=self.dtype_policy)(padded)
        map_a = _run(self.branch_a, features, training)
        logits = ops.mean(ops.cast(map_a, "float32"), (1, 2))
        erasing = self._erasing(logits, explained_class)
        evidence = self._evidence(map_a)
        if len(erasing.shape) == 2:
            keep = self._keep_below(maps_of_classes(minmax(ops.stop_gradient(evidence)), erasing))
        else:
            keep = self.keep(maps_of_classes(evidence, erasing))
        keep = ops.cast(keep, features.dtype)
        map_b = _run(self.branch_b, features * keep, training)
        logits_b = ops.mean(ops.cast(map_b, "float32"), (1, 2))
        return {"logits": logits, "logits_b": logits_b, "map_a": map_a, "map_b": map_b, "keep": keep}

    def _erasing(self, logits: tf.Tensor, explained_class: Classes | None) -> Classes:
        if explained_class is not None and len(explained_class.shape) == 2:
            return explained_class
        if explained_class is None and self.multi:
            return present_classes(ops.sigmoid(logits))
        # Not that of Keras, which reads the sign of zeros by operations that ONNX and TensorFlow Lite do not have.
        predicted = tf.argmax(logits, -1, output_type="int32")
        erasing = predicted if explained_class is None else ops.cast(explained_class, "int32")
        return ops.where(erasing < 0, predicted, erasing)

    def _evidence(self, maps: tf.Tensor) -> tf.Tensor:
        maps = ops.cast(maps, "float32")
        return maps - ops.mean(maps, -1, keepdims=True) if self.relative_maps and not self.multi else maps

    def keep(self, class_map: tf.Tensor) -> tf.Tensor:
        """Return True (B, h, w, 1) where a class map (B, h, w, 1) does not erase."""
        return self._keep_below(minmax(ops.stop_gradient(class_map)))

    def _keep_below(self, attention: tf.Tensor) -> tf.Tensor:
        if self.erase_dilation:
            # A position is in the grown region if the largest value near it reaches the threshold.
            attention = ops.max_pool(attention, 2 * self.erase_dilation + 1, 1, "same")
        return attention < self.erase_threshold

    def logits_and_maps(self, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return branch A's logits (B, C) and the fused class maps (B, h, w, C), as at inference."""
        parts = self.branches(features, self.explained_class, training=False)
        return parts["logits"], self.fused(self._evidence(parts["map_a"]), self._evidence(parts["map_b"]))

    def call(self, features: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Return branch A's logits (B, C), float32; outside training also compute the fused class maps."""
        parts = self.branches(features, self.explained_class, training)
        if self.targets is not None:
            self.add_loss(_branch_loss(self.targets, parts["logits_b"], self.multi))
        if training is not True:
            # The result is not returned: explainers read it from the output of this layer.
            self.fused(self._evidence(parts["map_a"]), self._evidence(parts["map_b"]))
        return parts["logits"]

    def compute_output_spec(self, features: keras.KerasTensor, training: bool | None = None) -> keras.KerasTensor:
        """Return (B, C), float32 under every dtype policy."""
        return keras.KerasTensor((features.shape[0], self.num_classes), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        names = (
            "num_classes",
            "width",
            "normalize",
            "erase_threshold",
            "erase_dilation",
            "smoothing",
            "dropout",
            "seed",
            "dilation_rate",
        )
        # Files of other models stay readable for older versions.
        multi = {"labels": "multi"} if self.multi else {}
        return {**super().get_config(), **{name: getattr(self, name) for name in names}, **multi}


_WITH_TRAINING_MODE = (keras.layers.Dropout, keras.layers.BatchNormalization)


def _run(layers: Sequence[keras.Layer], x: tf.Tensor, training: bool | None) -> tf.Tensor:
    for layer in layers:
        x = layer(x, training=training) if isinstance(layer, _WITH_TRAINING_MODE) else layer(x)
    return x


def _branch_loss(targets: tuple[tf.Tensor, tf.Tensor | None, Loss], logits: tf.Tensor, multi: bool) -> tf.Tensor:
    labels, weights, loss = targets
    compiled = keras.losses.get(loss) if isinstance(loss, str | keras.losses.Loss) or callable(loss) else None
    if multi:
        binary = MaskedBinaryCrossentropy().call if compiled is None else getattr(compiled, "call", compiled)
        each = binary(labels, ops.sigmoid(logits))
    elif compiled is None or getattr(compiled, "name", getattr(compiled, "__name__", "")) in _CROSS_ENTROPIES:
        # From logits cross-entropy is more exact than from probabilities.
        sparse = len(labels.shape) == 1
        entropy = keras.losses.sparse_categorical_crossentropy if sparse else keras.losses.categorical_crossentropy
        each = entropy(labels, logits, from_logits=True)
    else:
        each = getattr(compiled, "call", compiled)(labels, ops.softmax(logits))
    return ops.mean(each if weights is None else each * ops.reshape(ops.cast(weights, each.dtype), (-1,)))


_CROSS_ENTROPIES = ("sparse_categorical_crossentropy", "categorical_crossentropy")


@keras.saving.register_keras_serializable("kerasxai")
class ACoLModel(LabelAwareModel):
    """A functional model with an `ACoLHead`, to which it passes the labels in training and evaluation.

    The loss is the compiled loss on branch A's probabilities plus the same loss on branch B's, equally weighted and
    with the same sample weights. Labels are class numbers (B,) or (B, 1), or rows (B, C) of one-hot or soft labels, of
    which the largest entry erases. Of several labels they are rows (B, C) of 1 present, 0 absent and -1 unknown; the
    losses of `kerasxai.models` do not count the latter. Loss weights and label smoothing given to `compile` apply to
    branch A alone. A custom training loop has to set `explained_class` and `targets` on the head, as `train_step` does
    here.

    Example:
        >>> model = build_classifier("EfficientNetLite0", 8, head="acol")
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> model.fit(images, labels)
    """

    def label_attributes(self, classes: Classes, labels: tf.Tensor, weights: tf.Tensor | None) -> Mapping[str, Any]:
        """Return the class that erases, or all of several, and the arguments of branch B's loss."""
        return {"explained_class": classes, "targets": (labels, weights, self.loss)}


def default_width(num_classes: int) -> int:
    """Return the width of the branches by default: two channels for each class, from 128 to 512.

    The convolutions take most of the time of a training step on backbones with a wide last map, such as the 1280
    channels of MobileNetV2 and EfficientNet-Lite0. Two channels a class are what the start from a linear probe needs,
    see `kerasxai.training.head_start`.

    Example:
        >>> default_width(20), default_width(200), default_width(1000)
        (128, 400, 512)
    """
    return min(max(2 * num_classes, 128), 512)


def acol(
    features: keras.KerasTensor,
    num_classes: int,
    *,
    width: int | None = None,
    normalize: bool = True,
    erase_threshold: float = 0.6,
    erase_dilation: int = 0,
    smoothing: bool = False,
    dropout: float = 0.0,
    seed: int | None = None,
    labels: str = "single",
) -> keras.KerasTensor:
    """An `ACoLHead` on a feature map, with checked options.

    Args:
        features: Symbolic feature map (B, h, w, K).
        num_classes: Number of classes.
        width: Channels of the 3x3 convolutions; None: `default_width(num_classes)`.
        normalize: Whether to put batch normalization between each of them and its ReLU.
        erase_threshold: Features are erased for branch B where branch A's map in [0, 1] reaches this.
        erase_dilation: How many positions the erased region grows.
        smoothing: Whether to average the features over 3x3 first.
        dropout: Share of features dropped in training.
        seed: Seed of the new weights.
        labels: As for `kerasxai.models.build_classifier`.

    Returns:
        Symbolic logits (B, num_classes) of branch A, float32, of a layer named `acol`.

    Example:
        >>> logits = acol(backbone.output, 10, width=256)
    """
    width = default_width(num_classes) if width is None else width
    check_head(width, normalize, dropout, seed)
    flag("smoothing", smoothing)
    whole("erase_dilation", erase_dilation, least=0)
    if within("erase_threshold", erase_threshold, 0, 1) == 0:
        raise KerasxaiError("erase_threshold must be above 0, got 0")
    return ACoLHead(
        num_classes,
        width,
        normalize,
        erase_threshold,
        erase_dilation,
        smoothing,
        dropout,
        seed,
        labels=labels,
        name="acol",
    )(features)
