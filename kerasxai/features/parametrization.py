"""Images as what gradient ascent moves: pixels, or waves whose steps are of like size at all frequencies."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kerasxai.tools.errors import KerasxaiError

COLOR_MATRIX = np.array(
    [[0.5863, 0.2593, 0.0299], [0.5954, -0.0550, -0.0815], [0.5494, -0.2170, 0.0564]],
    np.float32,
)
"""What decorrelated colors are multiplied by: the principal colors of photographs, brightness first.

Measured, not copied: the covariance of red, green and blue within each of the photographs astronaut, cat, coffee and
rocket that scikit-image ships, averaged; its eigenvectors times the roots of its eigenvalues; scaled so that the
longest column is one.
"""

# Black and white lie at infinity behind the tanh that makes pixels; images to start from come this near to them.
_LOGIT_LIMIT = 0.98


class Parametrization:
    """Parameters and the images `(B, H, W, 3)` in [0, 1] that they stand for.

    Args:
        kind: `"fourier"` or `"pixel"`.
        size: Height and width.
        decorrelated: Whether the three numbers of a place are principal colors of photographs, and not red, green and
            blue. Only for images of three channels.
        channels: Of the images.
        decay: Of the waves: how much weaker than low frequencies high ones move, as a power of the frequency.

    Raises:
        KerasxaiError: `kind` is neither.
    """

    def __init__(
        self, kind: str, size: tuple[int, int], decorrelated: bool = True, channels: int = 3, decay: float = 1.0
    ) -> None:
        if kind not in ("fourier", "pixel"):
            raise KerasxaiError(f'parametrization must be "fourier" or "pixel", not {kind!r}')
        self.kind, self.size, self.channels = kind, size, channels
        self._matrix = COLOR_MATRIX if decorrelated and channels == 3 else np.eye(channels, dtype=np.float32)
        self._scale = _wave_scale(size, decay)

    def images(self, parameters: Any) -> Any:
        """Return the images `(B, H, W, C)` in [0, 1] of parameters, as tensors with a gradient."""
        values = self._waves(parameters) if self.kind == "fourier" else parameters
        return 0.5 + 0.5 * tf.tanh(tf.einsum("bhwc,dc->bhwd", values, self._matrix))

    def noise(self, seed: int, strength: float) -> np.ndarray:
        """Return parameters `(1, ...)` of a faint random picture."""
        random = np.random.default_rng(seed)
        if self.kind == "pixel":
            return strength * random.standard_normal((1, *self.size, self.channels)).astype(np.float32)
        return strength * random.standard_normal((1, 2, self.channels, *self._scale.shape)).astype(np.float32)

    def parameters_of(self, image: np.ndarray) -> np.ndarray:
        """Return the parameters `(1, ...)` of an image `(H, W, C)` in [0, 1]; black and white come a little nearer."""
        shown = np.arctanh(np.clip(np.asarray(image, np.float64) * 2 - 1, -_LOGIT_LIMIT, _LOGIT_LIMIT))
        values = (shown @ np.linalg.inv(self._matrix).T.astype(np.float64)).astype(np.float32)
        if self.kind == "pixel":
            return values[None]
        waves = np.fft.rfft2(np.moveaxis(values, -1, 0)) / self._scale
        return np.stack([waves.real, waves.imag])[None].astype(np.float32)

    def _waves(self, parameters: Any) -> Any:
        spectrum = tf.complex(parameters[:, 0] * self._scale, parameters[:, 1] * self._scale)
        return tf.transpose(tf.signal.irfft2d(spectrum, self.size), (0, 2, 3, 1))


def _wave_scale(size: tuple[int, int], decay: float) -> np.ndarray:
    """Return the weight of each wave, such that parameters of unit variance make a picture of unit variance."""
    height, width = size
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    scale = 1 / np.maximum(frequencies, 1 / max(size)) ** decay
    # Waves stand for themselves and their mirror image, except in the first and (of even widths) the last column.
    twice = np.full(scale.shape[1], 2.0)
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1
    power = (scale**2 * twice).sum() * 2 / (height * width) ** 2
    return (scale / np.sqrt(power)).astype(np.float32)


def start_parameters(
    made: Parametrization, start: Any, seeds: list[int], strength: float, resize: Callable[[Any], np.ndarray]
) -> np.ndarray:
    """Return the parameters that an ascent begins with, one row a seed.

    Args:
        made: The parametrization.
        start: `"noise"`, `"gray"`, `"black"`, or an image `(H, W, C)` in [0, 255].
        seeds: One for each picture; the noise added to a start that is not noise is a tenth as strong, so that seeds
            differ all the same.
        strength: Of the noise.
        resize: Brings an image to the parametrization's size.

    Raises:
        KerasxaiError: `start` is none of these.
    """
    if isinstance(start, str):
        if start not in ("noise", "gray", "black"):
            raise KerasxaiError(f'start must be "noise", "gray", "black" or an image, not {start!r}')
        level = {"noise": 0.5, "gray": 0.5, "black": 0.0}[start]
        base = made.parameters_of(np.full((*made.size, made.channels), level))
    else:
        image = np.asarray(start, np.float32)
        if image.ndim != 3 or image.shape[-1] != made.channels:
            raise KerasxaiError(
                f"expected an image (H, W, {made.channels}) in [0, 255] to start from, came {image.shape}"
            )
        base = made.parameters_of(resize(image) / 255)
    share = 1.0 if isinstance(start, str) and start == "noise" else 0.1
    return np.concatenate([base + made.noise(seed, strength * share) for seed in seeds])
