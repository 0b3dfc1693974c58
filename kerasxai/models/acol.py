"""Adversarial complementary learning: a second branch learns from what the first one left over.

Zhang et al. 2018, arXiv:1804.06962; the details follow the authors' code (`xiaomengyc/ACoL`).
"""

from typing import Any

import keras
from keras import ops

from kerasxai.models.heads import check_head, convolution, initializer
from kerasxai.models.label_aware import LabelsShown
from kerasxai.models.model_cloning import twin
from kerasxai.models.pooling import DilatedPooling2D
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import flag, whole, within


def minmax(maps: Any) -> Any:
    """Brings each map of (B, h, w, C) to [0, 1] for itself, in float32; a constant map becomes zeros."""
    maps = ops.cast(maps, "float32")
    low, high = ops.min(maps, (1, 2), keepdims=True), ops.max(maps, (1, 2), keepdims=True)
    return ops.divide_no_nan(maps - low, high - low)


@keras.saving.register_keras_serializable("kerasxai")
class FusedClassMaps(keras.layers.Layer):
    """Joins the class maps of two branches: the larger of both after each was brought to [0, 1].

    `produces_class_maps` tells explainers that the output (B, h, w, C) is the class maps, to be read as it is.
    """

    produces_class_maps = True

    def call(self, map_a: Any, map_b: Any) -> Any:
        """Returns the joint maps (B, h, w, C), float32 in [0, 1]."""
        return ops.maximum(minmax(map_a), minmax(map_b))

    def compute_output_shape(self, map_a_shape: Any, map_b_shape: Any) -> Any:
        """Returns the shape of either map."""
        return map_a_shape


