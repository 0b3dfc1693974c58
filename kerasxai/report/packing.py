"""Heatmaps of 8 bits and small photographs, as text that a page decodes."""

import base64
import io

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from skimage.transform import resize_local_mean

from kerasxai.viz.overlays import lookup_table, strengths

MAP_SIDE = 64
PICTURE_SIDE = 256
COLORMAPS = {"inferno": "inferno", "viridis": "viridis", "gray": "gray", "signed": "RdBu_r"}
"""Tables of colors by their name in the page; the last is for signed maps."""


def small_map(heatmap: ArrayLike, side: int = MAP_SIDE) -> NDArray[np.float32]:
    """Return a heatmap with sides of at most `side`, averaged over areas; a smaller one is returned unchanged.

    Args:
        heatmap: `(H, W)`.
        side: The longest side of the result.

    Example:
        >>> small_map(np.eye(128), 64).shape
        (64, 64)
    """
    values = np.asarray(heatmap, np.float32)
    longest = max(values.shape)
    if longest <= side:
        return values
    height, width = (max(1, round(length * side / longest)) for length in values.shape)
    return resize_local_mean(values, (height, width)).astype(np.float32)


def eight_bits(heatmap: ArrayLike) -> NDArray[np.int16]:
    """Return a heatmap as whole numbers, in [0, 255] or, if it is signed, in [-127, 127].

    The largest magnitude is 255 or 127, and 0 stays 0.

    Args:
        heatmap: `(H, W)`, finite.

    Returns:
        `(H, W)` int16; signed if a value is negative.

    Example:
        >>> eight_bits([[0.0, 0.1, 0.2]]).tolist(), eight_bits([[-0.2, 0.1, 0.0]]).tolist()
        ([[0, 128, 255]], [[-127, 64, 0]])
    """
    shares, signed = strengths(heatmap)
    return np.rint(shares * (127 if signed else 255)).astype(np.int16)


def peak(heatmap: ArrayLike) -> float:
    """Return the largest magnitude of a heatmap, which is 255 or 127 in `eight_bits`.

    Args:
        heatmap: `(H, W)`, finite.

    Example:
        >>> peak([[-0.5, 0.25]])
        0.5
    """
    return float(f"{np.abs(np.asarray(heatmap, np.float64)).max(initial=0.0):.6g}")


def packed(heatmap: ArrayLike) -> str:
    """Return a heatmap of 8 bits as text: height, width, "s" for signed or "u", and the bytes row by row.

    Args:
        heatmap: `(H, W)`, finite.

    Example:
        >>> packed([[0.0, 1.0]])
        '1x2u:AP8='
    """
    _, signed = strengths(heatmap)
    values = eight_bits(heatmap)
    kind = np.int8 if signed else np.uint8
    text = base64.b64encode(values.astype(kind).tobytes()).decode()
    return f"{values.shape[0]}x{values.shape[1]}{'s' if signed else 'u'}:{text}"


def enlarged(values: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return a map resized bilinearly with pixel centers at halves, as TensorFlow resizes and as the page does.

    Args:
        values: `(h, w)`.
        size: Height and width of the result.

    Example:
        >>> enlarged([[0, 4]], (1, 4)).tolist()
        [[0.0, 1.0, 3.0, 4.0]]
    """
    array = np.asarray(values, np.float64)
    (above, below, down), (left, right, across) = (
        _neighbors(length, target) for length, target in zip(array.shape, size, strict=True)
    )
    # The order of the operations is that of the script, so that both give the same float64 numbers.
    rows = array[:, left] * (1 - across) + array[:, right] * across
    return rows[above] * (1 - down)[:, None] + rows[below] * down[:, None]


def _neighbors(length: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    positions = (np.arange(target) + 0.5) * length / target - 0.5
    first = np.floor(positions)
    low = np.clip(first, 0, length - 1).astype(np.intp)
    high = np.clip(first + 1, 0, length - 1).astype(np.intp)
    return low, high, positions - first


def picture_size(size: tuple[int, int], side: int = PICTURE_SIDE) -> tuple[int, int]:
    """Return height and width of the stored photograph of an image of height and width `size`."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def packed_picture(image: NDArray[np.uint8], side: int = PICTURE_SIDE) -> str:
    """Return a photograph `(H, W, 3)` as the address of a WebP image with sides of at most `side`."""
    height, width = picture_size((image.shape[0], image.shape[1]), side)
    picture = Image.fromarray(image)
    if (width, height) != picture.size:
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=80, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def packed_colors() -> dict[str, str]:
    """Return the tables of 256 colors, red, green and blue a byte each, by their name in the page."""
    return {name: base64.b64encode(lookup_table(table).tobytes()).decode() for name, table in COLORMAPS.items()}
