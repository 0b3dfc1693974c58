"""Networks to explain: those of keras.applications, and a transformer, a U-Net, a detector, twins and three tasks.

Each comes with a plain way to its score, without any of kerasxai.
"""

import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kerasxai

layers, ops = keras.layers, keras.ops
CLASSES = 3
TARGET = 1


@dataclass(frozen=True)
class Network:
    """A model, and what is explained of it.

    Attributes:
        model: The model.
        side: Height and width of its images.
        layer: The path of the layer whose map is explained.
        plain: From images `(B, H, W, 3)` to the explained scores `(B,)` and the layer's map `(B, h, w, K)`, in plain
            TensorFlow.
        given: From images to what the model takes.
        targets: What the score is asked for.
        options: For the explainer, for all methods.
        named: Whether `layer` has to be named; otherwise it is the one that is explained by default.
        kernel: Of a head that is the mean over places and one dense layer: its weights `(K,)` of the target.
    """

    model: Any
    side: tuple[int, int]
    layer: str
    plain: Callable[[Any], tuple[Any, Any]]
    given: Callable[[Any], Any] = lambda images: images
    targets: Any = TARGET
    options: Mapping[str, Any] = field(default_factory=dict)
    named: bool = False
    kernel: Any = None


def noise(count: int, side: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 1, (count, *side, 3)).astype("float32")


