"""Averages over noisy copies of an image, for any method."""

from typing import Any

import tensorflow as tf

from kerasxai.engine.images.integer_images import range_of
from kerasxai.methods import Method
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import choice, real, whole

AVERAGES = ("smoothgrad", "squaregrad", "vargrad")
_DEFAULTS = {"samples": 50, "sigma": 0.15, "seed": 0}


def noise_options(
    smooth: str | dict[str, Any] | None, options: dict[str, Any], own: list[str]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Parts the options of a method from those of the average over noise.

    Args:
        smooth: None, a name in `AVERAGES`, or a dict of `average`, `samples`, `sigma` and `seed`.
        options: What the user gave beside it.
        own: The names of the method's own options, which go before.

    Returns:
        The method's options, and the checked keywords of `smoothed` or None.

    Raises:
        KerasxaiError: An unknown name or a number out of range.
    """
    if smooth is None:
        return options, None
    beside = {name: options[name] for name in options if name in _DEFAULTS and name not in own}
    noise = {**_DEFAULTS, **beside, **(smooth if isinstance(smooth, dict) else {"average": smooth})}
    for name in noise:
        choice("option of smooth", name, ["average", *_DEFAULTS])
    if "average" not in noise:
        raise KerasxaiError(f"smooth needs the name of an average, one of {', '.join(AVERAGES)}: {{'average': NAME}}")
    choice("average of smooth", noise["average"], AVERAGES)
    whole("samples", noise["samples"], 2 if noise["average"] == "vargrad" else 1)
    real("sigma", noise["sigma"], above=0)
    whole("seed", noise["seed"], 0)
    return {name: value for name, value in options.items() if name not in beside}, noise


def smoothed(
    view: Any,
    images: Any,
    targets: Any,
    method: Method,
    options: dict[str, Any],
    *,
    average: str,
    samples: int,
    sigma: float,
    seed: int,
) -> Any:
    """SmoothGrad, SquareGrad and VarGrad: mean, mean of squares and variance of a method's maps over noisy copies.

    `smoothgrad = 1/n sum_i M(x + e_i)`, `squaregrad = 1/n sum_i M(x + e_i)^2`, `vargrad` the variance of `M(x + e_i)`
    (dividing by n), with normal noise `e_i` of standard deviation `sigma (max x - min x)`, each image's own range. The
    class is the one predicted for the image without noise. Methods that end in an absolute value are averaged before
    it, with signs and for each color, and it is taken last. Noisy pixels of a model whose input is of whole numbers
    stay within the range of its type, 0 to 255 for uint8; gradients at the input see their fractions, passes for scores
    and maps see them rounded. Noise depends on `seed` and the copy's number alone: an
    image has the same map in every batch.

    Args:
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.
        method: The row of the method.
        options: Its own options.
        average: `"smoothgrad"`, `"squaregrad"` or `"vargrad"`.
        samples: How many noisy copies, n.
        sigma: The noise, as a fraction of each image's range.
        seed: Another seed is other noise.

    Returns:
        Maps `(B, h, w)` float32, as the method gives them.

    Example:
        >>> kerasxai.Explainer(model, "gradcam", smooth="smoothgrad", samples=20)(images).heatmaps

    Papers: Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise", arXiv:1706.03825; Hooker et al. 2019,
    "A Benchmark for Interpretability Methods in Deep Neural Networks", arXiv:1806.10758, for SquareGrad; Adebayo et al.
    2018, "Local Explanation Methods for Deep Neural Networks Lack Sensitivity to Parameter Values", arXiv:1810.03307,
    for VarGrad.
    """
    targets, count = view.resolve(images, targets).targets, len(images)
    pixels = tf.reshape(images, (count, -1))
    together = max(1, view.effective_batch_size // count)
    mean = spread = tf.constant(0.0)
    for part in view.chunks(samples, count, together):
        numbers = tf.range(part.start, part.stop, dtype=tf.int64)
        with view.repeated(len(numbers), count):
            noisy = tf.clip_by_value(_noisy(pixels, sigma, seed, numbers), *range_of(view.known))
            copies = tf.reshape(noisy, (-1, *images.shape[1:]))
            maps = method.signed_function(view, copies, tf.tile(targets, [len(numbers)]), **options)
        maps = tf.reshape(tf.cast(maps, tf.float32), (len(numbers), count, *maps.shape[1:]))
        # Adding up deviations from means keeps the variance exact where it is small beside the mean.
        here = tf.reduce_mean(maps, 0)
        if average != "smoothgrad":
            within = tf.reduce_sum(tf.square(maps - here), 0)
            spread += within + tf.square(here - mean) * (part.start * len(numbers) / part.stop)
        mean += (here - mean) * (len(numbers) / part.stop)
    averages = {"smoothgrad": mean, "squaregrad": mean**2 + spread / samples, "vargrad": spread / samples}
    return method.finished(averages[average])


@tf.function(
    autograph=False,
    input_signature=[
        tf.TensorSpec((None, None)),
        tf.TensorSpec(()),
        tf.TensorSpec((), tf.int64),
        tf.TensorSpec((None,), tf.int64),
    ],
)
def _noisy(pixels: Any, sigma: Any, seed: Any, numbers: Any) -> Any:
    """Returns a noisy copy of all images `(B, pixels * C)` for each of the numbers `(n,)`, `(n, B, pixels * C)`."""
    ranges = tf.reduce_max(pixels, 1, keepdims=True) - tf.reduce_min(pixels, 1, keepdims=True)

    def copies(number: Any) -> Any:
        return pixels + sigma * ranges * tf.random.stateless_normal(tf.shape(pixels)[1:], (seed, number))

    return tf.map_fn(copies, numbers, fn_output_signature=tf.TensorSpec((None, None)))
