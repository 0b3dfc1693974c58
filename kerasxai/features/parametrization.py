"""Parametrizations of images for gradient ascent: pixels, or a spectrum with steps of equal size at all frequencies."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from kerasxai.tools.errors import KerasxaiError

COLOR_MATRIX = np.array(
    [[0.5863, 0.2593, 0.0299], [0.5954, -0.0550, -0.0815], [0.5494, -0.2170, 0.0564]],
    np.float32,
)
"""Matrix from decorrelated colors to RGB: the principal colors of photographs, brightness first.

Measured as the average covariance of red, green and blue in the photographs astronaut, cat, coffee and rocket of
scikit-image: its eigenvectors times the roots of its eigenvalues, scaled so that the longest column has norm one.
"""

# tanh reaches black and white at infinity only; start images are clipped to this fraction of the range.
_LOGIT_LIMIT = 0.98


class Parametrization:
    """A differentiable map from parameters to images `(B, H, W, C)` in [0, 1].

    Args:
        kind: `"fourier"` or `"pixel"`.
        size: Height and width.
        decorrelated: Whether channels are the principal colors of photographs instead of red, green and blue. Only for
            images of three channels.
        channels: Number of channels of the images.
        decay: Attenuation of high frequencies, as a power of the frequency.

    Raises:
        KerasxaiError: `kind` is neither.
    """

    def __init__(
        self, kind: str, size: tuple[int, int], decorrelated: bool = True, channels: int = 3, decay: float = 1.0
    ) -> None:
        if kind not in ("fourier", "pixel"):
            raise KerasxaiError(f'parametrization must be "fourier" or "pixel", got {kind!r}')
        self.kind, self.size, self.channels = kind, size, channels
        self._matrix = COLOR_MATRIX if decorrelated and channels == 3 else np.eye(channels, dtype=np.float32)
        self._scale = _wave_scale(size, decay)

    def images(self, parameters: tf.Tensor) -> tf.Tensor:
        """Return the images `(B, H, W, C)` in [0, 1] of parameters."""
        values = self._waves(parameters) if self.kind == "fourier" else parameters
        return 0.5 + 0.5 * tf.tanh(tf.einsum("bhwc,dc->bhwd", values, self._matrix))

    def noise(self, seed: int, strength: float) -> NDArray[np.float32]:
        """Return random parameters `(1, ...)` of standard deviation `strength`."""
        random = np.random.default_rng(seed)
        if self.kind == "pixel":
            return strength * random.standard_normal((1, *self.size, self.channels)).astype(np.float32)
        return strength * random.standard_normal((1, 2, self.channels, *self._scale.shape)).astype(np.float32)

    def parameters_of(self, image: ArrayLike) -> NDArray[np.float32]:
        """Return the parameters `(1, ...)` of an image `(H, W, C)` in [0, 1], slightly reduced in contrast."""
        # The inverse of `images`: atanh, then the inverse color matrix, then the spectrum.
        logits = np.arctanh(np.clip(np.asarray(image, np.float64) * 2 - 1, -_LOGIT_LIMIT, _LOGIT_LIMIT))
        values = (logits @ np.linalg.inv(self._matrix).T.astype(np.float64)).astype(np.float32)
        if self.kind == "pixel":
            return values[None]
        waves = np.fft.rfft2(np.moveaxis(values, -1, 0)) / self._scale
        return np.stack([waves.real, waves.imag])[None].astype(np.float32)

    def _waves(self, parameters: tf.Tensor) -> tf.Tensor:
        spectrum = tf.complex(parameters[:, 0] * self._scale, parameters[:, 1] * self._scale)
        return tf.transpose(tf.signal.irfft2d(spectrum, self.size), (0, 2, 3, 1))


def _wave_scale(size: tuple[int, int], decay: float) -> NDArray[np.float32]:
    """Return the weight of each frequency, such that parameters of unit variance make an image of unit variance."""
    height, width = size
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    scale = 1 / np.maximum(frequencies, 1 / max(size)) ** decay
    # A real spectrum has half of the frequencies: columns count twice but for the first, and the last of an even width.
    twice = np.full(scale.shape[1], 2.0)
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1
    power = (scale**2 * twice).sum() * 2 / (height * width) ** 2
    return (scale / np.sqrt(power)).astype(np.float32)


def start_parameters(
    parametrization: Parametrization,
    start: str | ArrayLike,
    seeds: list[int],
    strength: float,
    resize: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Return the initial parameters of an ascent, one row per seed.

    Args:
        parametrization: The parametrization.
        start: `"noise"`, `"gray"`, `"black"`, or an image `(H, W, C)` in [0, 255].
        seeds: One for each picture. To gray, black and images a tenth of the noise is added, so that seeds differ.
        strength: Standard deviation of the noise.
        resize: Resizes an image to the size of the parametrization.

    Raises:
        KerasxaiError: `start` is none of these.
    """
    if isinstance(start, str):
        if start not in ("noise", "gray", "black"):
            raise KerasxaiError(f'start must be "noise", "gray", "black" or an image, got {start!r}')
        level = {"noise": 0.5, "gray": 0.5, "black": 0.0}[start]
        base = parametrization.parameters_of(np.full((*parametrization.size, parametrization.channels), level))
    else:
        image = np.asarray(start, np.float32)
        channels = parametrization.channels
        if image.ndim != 3 or image.shape[-1] != channels:
            raise KerasxaiError(f"expected a start image (H, W, {channels}) in [0, 255], got shape {image.shape}")
        base = parametrization.parameters_of(resize(image) / 255)
    share = 1.0 if isinstance(start, str) and start == "noise" else 0.1
    return np.concatenate([base + parametrization.noise(seed, strength * share) for seed in seeds])