def quarters_of(side: tuple[int, int]) -> np.ndarray:
    """The number of each pixel's quarter of the image, 0 to 3, `(H, W)`."""
    rows, columns = (np.arange(length) >= length // 2 for length in side)
    return 2 * rows[:, None] + columns


def versions(image: np.ndarray, seen: Iterable[tuple[int, ...]]) -> list[np.ndarray]:
    """An image of which some quarters are seen, and the others black."""
    return [image * np.array(one, "float32")[quarters_of(image.shape[:2])][..., None] for one in seen]


def calibrate(model: Any, images: Any) -> None:
    """Gives batch normalizations the statistics of some images, without which random weights leave nothing of them."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)


def application(
    name: str,
    layer: str,
    pooled: bool,
    side: tuple[int, int] = (64, 64),
    before: str | None = None,
    whole: bool = True,
) -> Network:
    """A classifier of keras.applications with random weights whose logits differ.

    The map of an operation, which is not a layer, is the input of the layer `before`. Of a network that is not `whole`,
    only the blocks up to `layer` are kept, under a pooling head: every kind of block in a fraction of the time.
    """
    build = getattr(keras.applications, name)
    raw = {"include_preprocessing": False} if "include_preprocessing" in inspect.signature(build).parameters else {}
    model = build(weights=None, input_shape=(*side, 3), classes=CLASSES, **raw)
    map_ = model.get_layer(layer).output if before is None else model.get_layer(before).input
    if not whole:
        pooling = layers.GlobalAveragePooling2D()(map_)
        model = keras.Model(model.input, layers.Dense(CLASSES, activation="softmax", name="top")(pooling))
    # Of images like those that are looked at: others would blow some networks up.
    image = noise(1, side)[0]
    some = np.stack([*versions(image, itertools.product((0, 1), repeat=4)), image / 2])
    calibrate(model, some)
    body = keras.Model(model.input, [map_, model.layers[-1].input])
    last = next(one for one in reversed(model.layers) if one.weights)

    def plain(images: Any) -> tuple[Any, Any]:
        map, before = body(images, training=False)
        logits = before @ last.kernel if last is model.layers[-1] else before
        return logits[:, TARGET], map

    # Whatever random weights gave, the logits have to differ.
    last.kernel.assign(last.kernel / (np.std(plain(some)[0]) + 1e-12))
    with tf.GradientTape() as tape:
        logits, map = plain(some[15:16])
    weights = tf.reduce_mean(tape.gradient(logits, map), (1, 2), keepdims=True)
    if tf.reduce_max(tf.reduce_sum(weights * map, -1)) <= 0:
        # There has to be something that speaks for the class.
        last.kernel.assign(-last.kernel)
    return Network(model, side, layer, plain, kernel=last.kernel[:, TARGET].numpy() if pooled else None)


class Positions(keras.layers.Layer):
    """Puts a class token before the tokens of the patches, and says of each where it is."""

    def build(self, shape: Any) -> None:
        self.table = self.add_weight(shape=(shape[1] + 1, shape[2]), initializer="random_normal", name="table")

    def call(self, tokens: Any) -> Any:
        return ops.pad(tokens, [(0, 0), (1, 0), (0, 0)]) + self.table


def vision_transformer() -> Network:
    """Two blocks of attention over 4 x 6 patches and a class token, which alone is read by the head."""
    side, width = (16, 24), 8
    image = keras.Input((*side, 3))
    x = layers.Conv2D(width, 4, strides=4, name="patches")(image)
    x = Positions(name="positions")(layers.Reshape((24, width))(x))
    for number in range(2):
        seen = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(seen, seen)])
        wide = layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add(name=f"block_{number}")([x, layers.Dense(width)(wide)])
    x = layers.LayerNormalization()(x)
    model = keras.Model(image, layers.Dense(CLASSES, activation="softmax", name="top")(x[:, 0]))
    tokens = model.get_layer("block_0").output
    lower, upper = keras.Model(image, tokens), keras.Model(tokens, x)
    kernel, bias = model.get_layer("top").weights

    def plain(images: Any) -> tuple[Any, Any]:
        tokens = lower(images)
        map = tf.reshape(tokens[:, 1:], (-1, 4, 6, width))
        tokens = tf.concat([tokens[:, :1], tf.reshape(map, (-1, 24, width))], 1)
        logits = upper(tokens)[:, 0] @ kernel + bias
        return logits[:, TARGET], map

    return Network(model, side, "block_0", plain, named=True)


def u_net() -> Network:
    """Pixels of three classes from two levels and a bottleneck, joined by skips."""
    side = (16, 24)
    image = keras.Input((*side, 3))
    skips, x = [], image
    for number, width in enumerate((6, 8)):
        x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"down_{number}")(x)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(10, 3, padding="same", activation="relu", name="bottleneck")(x)
    for number, skip in enumerate(reversed(skips)):
        x = layers.Conv2DTranspose(skip.shape[-1], 2, strides=2, name=f"up_{number}")(x)
        x = layers.Conv2D(skip.shape[-1], 3, padding="same", activation="relu")(layers.Concatenate()([x, skip]))
    model = keras.Model(image, layers.Conv2D(CLASSES, 1, activation="softmax", name="pixels")(x))
    body = keras.Model(image, [model.get_layer("bottleneck").output, x])
    kernel, bias = model.get_layer("pixels").weights
    mask = np.zeros(side, np.float32)
    mask[3:12, 5:20] = 1

    def plain(images: Any) -> tuple[Any, Any]:
        map, features = body(images)
        logit = (features @ kernel[0, 0] + bias)[..., TARGET]
        score = tf.reduce_sum(logit * mask, (1, 2)) / mask.sum()
        return score, map

    options = {"score": kerasxai.scores.mask_mean(TARGET)}
    return Network(model, side, "bottleneck", plain, targets=mask[None], options=options, named=True)


def detector() -> Network:
    """One box and one class a place; what is explained is the strongest place of a class."""
    side = (24, 24)
    image, x = (one := keras.Input((*side, 3))), one
    for number, width in enumerate((6, 8, 10)):
        x = layers.Conv2D(width, 3, strides=2 if number else 1, padding="same", activation="relu")(x)
    x = layers.BatchNormalization(name="features")(x)
    scores = layers.Conv2D(CLASSES, 3, padding="same", activation="sigmoid", name="scores")(x)
    boxes = layers.Conv2D(4, 3, padding="same", activation="sigmoid", name="boxes")(x)
    model = keras.Model(
        image, {"boxes": layers.Reshape((-1, 4))(boxes), "scores": layers.Reshape((-1, CLASSES))(scores)}
    )
    body = keras.Model(image, x)
    kernel, bias = model.get_layer("scores").weights

    def plain(images: Any) -> tuple[Any, Any]:
        map = body(images)
        logits = tf.nn.conv2d(map, kernel, 1, "SAME") + bias
        best = tf.reduce_max(logits[..., TARGET], (1, 2))
        return best, map

    return Network(model, side, "features", plain, options={"score": kerasxai.scores.box("scores")})


def twins() -> Network:
    """How alike two images are: one encoder looks at both; the left one is explained, the right one stands still."""
    side = (16, 16)
    left, right = (keras.Input((*side, 3), name=name) for name in ("left", "right"))
    encoder = keras.Sequential(
        [
            keras.Input((*side, 3)),
            layers.Conv2D(6, 3, strides=2, activation="relu", name="low"),
            layers.Conv2D(8, 3, activation="relu", name="high"),
        ],
        name="encoder",
    )
    pool, project = layers.GlobalAveragePooling2D(), layers.Dense(4, name="embedding")
    vectors = [project(pool(encoder(x))) for x in (left, right)]
    model = keras.Model([left, right], layers.Dot(-1, normalize=True, name="likeness")(vectors))
    other = noise(1, side, seed=7)

    def plain(images: Any) -> tuple[Any, Any]:
        map = encoder(images)
        one, two = (project(tf.reduce_mean(x, (1, 2))) for x in (map, encoder(other)))
        alike = tf.reduce_sum(tf.nn.l2_normalize(one, -1) * tf.nn.l2_normalize(two, -1), -1)
        return alike, map

    options = {"score": kerasxai.scores.value(), "image_input": "left"}
    # Keras runs the call on the right image first; the other one looks at what is explained, and is found by itself.
    return Network(model, side, "encoder/high:1", plain, lambda images: [images, other], targets=None, options=options)


def three_tasks() -> Network:
    """A class, several labels and an age from one body; what is explained is one of the labels."""
    side = (20, 16)
    image = keras.Input((*side, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="swish")(image)
    x = layers.SeparableConv2D(8, 3, padding="same", activation="relu", name="shared")(x)
    pooled = layers.GlobalAveragePooling2D()(x)
    heads = {
        "kind": layers.Dense(CLASSES, activation="softmax", name="kind")(pooled),
        "labels": layers.Dense(5, activation="sigmoid", name="labels")(pooled),
        "age": layers.Dense(1, name="age")(layers.Dense(4, activation="relu")(pooled)),
    }
    model = keras.Model(image, heads)
    body = keras.Model(image, x)
    kernel, bias = model.get_layer("labels").weights

    def plain(images: Any) -> tuple[Any, Any]:
        map = body(images)
        logit = (tf.reduce_mean(map, (1, 2)) @ kernel + bias)[:, TARGET]
        return logit, map

    options = {"score": kerasxai.scores.class_logit("labels")}
    return Network(model, side, "shared", plain, options=options, kernel=kernel[:, TARGET].numpy())


WHOLE_APPLICATIONS: dict[str, Callable[[], Network]] = {
    "ResNet50V2": lambda: application("ResNet50V2", "post_relu", True),
    "VGG16": lambda: application("VGG16", "block5_pool", False),
    "DenseNet121": lambda: application("DenseNet121", "relu", True),
    "MobileNetV3Small": lambda: application("MobileNetV3Small", "activation_17", False),
    "EfficientNetV2B0": lambda: application("EfficientNetV2B0", "top_activation", True),
    "ConvNeXtTiny": lambda: application(
        "ConvNeXtTiny", "add_17 (operation)", False, (64, 32), before="convnext_tiny_head_gap"
    ),
    "Xception": lambda: application("Xception", "block14_sepconv2_act", True, (72, 72)),
    "InceptionV3": lambda: application("InceptionV3", "mixed10", True, (108, 108)),
}

# Up to the first block of each kind that the network has.
FIRST_BLOCKS: dict[str, Callable[[], Network]] = {
    "ResNet50V2": lambda: application("ResNet50V2", "conv2_block3_out", True, (32, 32), whole=False),
    "DenseNet121": lambda: application("DenseNet121", "conv3_block1_concat", True, (32, 32), whole=False),
    "ConvNeXtTiny": lambda: application(
        *("ConvNeXtTiny", "add_4 (operation)", True, (32, 32)),
        before="convnext_tiny_stage_1_block_2_depthwise_conv",
        whole=False,
    ),
    "MobileNetV3Small": lambda: application("MobileNetV3Small", "expanded_conv_4_add", True, whole=False),
    "Xception": lambda: application("Xception", "block3_pool", True, (72, 72), whole=False),
    "InceptionV3": lambda: application("InceptionV3", "mixed0", True, (80, 80), whole=False),
}

NETWORKS: dict[str, Callable[[], Network]] = {
    "VGG16": WHOLE_APPLICATIONS["VGG16"],
    "vision transformer": vision_transformer,
    "U-Net": u_net,
    "detector": detector,
    "twins": twins,
    "three tasks": three_tasks,
}