@keras.saving.register_keras_serializable("kerasxai")
class ACoLHead(keras.layers.Layer):
    """Two branches of convolutions on one feature map; the second sees it without what the first found.

    Each branch is 3x3 + ReLU, 3x3 + ReLU, 1x1 to one channel a class; the channels' means are its logits, and those of
    branch A are the output. Branch A's map of one class, brought to [0, 1], erases the features for branch B wherever
    it is at least `erase_threshold`. That class is the true one while `ACoLModel` fits or evaluates, and the one that
    branch A predicts otherwise. No gradient passes through the erasing.

    Departures from the authors' code: branches are 512 wide, not 1024, and batch-normalized (`normalize=False` is
    theirs); the smoothing is an option and off, because
    others use it with VGG alone; a constant map erases nothing instead of giving NaN; `erase_dilation` is ours.

    Args:
        num_classes: Number of classes.
        width: Channels of the 3x3 convolutions.
        normalize: Whether batch normalization stands between each of them and its ReLU.
        erase_threshold: Where A's map in [0, 1] reaches this, features are erased; above 1 nothing is.
        erase_dilation: By how many places the erased region is grown, so that its rim does not give the class away.
        smoothing: Whether the features are averaged over 3x3 first, the zeros of the padding counted.
        dropout: Share of features dropped in training before each branch's 1x1 convolution.
        seed: Seed of the new weights.
        dilation_rate: By how many places the 3x3 convolutions look apart; see `kerasxai.models.with_output_stride`.
        **kwargs: As for `keras.layers.Layer`.

    Attributes:
        explained_class: None, or during a patched pass an integer tensor (B,): the class whose map erases; entries
            below 0 stand for the class that branch A predicts.
        targets: None, or during a patched pass labels, sample weights and the loss (as `compile` takes it, None for
            cross-entropy) that branch B's loss is taken of.
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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if erase_threshold <= 0 or erase_dilation < 0:
            raise KerasxaiError(
                "erase_threshold must be above 0 and erase_dilation at least 0; "
                f"got {erase_threshold!r} and {erase_dilation!r}"
            )
        self.num_classes = num_classes
        self.width = width
        self.normalize = normalize
        self.erase_threshold = erase_threshold
        self.erase_dilation = erase_dilation
        self.smoothing = smoothing
        self.dropout = dropout
        self.seed = seed
        self.dilation_rate = dilation_rate
        self.explained_class: Any = None
        self.targets: Any = None
        self.branch_a = self._branch("branch_a", 0)
        self.branch_b = self._branch("branch_b", 3)
        self.fused = FusedClassMaps(name="fused_class_maps", dtype="float32")

    def _branch(self, name: str, number: int) -> list[keras.layers.Layer]:
        def kernel(place: int) -> keras.initializers.Initializer:
            return initializer(self.seed, number + place)

        policy = self.dtype_policy
        return [
            *convolution(self.width, f"{name}_conv1", self.normalize, kernel(0), policy, self.dilation_rate),
            *convolution(self.width, f"{name}_conv2", self.normalize, kernel(1), policy, self.dilation_rate),
            keras.layers.Dropout(self.dropout, name=f"{name}_dropout", dtype=policy),
            keras.layers.Conv2D(
                self.num_classes, 1, kernel_initializer=kernel(2), name=f"{name}_class_maps", dtype=policy
            ),
        ]

    def build(self, input_shape: Any) -> None:
        """Makes the weights of both branches."""
        for branch in (self.branch_a, self.branch_b):
            shape = input_shape
            for layer in branch:
                layer.build(shape)
                shape = layer.compute_output_shape(shape)
        self.built = True

    def dilated(self, rate: int) -> "ACoLHead":
        """Returns a head with the same variables for a map that is finer by `rate`."""
        return twin(self, dilation_rate=self.dilation_rate * rate, erase_dilation=self.erase_dilation * rate)

    def branches(self, features: Any, explained_class: Any = None, training: bool | None = None) -> dict[str, Any]:
        """Runs both branches.

        Args:
            features: Feature map (B, h, w, K).
            explained_class: Integer tensor (B,), the class whose map erases; None or entries below 0: A's prediction.
            training: As for a layer's call.

        Returns:
            `logits` and `logits_b` (B, C) float32, `map_a` and `map_b` (B, h, w, C), `keep` (B, h, w, 1): 1 where
            branch B sees the features and 0 where they were erased.
        """
        if self.smoothing:
            rim = (self.dilation_rate, self.dilation_rate)
            padded = ops.pad(features, ((0, 0), rim, rim, (0, 0)))
            features = DilatedPooling2D("average", (3, 3), self.dilation_rate, "valid", dtype=self.dtype_policy)(padded)
        map_a = _run(self.branch_a, features, training)
        logits = ops.mean(ops.cast(map_a, "float32"), (1, 2))
        predicted = ops.cast(ops.argmax(logits, -1), "int32")
        if explained_class is None:
            number = predicted
        else:
            number = ops.cast(explained_class, "int32")
            number = ops.where(number < 0, predicted, number)
        keep = ops.cast(self.keep(ops.take_along_axis(map_a, number[:, None, None, None], axis=-1)), features.dtype)
        map_b = _run(self.branch_b, features * keep, training)
        logits_b = ops.mean(ops.cast(map_b, "float32"), (1, 2))
        return {"logits": logits, "logits_b": logits_b, "map_a": map_a, "map_b": map_b, "keep": keep}

    def keep(self, class_map: Any) -> Any:
        """Returns True (B, h, w, 1) where a class map (B, h, w, 1) does not erase."""
        attention = minmax(ops.stop_gradient(class_map))
        if self.erase_dilation:
            # The largest value near a place reaches the threshold exactly where the grown region does.
            attention = ops.max_pool(attention, 2 * self.erase_dilation + 1, 1, "same")
        return attention < self.erase_threshold

    def call(self, features: Any, training: bool | None = None) -> Any:
        """Returns branch A's logits (B, C), float32; outside training the joint class maps are made on the way."""
        parts = self.branches(features, self.explained_class, training)
        if self.targets is not None:
            self.add_loss(_branch_loss(self.targets, parts["logits_b"]))
        if training is not True:
            self.fused(parts["map_a"], parts["map_b"])
        return parts["logits"]

    def compute_output_spec(self, features: Any, training: bool | None = None) -> keras.KerasTensor:
        """Returns (B, C), float32 under every policy."""
        return keras.KerasTensor((features.shape[0], self.num_classes), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that this head was made with."""
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
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


_TRAINED_APART = (keras.layers.Dropout, keras.layers.BatchNormalization)


def _run(layers: list[keras.layers.Layer], x: Any, training: bool | None) -> Any:
    for layer in layers:
        x = layer(x, training=training) if isinstance(layer, _TRAINED_APART) else layer(x)
    return x


def _branch_loss(targets: tuple[Any, Any, Any], logits: Any) -> Any:
    labels, weights, loss = targets
    compiled = keras.losses.get(loss) if isinstance(loss, str | keras.losses.Loss) or callable(loss) else None
    if compiled is None or getattr(compiled, "name", getattr(compiled, "__name__", "")) in _CROSS_ENTROPIES:
        # Of logits: more exact than of probabilities.
        numbers = len(labels.shape) == 1
        plain = keras.losses.sparse_categorical_crossentropy if numbers else keras.losses.categorical_crossentropy
        each = plain(labels, logits, from_logits=True)
    else:
        each = getattr(compiled, "call", compiled)(labels, ops.softmax(logits))
    return ops.mean(each if weights is None else each * ops.reshape(ops.cast(weights, each.dtype), (-1,)))


_CROSS_ENTROPIES = ("sparse_categorical_crossentropy", "categorical_crossentropy")


@keras.saving.register_keras_serializable("kerasxai")
class ACoLModel(LabelsShown):
    """A functional model with an `ACoLHead`, which it shows the labels while it fits and evaluates.

    The loss is the compiled loss on branch A's probabilities plus the same loss on branch B's, equally weighted and
    with the same sample weights. Labels are class numbers (B,) or (B, 1), or rows (B, C) of one-hot or soft labels, of
    which the largest entry erases. Loss weights and label smoothing given to `compile` reach branch A alone. In a
    training loop of one's own patch `explained_class` and `targets` on the head as `train_step` does here.

    Example:
        >>> model = build_classifier("EfficientNetLite0", 8, head="acol")
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> model.fit(images, labels)
    """

    def shown(self, classes: Any, labels: Any, weights: Any) -> dict[str, Any]:
        """Returns the class that erases, and what branch B's loss is taken of."""
        return {"explained_class": classes, "targets": (labels, weights, self.loss)}


def acol(
    features: Any,
    num_classes: int,
    *,
    width: int = 512,
    normalize: bool = True,
    erase_threshold: float = 0.6,
    erase_dilation: int = 0,
    smoothing: bool = False,
    dropout: float = 0.0,
    seed: int | None = None,
) -> Any:
    """Puts an `ACoLHead`, which says what the options mean, on a feature map.

    Args:
        features: Symbolic feature map (B, h, w, K).
        num_classes: Number of classes.
        width: Channels of the 3x3 convolutions.
        normalize: Whether batch normalization stands between each of them and its ReLU.
        erase_threshold: What branch A's map in [0, 1] must reach to erase.
        erase_dilation: By how many places the erased region is grown.
        smoothing: Whether the features are averaged over 3x3 first.
        dropout: Share of features dropped in training.
        seed: Seed of the new weights.

    Returns:
        Symbolic logits (B, num_classes) of branch A, float32, of a layer named `acol`.

    Example:
        >>> logits = acol(backbone.output, 10, width=256)
    """
    check_head(width, normalize, dropout, seed)
    flag("smoothing", smoothing)
    whole("erase_dilation", erase_dilation, least=0)
    if within("erase_threshold", erase_threshold, 0, 1) == 0:
        raise KerasxaiError("erase_threshold must be above 0, got 0")
    return ACoLHead(
        num_classes, width, normalize, erase_threshold, erase_dilation, smoothing, dropout, seed, name="acol"
    )(features)
