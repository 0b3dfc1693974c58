"""Averages over noisy copies of an image, for any method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from kerasxai.engine.images.integer_images import range_of
from kerasxai.methods import Method
from kerasxai.methods.rounds import AUTO, BatchMeans, Drawn, Precision, pieces, precision_of
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import choice, real, whole

if TYPE_CHECKING:
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.score_model import ScoreModel

AVERAGES = ("smoothgrad", "squaregrad", "vargrad")
_ROUND = 8


@dataclass(frozen=True)
class Noise:
    """Settings of an average over noisy copies; see `smoothed`.

    Attributes:
        average: `"smoothgrad"`, `"squaregrad"` or `"vargrad"`.
        samples: How many noisy copies of each image; `"auto"` draws rounds of 8, for each image by itself, until
            the map is as exact as `until` says.
        sigma: Standard deviation of the noise, as a fraction of each image's range.
        seed: Another seed is other noise.
        until: For `"auto"`: the standard error at which drawing stops, as a share of the range of the map; the root
            mean square over the map, before the absolute value of methods that end in one, estimated from the spread of
            the averages of rounds, of 4 or more.
        max_samples: For `"auto"`: the most copies, in whole rounds. A warning is logged if they do not suffice.
    """

    average: str
    samples: int | str = 50
    sigma: float = 0.15
    seed: int = 0
    until: float = 0.05
    max_samples: int = 800

    def __post_init__(self) -> None:
        choice("average of smooth", self.average, AVERAGES)
        if self.samples != AUTO:
            whole("samples", self.samples, 2 if self.average == "vargrad" else 1)
        _ = self.precision
        real("sigma", self.sigma, above=0)
        whole("seed", self.seed, 0)

    @property
    def precision(self) -> Precision:
        """When `samples="auto"` stops."""
        return precision_of("max_samples", self.until, self.max_samples, _ROUND, 4 * _ROUND)


def split_options(
    smooth: str | Mapping[str, Any] | None, options: Mapping[str, Any], own: Sequence[str]
) -> tuple[dict[str, Any], Noise | None]:
    """Splits the options of a method from those of the average over noise.

    Args:
        smooth: None, a name in `AVERAGES`, or a dict of the fields of `Noise`.
        options: The other options of the user.
        own: The names of the method's options, which win over those of the average.

    Returns:
        The options of the method, and the settings of the average or None.

    Raises:
        KerasxaiError: An unknown name or a number out of range.
    """
    if smooth is None:
        return dict(options), None
    known = [field.name for field in fields(Noise)]
    shared = {name: options[name] for name in options if name in known[1:] and name not in own}
    settings = {**shared, **(smooth if isinstance(smooth, Mapping) else {"average": smooth})}
    for name in settings:
        choice("option of smooth", name, known)
    if "average" not in settings:
        raise KerasxaiError(f"expected smooth with an average, one of {', '.join(AVERAGES)}, got {smooth!r}")
    return {name: value for name, value in options.items() if name not in shared}, Noise(**settings)


def smoothed(model: ScoreModel, batch: Samples, method: Method, options: Mapping[str, Any], noise: Noise) -> tf.Tensor:
    """SmoothGrad, SquareGrad and VarGrad: mean, mean of squares and variance of a method's maps over noisy copies.

    `smoothgrad = 1/n sum_i M(x + e_i)`, `squaregrad = 1/n sum_i M(x + e_i)^2`, `vargrad` the variance of `M(x + e_i)`
    (dividing by n), with normal noise `e_i` of standard deviation `sigma (max x - min x)`, each image's own range. The
    class is the one predicted for the image without noise. Methods that end in an absolute value are averaged before
    it, with signs and for each color, and it is taken last. Noisy pixels of a model whose input is of whole numbers
    stay within the range of its type, 0 to 255 for uint8; gradients at the input see their fractions, passes for scores
    and maps see them rounded. Noise depends only on `seed` and the number of the
    copy: an image has the same map in every batch.

    Args:
        model: The model.
        batch: The images.
        method: The row of the method.
        options: The options of the method.
        noise: The settings.

    Returns:
        Maps `(B, h, w)` float32, as the method gives them. With `samples="auto"` the notes keep `samples_used` `(B,)`
        and `standard_error` `(B,)`, a share of the range.

    Example:
        >>> kerasxai.Explainer(model, "gradcam", smooth="smoothgrad", samples=20)(images).heatmaps

    Papers: Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise", arXiv:1706.03825; Hooker et al. 2019,
    "A Benchmark for Interpretability Methods in Deep Neural Networks", arXiv:1806.10758, for SquareGrad; Adebayo et al.
    2018, "Local Explanation Methods for Deep Neural Networks Lack Sensitivity to Parameter Values", arXiv:1810.03307,
    for VarGrad.
    """
    batch, count = batch.with_targets(model.resolve(batch).targets), len(batch)
    if noise.samples == AUTO:
        return method.finished(_until_precise(model, batch, method, options, noise))
    copies_per_pass = max(1, model.effective_batch_size // count)
    moments = _Moments()
    for part in model.chunks(int(noise.samples), count, copies_per_pass):
        moments.add(_maps_of_copies(model, batch, method, options, noise, part), noise.average)
    return method.finished(moments.average(noise.average))


def _until_precise(
    model: ScoreModel, batch: Samples, method: Method, options: Mapping[str, Any], noise: Noise
) -> tf.Tensor:
    """Returns the averages of a batch; copies are drawn in rounds for each image until its average is exact enough."""
    maps, drawn, precision = [], Drawn(), noise.precision
    for b in range(len(batch)):
        one, moments, rounds, stop = batch.take(slice(b, b + 1)), _Moments(), BatchMeans(), 0
        for part in precision.rounds(model):
            here = _Moments()
            for piece in pieces(part, model.effective_batch_size):
                found = _maps_of_copies(model, one, method, options, noise, piece)
                for total in (moments, here):
                    total.add(found, noise.average)
            rounds.add(here.average(noise.average).numpy())
            error, stop = rounds.error(moments.average(noise.average).numpy()), part.stop
            if precision.reached(stop, error):
                break
        maps.append(moments.average(noise.average))
        drawn.add(stop, error)
    drawn.record(model, precision, batch.first_index)
    return tf.concat(maps, 0)


def _maps_of_copies(
    model: ScoreModel, batch: Samples, method: Method, options: Mapping[str, Any], noise: Noise, part: slice
) -> tf.Tensor:
    """Returns the maps of a part of the noisy copies, `(n, B, h, w)`."""
    numbers = tf.range(part.start, part.stop, dtype=tf.int64)
    pixels = tf.reshape(batch.images, (len(batch), -1))
    noisy = tf.clip_by_value(_noisy(pixels, noise.sigma, noise.seed, numbers), *range_of(model.input_spec))
    copies = batch.tile(len(numbers), tf.reshape(noisy, (-1, *batch.images.shape[1:])))
    trial = model.for_copies()
    maps = method.signed_function(trial, copies, **options)
    model.report.adopt(trial.report)
    return tf.reshape(tf.cast(maps, tf.float32), (len(numbers), len(batch), *maps.shape[1:]))


class _Moments:
    """The mean of maps, and the sum of their squared deviations from it."""

    def __init__(self) -> None:
        self._mean = self._spread = tf.constant(0.0)
        self._count = 0

    def add(self, maps: tf.Tensor, average: str) -> None:
        """Adds maps `(n, B, h, w)`; the deviations only where the average needs them."""
        count, before = len(maps), self._count
        self._count += count
        here = tf.reduce_mean(maps, 0)
        # Adding deviations from means keeps the variance exact even if it is small compared with the mean.
        if average != "smoothgrad":
            within = tf.reduce_sum(tf.square(maps - here), 0)
            self._spread += within + tf.square(here - self._mean) * (before * count / self._count)
        self._mean += (here - self._mean) * (count / self._count)

    def average(self, name: str) -> tf.Tensor:
        """Returns one of `AVERAGES`, `(B, h, w)`."""
        if name == "smoothgrad":
            return self._mean
        variance = self._spread / self._count
        return variance if name == "vargrad" else self._mean**2 + variance


@tf.function(
    autograph=False,
    input_signature=[
        tf.TensorSpec((None, None)),
        tf.TensorSpec(()),
        tf.TensorSpec((), tf.int64),
        tf.TensorSpec((None,), tf.int64),
    ],
)
def _noisy(pixels: tf.Tensor, sigma: tf.Tensor, seed: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Returns noisy copies of images `(B, pixels * C)`, one per number `(n,)`: `(n, B, pixels * C)`."""
    ranges = tf.reduce_max(pixels, 1, keepdims=True) - tf.reduce_min(pixels, 1, keepdims=True)

    def copies(number: tf.Tensor) -> tf.Tensor:
        return pixels + sigma * ranges * tf.random.stateless_normal(tf.shape(pixels)[1:], (seed, number))

    return tf.map_fn(copies, numbers, fn_output_signature=tf.TensorSpec((None, None)))
