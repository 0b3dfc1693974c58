"""Resizing of image files on their way to a model: the pixels of `tf.image.resize`, in a third of its time."""

import functools
import math

import numpy as np
import scipy.sparse
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.engine.images.fit import cut, input_region, padding_of
from kerasxai.engine.images.image_input import ImageInput

_MOST_PIXELS = 4_000_000
"""Larger images are resized by TensorFlow, which needs no copy of them in float32."""
_WIDTHS = 256
"""Heights and widths of images whose weights are kept."""


def fitted(image: NDArray[np.uint8], taken: ImageInput) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Resize an image to the input of a model, as `ImageInput.resized` does.

    Bilinear resizing is linear in rows and in columns, so it is a product with one sparse matrix for each. The order
    of the additions is that of TensorFlow's kernel, so results are equal to the bit where neither library was compiled
    with fused multiply-add, as on x86, and to rounding elsewhere.

    Args:
        image: `(h, w, 1 | 3 | 4)` in [0, 255].
        taken: The images that the model takes.

    Returns:
        `(H, W, channels)` in [0, 255].

    Example:
        >>> fitted(np.full((9, 7, 3), 5, np.uint8), ImageInput((4, 4))).max()
        np.float32(5.0)
    """
    height, width, channels = image.shape
    if height * width > _MOST_PIXELS:
        return taken.resized(image)
    if channels != taken.channels:
        image = taken.colored(image).numpy()
    if (height, width) == taken.size:
        return image
    if taken.fit != "stretch":
        region = input_region(tf.constant([height, width]), taken.size, taken.fit)
        image = cut(tf.convert_to_tensor(image), region, padding_of(taken.channels)).numpy()
    return _resized(image, taken.size)


def _resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    height, width, channels = image.shape
    rows = _weights(height, size[0], 1) @ image.reshape(height, -1).astype(np.float32)
    # Columns become rows, because the matrix adds whole rows, which are contiguous.
    columns = _weights(width, size[1], channels) @ np.ascontiguousarray(rows.T)
    return np.ascontiguousarray(columns.T).reshape(*size, channels)


@functools.lru_cache(_WIDTHS)
def _weights(source: int, target: int, channels: int) -> scipy.sparse.csr_array:
    """Return the weight of each source pixel in each target pixel, `(target * channels, source * channels)`.

    The weights are TensorFlow's, because they are read off an image that it has resized.
    """
    taps = 2 * math.ceil(max(source / target, 1)) + 3
    # A column of pixels with more channels than weights in a sum: pixel i is 1 in the channel i % taps and 0 in others.
    pixels = np.eye(taps, dtype=np.float32)[np.arange(source) % taps]
    found = np.asarray(tf.image.resize(pixels[:, None], (target, 1), antialias=True))[:, 0]
    rows, channel = np.nonzero(found)
    centers = (rows + 0.5) * source / target - 0.5
    # Of the pixels of a channel, the one next to the center.
    columns = channel + taps * np.rint((centers - channel) / taps).astype(np.int64)
    matrix = scipy.sparse.csr_array((found[rows, channel], (rows, columns)), shape=(target, source))
    matrix = scipy.sparse.csr_array(scipy.sparse.kron(matrix, scipy.sparse.eye_array(channels, dtype=np.float32)))
    # The order in which TensorFlow adds.
    matrix.sort_indices()
    return matrix
