"""Pictures that excite a class, a channel or a neuron as much as can be: gradient ascent on the image."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from kerasxai.engine.images.image_input import image_side
from kerasxai.engine.layers import input_specs
from kerasxai.engine.scores import read_classes
from kerasxai.features.augmentation import Augmentation
from kerasxai.features.capture import chosen_output, run_recorded
from kerasxai.features.parametrization import Parametrization, start_parameters
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.progress import Bar

_FRESH = 1_000_003
_BATCH = 16


@dataclass(frozen=True)
class Ascent:
    """What gradient ascent found.

    Attributes:
        images: `(B, H, W, 3)` float32 in [0, 255], one for each pair of target and seed.
        scores: `(steps, B)` float32: the score of each augmented image, step by step.
        frames: `(F, B, H, W, 3)` uint8: the pictures on the way, the last one among them; empty unless asked for.
        frame_steps: `(F,)` int64: after how many steps each frame was taken.
        targets: `(B,)` int64.
        seeds: `(B,)` int64.
        layer: The layer whose channel was maximized, None for a class.
    """

    images: np.ndarray
    scores: np.ndarray
    frames: np.ndarray
    frame_steps: np.ndarray
    targets: np.ndarray
    seeds: np.ndarray
    layer: str | None


def visualize(model: Any, target: int | Sequence[int], seed: int | Sequence[int] = 0, **options: Any) -> np.ndarray:
    """Make a picture that the model takes for a class, or that excites a channel or a neuron of a layer.

    Args:
        model: Any Keras model that takes images of three channels or one.
        target: The class, or the channel of `layer=`; several make several pictures at once.
        seed: Of the start and of all that is random; several make several pictures at once.
        **options: As for `ascend`.

    Returns:
        `(H, W, 3)` float32 in [0, 255]; `(B, H, W, 3)` where `target` or `seed` is a sequence.

    Raises:
        KerasxaiError: As for `ascend`.

    Example:
        >>> picture = visualize(model, 340)  # zebra
        >>> channel = visualize(model, 7, layer="backbone/block4b_add", size=160)
    """
    images = ascend(model, target, seed, **options).images
    return images[0] if np.ndim(target) == 0 and np.ndim(seed) == 0 else images


def ascend(
    model: Any,
    target: int | Sequence[int],
    seed: int | Sequence[int] = 0,
    *,
    layer: Any = None,
    position: tuple[int, int] | None = None,
    size: int | tuple[int, int] | None = None,
    steps: int = 256,
    start: Any = "noise",
    parametrization: str = "fourier",
    decorrelated: bool = True,
    augmentation: Augmentation | None = None,
    learning_rate: float = 0.05,
    total_variation: float = 20.0,
    l2: float = 0.0,
    strength: float = 0.1,
    decay: float = 1.4,
    pixel_range: tuple[float, float] = (0.0, 255.0),
    frames: int = 0,
    progress: bool | None = None,
) -> Ascent:
    """Maximize a score by gradient ascent on the image; see `visualize` for the picture alone.

    What makes a picture that people recognize, rather than noise that only the network does: each step sees the
    image moved a little (jitter, scale, rotation), and what is moved is the image's spectrum in the principal colors
    of photographs, where a step is as large for coarse shapes as for fine lines (Olah et al., Feature Visualization,
    Distill 2017, https://distill.pub/2017/feature-visualization). Other than there, colors are those of
    scikit-image's photographs, values become pixels by a tanh, and the optimizer's steps shrink by a cosine.

    Args:
        model: Any Keras model that takes images of three channels or one.
        target: The class, or the channel of `layer`, or several.
        seed: Of the start and of what is random on the way, or several. All pictures are made in one batch, and each
            depends on its own seed alone; several seeds and several targets are combined, each with each.
        layer: None maximizes the logit of a class; a path, name or layer the mean of a channel over its places.
        position: Row and column of the one neuron that is maximized instead of its channel's mean.
        size: Side in pixels, or height and width; None is the model's own, 224 where it takes any.
        steps: How many.
        start: `"noise"`, `"gray"`, `"black"`, or an image `(H, W, 3)` in [0, 255].
        parametrization: `"fourier"` or `"pixel"`.
        decorrelated: Whether colors are principal colors of photographs.
        augmentation: How far images are moved; None: an `Augmentation` that suits 224 pixels, scaled to `size`.
            `Augmentation(0, 0, 0)` moves nothing.
        learning_rate: Of Adam.
        total_variation: Weight of the mean absolute difference of neighboring pixels, which is subtracted.
        l2: Weight of the mean squared distance from gray, which is subtracted.
        strength: Of the noise at the start, as a standard deviation.
        decay: How much weaker fine waves move than coarse ones, as a power of the frequency.
        pixel_range: What the model takes for black and for white.
        frames: How many pictures on the way are kept, evenly spread.
        progress: Whether a bar shows on stderr; None shows it where stderr is a terminal.

    Returns:
        An `Ascent`.

    Raises:
        KerasxaiError: A target, position, layer or setting that there is not.

    Example:
        >>> ascent = ascend(model, [340, 985], seed=[0, 1], steps=128, frames=8)
        >>> ascent.images.shape, ascent.frames.shape
        ((4, 224, 224, 3), (8, 4, 224, 224, 3))
    """
    if steps < 1 or frames < 0:
        raise KerasxaiError(f"steps must be 1 or more and frames 0 or more, came steps={steps}, frames={frames}")
    targets, seeds = _pairs(target, seed)
    side = image_side(model, size)
    channels = _channels(model)
    made = Parametrization(parametrization, side, decorrelated, channels, decay)
    variable = keras.Variable(
        start_parameters(made, start, seeds.tolist(), strength, lambda x: tf.image.resize(x, side).numpy())
    )
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps, 0.05))
    optimizer.build([variable])
    moved = _augmentation_for(side[0]) if augmentation is None else augmentation
    score = _Score(model, layer, position, targets, pixel_range)

    @tf.function(autograph=False)
    def step(number: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variable.value)
            images = made.images(variable.value)
            draws = tf.stack([tf.constant(seeds % 2**31, tf.int32), tf.fill((len(seeds),), number)], -1)
            scores = score(moved(images, draws))
            penalty = total_variation * _total_variation(images) + l2 * tf.reduce_mean((images - 0.5) ** 2, (1, 2, 3))
            # Each picture has its own part of the parameters, so that their losses can be added up.
            loss = tf.reduce_sum(penalty - scores)
        optimizer.apply([tape.gradient(loss, variable.value)], [variable])
        return scores

    kept = np.unique(np.rint(np.linspace(1, steps, min(frames, steps))).astype(int)) if frames else np.zeros(0, int)
    history, films = [], []
    with Bar(steps, "ascent", progress) as bar:
        for number in range(1, steps + 1):
            history.append(step(tf.constant(number)).numpy())
            if number in kept:
                films.append(np.rint(255 * made.images(variable.value).numpy()).astype(np.uint8))
            bar.reach(number)
    images = np.clip(255 * made.images(variable.value).numpy(), 0, 255)
    film = np.stack(films) if films else np.zeros((0, *images.shape), np.uint8)
    return Ascent(images, np.stack(history), film, kept.astype(np.int64), targets, seeds, score.path)


def robust_probabilities(
    model: Any,
    images: np.ndarray,
    targets: ArrayLike,
    *,
    samples: int = 16,
    seed: int = 0,
    augmentation: Augmentation | None = None,
    pixel_range: tuple[float, float] = (0.0, 255.0),
) -> np.ndarray:
    """Measure how sure a model is of images that are moved by augmentations they were not made under.

    Args:
        model: A classifier.
        images: `(B, H, W, C)` in [0, 255].
        targets: The class of each image, or one for all.
        samples: How many augmentations of each image.
        seed: Of the augmentations; they are other draws than those of `ascend`, whatever its seed.
        augmentation: As for `ascend`.
        pixel_range: As for `ascend`.

    Returns:
        `(B, samples)` float32 probabilities of the target class.

    Example:
        >>> robust_probabilities(model, visualize(model, 340)[None], 340).mean() > 0.9
        True
    """
    images = np.asarray(images, np.float32)
    wanted = np.broadcast_to(np.asarray(targets, np.int64), (len(images),))
    moved = _augmentation_for(images.shape[1]) if augmentation is None else augmentation

    @tf.function(autograph=False)
    def probabilities(batch: Any, targets: Any, draws: Any) -> Any:
        _, outputs = run_recorded(model, _to_range(moved(batch, draws) / 255, pixel_range))
        return tf.gather(read_classes(outputs).probabilities(), targets, batch_dims=1)

    rows = []
    for image, target in zip(images, wanted, strict=True):
        found: list[np.ndarray] = []
        for first in range(0, samples, _BATCH):
            count = min(_BATCH, samples - first)
            draws = np.stack([np.full(count, seed), -_FRESH - np.arange(first, first + count)], -1).astype(np.int32)
            batch = np.repeat(image[None], count, 0)
            found.append(probabilities(tf.constant(batch), tf.constant(np.full(count, target)), draws).numpy())
        rows.append(np.concatenate(found))
    return np.stack(rows)


class _Score:
    """What is maximized, `(B,)`, of images in [0, 1]."""

    def __init__(self, model: Any, layer: Any, position: Any, targets: np.ndarray, pixel_range: Any) -> None:
        self.model, self.layer, self.position = model, layer, position
        self.targets, self.pixel_range = targets, pixel_range
        self.path: str | None = None
        if position is not None and layer is None:
            raise KerasxaiError("position= names a place in a layer's map; give layer= as well")

    def __call__(self, images: Any) -> Any:
        shown = _to_range(images, self.pixel_range)
        calls, outputs = run_recorded(self.model, shown)
        if self.layer is not None:
            self.path, output = chosen_output(self.model, self.layer, calls, outputs, shown)
            return self._of_channel(tf.cast(output, tf.float32))
        if not isinstance(outputs, tf.Tensor) or outputs.shape.rank != 2:
            raise KerasxaiError(f"the model {self.model.name!r} does not give (batch, classes); name a layer= instead")
        self._check(max(2, outputs.shape[-1]), "classes")
        return read_classes(outputs).of(tf.constant(self.targets))

    def _of_channel(self, output: Any) -> Any:
        self._check(output.shape[-1], f"channels of {self.path!r}")
        mine = tf.gather(output, self.targets, axis=-1, batch_dims=0)
        mine = tf.linalg.diag_part(tf.transpose(mine, (*range(1, output.shape.rank - 1), 0, output.shape.rank - 1)))
        # Now (places ..., B): the own channel of each picture.
        if self.position is None:
            return tf.reduce_mean(tf.reshape(mine, (-1, len(self.targets))), 0)
        shape = tuple(mine.shape[:-1])
        if len(shape) != len(self.position) or any(not -n <= p < n for p, n in zip(self.position, shape, strict=False)):
            raise KerasxaiError(f"position {self.position} does not lie in the map of {self.path!r}, which is {shape}")
        for place in self.position:
            mine = mine[place]
        return mine

    def _check(self, count: int, what: str) -> None:
        if self.targets.max() >= count or self.targets.min() < 0:
            raise KerasxaiError(
                f"target {self.targets.max()} is out of range: there are {count} {what}, 0 to {count - 1}"
            )


def _pairs(target: Any, seed: Any) -> tuple[np.ndarray, np.ndarray]:
    try:
        targets = [operator.index(one) for one in (target if np.ndim(target) else [target])]
        seeds = [operator.index(one) for one in (seed if np.ndim(seed) else [seed])]
    except TypeError as error:
        raise KerasxaiError(f"target and seed must be whole numbers, came {target!r} and {seed!r}") from error
    if not targets or not seeds:
        raise KerasxaiError("expected at least one target and one seed")
    return np.repeat(targets, len(seeds)).astype(np.int64), np.tile(seeds, len(targets)).astype(np.int64)


def _channels(model: Any) -> int:
    spec = input_specs(model)
    if not isinstance(spec, tf.TensorSpec) or spec.shape.rank != 4:
        return 3
    return spec.shape[3] if spec.shape[1] not in (1, 3) else spec.shape[1]


def _augmentation_for(side: int) -> Augmentation:
    usual = Augmentation()
    return Augmentation(usual.jitter * side / 224, usual.scale, usual.rotation)


def _to_range(images: Any, pixel_range: tuple[float, float]) -> Any:
    black, white = pixel_range
    return black + (white - black) * images


def _total_variation(images: Any) -> Any:
    down = tf.reduce_mean(tf.abs(images[:, 1:] - images[:, :-1]), (1, 2, 3))
    right = tf.reduce_mean(tf.abs(images[:, :, 1:] - images[:, :, :-1]), (1, 2, 3))
    return down + right
