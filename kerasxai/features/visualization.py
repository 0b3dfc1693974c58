"""Feature visualization: pictures that maximize a class, a channel or a neuron, by gradient ascent."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict, Unpack

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from kerasxai.engine.images.image_input import image_side
from kerasxai.engine.layers import input_specs
from kerasxai.engine.scores import read_classes
from kerasxai.features.augmentation import Augmentation
from kerasxai.features.capture import LayerName, Tensors, chosen_output, run_recorded
from kerasxai.features.parametrization import Parametrization, start_parameters
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import whole
from kerasxai.tools.progress import Bar

# Offset of the step numbers of `robust_probabilities`, so that its draws differ from all those of `ascend`.
_FRESH = 1_000_003
_BATCH = 16


@dataclass(frozen=True)
class Ascent:
    """Result of gradient ascent.

    Attributes:
        images: `(B, H, W, 3)` float32 in [0, 255], one for each pair of target and seed.
        scores: `(steps, B)` float32: the score of each augmented image at each step.
        frames: `(F, B, H, W, 3)` uint8: intermediate pictures, including the last; empty by default.
        frame_steps: `(F,)` int64: the number of steps before each frame.
        targets: `(B,)` int64.
        seeds: `(B,)` int64.
        layer: The layer whose channel was maximized, None for a class.
    """

    images: NDArray[np.float32]
    scores: NDArray[np.float32]
    frames: NDArray[np.uint8]
    frame_steps: NDArray[np.int64]
    targets: NDArray[np.int64]
    seeds: NDArray[np.int64]
    layer: str | None


class AscentOptions(TypedDict, total=False):
    """The fields of `AscentSettings`, as keywords of `visualize` and `ascend`."""

    layer: LayerName
    position: Sequence[int] | None
    size: int | tuple[int, int] | None
    steps: int
    start: str | ArrayLike
    parametrization: str
    decorrelated: bool
    augmentation: Augmentation | None
    learning_rate: float
    total_variation: float
    l2: float
    strength: float
    decay: float
    pixel_range: tuple[float, float]
    frames: int
    progress: bool | None


@dataclass(frozen=True)
class AscentSettings:
    """Settings of gradient ascent.

    Attributes:
        layer: None: maximize the logit of a class; a path, name or layer: maximize the mean of a channel over all
            positions.
        position: Row and column of one neuron to maximize instead of the mean of its channel.
        size: Side in pixels, or height and width; None: the input size of the model, 224 if it takes any.
        steps: Number of steps.
        start: `"noise"`, `"gray"`, `"black"`, or an image `(H, W, 3)` in [0, 255].
        parametrization: `"fourier"` or `"pixel"`.
        decorrelated: Whether colors are the principal colors of photographs.
        augmentation: Ranges of the random transforms; None: those of `Augmentation` for 224 pixels, scaled to `size`.
            `Augmentation(0, 0, 0)` disables them.
        learning_rate: Learning rate of Adam.
        total_variation: Weight of the penalty on the mean absolute difference of neighboring pixels.
        l2: Weight of the penalty on the mean squared distance from gray.
        strength: Standard deviation of the noise at the start.
        decay: Attenuation of high frequencies, as a power of the frequency.
        pixel_range: The values of black and white in the input of the model.
        frames: Number of intermediate pictures to keep, evenly spaced.
        progress: Whether to show a progress bar on stderr; None: in a terminal, else a line every 30 seconds.

    Raises:
        KerasxaiError: A number of steps or frames is out of range, or `position` is given without `layer`.
    """

    layer: LayerName = None
    position: Sequence[int] | None = None
    size: int | tuple[int, int] | None = None
    steps: int = 256
    start: str | ArrayLike = "noise"
    parametrization: str = "fourier"
    decorrelated: bool = True
    augmentation: Augmentation | None = None
    learning_rate: float = 0.05
    total_variation: float = 20.0
    l2: float = 0.0
    strength: float = 0.1
    decay: float = 1.4
    pixel_range: tuple[float, float] = (0.0, 255.0)
    frames: int = 0
    progress: bool | None = None

    def __post_init__(self) -> None:
        whole("steps", self.steps, least=1)
        whole("frames", self.frames, least=0)
        if self.position is not None and self.layer is None:
            raise KerasxaiError("expected position= together with layer=, got position= alone; name the layer")


def visualize(
    model: keras.Model, target: int | Sequence[int], seed: int | Sequence[int] = 0, **options: Unpack[AscentOptions]
) -> NDArray[np.float32]:
    """Make a picture that maximizes a class, a channel or a neuron of a model.

    Args:
        model: Any Keras model for images of three channels or one.
        target: The class, or the channel of `layer=`; a sequence makes several pictures in one batch.
        seed: Seed of the start and of the augmentation; a sequence makes several pictures in one batch.
        **options: As for `ascend`.

    Returns:
        `(H, W, 3)` float32 in [0, 255]; `(B, H, W, 3)` if `target` or `seed` is a sequence.

    Raises:
        KerasxaiError: As for `ascend`.

    Example:
        >>> picture = visualize(model, 340)  # zebra
        >>> channel = visualize(model, 7, layer="backbone/block4b_add", size=160)
    """
    images = ascend(model, target, seed, **options).images
    return images[0] if np.ndim(target) == 0 and np.ndim(seed) == 0 else images


def ascend(
    model: keras.Model, target: int | Sequence[int], seed: int | Sequence[int] = 0, **options: Unpack[AscentOptions]
) -> Ascent:
    """Maximize a score by gradient ascent on the image; see `visualize` for the picture alone.

    Two things turn adversarial noise into recognizable pictures: the image is randomly shifted, scaled and rotated at
    each step, and it is parametrized by its spectrum in the principal colors of photographs, so that steps are equally
    large at coarse and fine scales (Olah et al., Feature Visualization, Distill 2017,
    https://distill.pub/2017/feature-visualization). Differences from the article: colors are those of the photographs
    of scikit-image, values become pixels by a tanh, and the learning rate follows a cosine decay.

    Args:
        model: Any Keras model for images of three channels or one.
        target: The class, or the channel of `layer=`, or several.
        seed: Seed of the start and of the augmentation, or several. Each target is combined with each seed; all
            pictures are made in one batch, and each depends on its own seed only.
        **options: The fields of `AscentSettings`.

    Returns:
        An `Ascent`.

    Raises:
        KerasxaiError: The target, position or layer does not exist, or a setting is out of range.

    Example:
        >>> ascent = ascend(model, [340, 985], seed=[0, 1], steps=128, frames=8)
        >>> ascent.images.shape, ascent.frames.shape
        ((4, 224, 224, 3), (8, 4, 224, 224, 3))
    """
    settings = AscentSettings(**options)
    targets, seeds = _pairs(target, seed)
    size = image_side(model, settings.size)
    parametrization = Parametrization(
        settings.parametrization, size, settings.decorrelated, _channels(model), settings.decay
    )
    score = _Score(model, targets, settings)
    variable, step = _training_step(parametrization, score, seeds, settings)

    def pictures() -> NDArray[np.float32]:
        return 255 * parametrization.images(variable.value).numpy()

    steps, history, films = settings.steps, [], []
    kept = np.unique(np.rint(np.linspace(1, steps, min(settings.frames, steps)))).astype(np.int64)
    with Bar(steps, "ascent", settings.progress, unit="step") as bar:
        for number in range(1, steps + 1):
            history.append(step(tf.constant(number)).numpy())
            if number in kept:
                films.append(np.rint(pictures()).astype(np.uint8))
            bar.reach(number)
    images = np.clip(pictures(), 0, 255)
    frames = np.stack(films) if films else np.zeros((0, *images.shape), np.uint8)
    return Ascent(images, np.stack(history), frames, kept, targets, seeds, score.path)


def _training_step(
    parametrization: Parametrization, score: "_Score", seeds: NDArray[np.int64], settings: AscentSettings
) -> tuple[keras.Variable, Callable[[tf.Tensor], tf.Tensor]]:
    """Return the parameters of the images, and the function of one step of Adam, which returns the scores."""
    height, width = parametrization.size
    start = start_parameters(
        parametrization,
        settings.start,
        seeds.tolist(),
        settings.strength,
        lambda image: tf.image.resize(image, (height, width)).numpy(),
    )
    variable = keras.Variable(start)
    schedule = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.steps, 0.05)
    optimizer = keras.optimizers.Adam(schedule)
    optimizer.build([variable])
    augmentation = settings.augmentation or _augmentation_for(height)

    @tf.function(autograph=False)
    def step(number: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variable.value)
            images = parametrization.images(variable.value)
            draws = tf.stack([tf.constant(seeds % 2**31, tf.int32), tf.fill((len(seeds),), number)], -1)
            scores = score(augmentation(images, draws))
            distance = tf.reduce_mean((images - 0.5) ** 2, (1, 2, 3))
            penalty = settings.total_variation * _total_variation(images) + settings.l2 * distance
            # Pictures share no parameters, so the gradient of the sum is the gradient of each.
            loss = tf.reduce_sum(penalty - scores)
        optimizer.apply([tape.gradient(loss, variable.value)], [variable])
        return scores

    return variable, step


def robust_probabilities(
    model: keras.Model,
    images: ArrayLike,
    targets: ArrayLike,
    *,
    samples: int = 16,
    seed: int = 0,
    augmentation: Augmentation | None = None,
    pixel_range: tuple[float, float] = (0.0, 255.0),
) -> NDArray[np.float32]:
    """Measure the probabilities of class pictures under augmentations that were not used to make them.

    Args:
        model: A classifier.
        images: `(B, H, W, C)` in [0, 255].
        targets: The class of each image, or one for all.
        samples: Number of augmentations of each image.
        seed: Seed of the augmentations; the draws differ from those of `ascend` for every seed.
        augmentation: As for `ascend`.
        pixel_range: As for `ascend`.

    Returns:
        `(B, samples)` float32 probabilities of the target class.

    Example:
        >>> robust_probabilities(model, visualize(model, 340)[None], 340).mean() > 0.9
        True
    """
    pixels = np.asarray(images, np.float32)
    classes = np.broadcast_to(np.asarray(targets, np.int64), (len(pixels),))
    augment = _augmentation_for(pixels.shape[1]) if augmentation is None else augmentation

    @tf.function(autograph=False)
    def probabilities(batch: tf.Tensor, targets: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        _, outputs = run_recorded(model, _to_range(augment(batch, draws) / 255, pixel_range))
        return tf.gather(read_classes(outputs).probabilities(), targets, batch_dims=1)

    rows = []
    for image, target in zip(pixels, classes, strict=True):
        found: list[NDArray[np.float32]] = []
        for first in range(0, samples, _BATCH):
            count = min(_BATCH, samples - first)
            draws = np.stack([np.full(count, seed), -_FRESH - np.arange(first, first + count)], -1).astype(np.int32)
            batch = np.repeat(image[None], count, 0)
            found.append(probabilities(tf.constant(batch), tf.constant(np.full(count, target)), draws).numpy())
        rows.append(np.concatenate(found))
    return np.stack(rows)


class _Score:
    """The score `(B,)` to maximize, of images in [0, 1]."""

    def __init__(self, model: keras.Model, targets: NDArray[np.int64], settings: AscentSettings) -> None:
        self.model, self.targets = model, targets
        self.layer, self.position, self.pixel_range = settings.layer, settings.position, settings.pixel_range
        self.path: str | None = None

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        inputs = _to_range(images, self.pixel_range)
        calls, outputs = run_recorded(self.model, inputs)
        if self.layer is not None:
            self.path, output = chosen_output(self.model, self.layer, calls, outputs, inputs)
            return self._of_channel(tf.cast(output, tf.float32))
        if not isinstance(outputs, tf.Tensor) or outputs.shape.rank != 2:
            raise KerasxaiError(
                f"expected a model that returns (batch, classes), got {_shapes(outputs)} from {self.model.name!r}; "
                "name a layer"
            )
        self._check(max(2, outputs.shape[-1]), "classes")
        return read_classes(outputs).of(tf.constant(self.targets))

    def _of_channel(self, output: tf.Tensor) -> tf.Tensor:
        self._check(output.shape[-1], f"channels of {self.path!r}")
        # Channels of all targets for each picture, (B, ..., B); the diagonal has the channel of each picture, (..., B).
        values = tf.gather(output, self.targets, axis=-1)
        values = tf.linalg.diag_part(tf.transpose(values, (*range(1, output.shape.rank - 1), 0, output.shape.rank - 1)))
        if self.position is None:
            return tf.reduce_mean(tf.reshape(values, (-1, len(self.targets))), 0)
        shape = tuple(values.shape[:-1])
        if len(shape) != len(self.position) or any(not -n <= p < n for p, n in zip(self.position, shape, strict=False)):
            raise KerasxaiError(f"expected a position in the map {shape} of {self.path!r}, got {self.position}")
        for index in self.position:
            values = values[index]
        return values

    def _check(self, count: int, what: str) -> None:
        if self.targets.max() >= count or self.targets.min() < 0:
            wrong = next(target for target in self.targets.tolist() if not 0 <= target < count)
            raise KerasxaiError(f"target must be from 0 to {count - 1} for {count} {what}, got {wrong}")


def _pairs(target: int | Sequence[int], seed: int | Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the targets and the seeds of all pictures, each target with each seed."""
    try:
        targets = [operator.index(one) for one in np.atleast_1d(np.asarray(target, object))]
        seeds = [operator.index(one) for one in np.atleast_1d(np.asarray(seed, object))]
    except TypeError as error:
        raise KerasxaiError(f"target and seed must be whole numbers, got {target!r} and {seed!r}") from error
    if not targets or not seeds:
        raise KerasxaiError(f"expected at least one target and one seed, got {len(targets)} and {len(seeds)}")
    return np.repeat(targets, len(seeds)).astype(np.int64), np.tile(seeds, len(targets)).astype(np.int64)


def _shapes(outputs: Tensors) -> Tensors:
    return tf.nest.map_structure(lambda x: tuple(x.shape), outputs)


def _channels(model: keras.Model) -> int:
    spec = input_specs(model)
    if not isinstance(spec, tf.TensorSpec) or spec.shape.rank != 4:
        return 3
    return spec.shape[3] if spec.shape[1] not in (1, 3) else spec.shape[1]


def _augmentation_for(side: int) -> Augmentation:
    # The default jitter is for images of 224 pixels.
    default = Augmentation()
    return replace(default, jitter=default.jitter * side / 224)


def _to_range(images: tf.Tensor, pixel_range: tuple[float, float]) -> tf.Tensor:
    black, white = pixel_range
    return black + (white - black) * images


def _total_variation(images: tf.Tensor) -> tf.Tensor:
    down = tf.reduce_mean(tf.abs(images[:, 1:] - images[:, :-1]), (1, 2, 3))
    right = tf.reduce_mean(tf.abs(images[:, :, 1:] - images[:, :, :-1]), (1, 2, 3))
    return down + right
