"""Colored heatmaps, overlays on images, and boxes."""

import functools
from collections.abc import Iterator
from typing import TypeAlias, TypedDict, Unpack

import matplotlib
import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.viz.flat import flat_map, flat_picture
from kerasxai.viz.pixels import Picture, check_finite, numbers_of, resize_heatmap, to_picture

Color: TypeAlias = tuple[int, int, int]

EVIDENCE_COLORMAP = "inferno"
SIGNED_COLORMAP = "RdBu_r"
# Both from Okabe and Ito's palette, whose colors stay distinct under every kind of color blindness.
PREDICTED_COLOR: Color = (240, 228, 66)
TRUE_COLOR: Color = (86, 180, 233)
_RIM: Color = (20, 20, 20)
# Number of pixels that are blended at once.
_BAND = 2**22
# Negative values below this fraction of the largest magnitude are rounding errors, not evidence against a class.
_ROUNDING = 1e-6
# A map whose values differ by less than this fraction of their size is constant up to rounding.
_CONSTANT = 1e-6


class ColorOptions(TypedDict, total=False):
    """Options of `colorize` that `overlay` passes on.

    Attributes:
        colormap: A Matplotlib name; None: "inferno", or "RdBu_r" (red for, blue against) for signed maps.
        maximum: The value that gets the last color; None: the largest value of the map.
    """

    colormap: str | None
    maximum: ArrayLike | None


@functools.cache
def lookup_table(colormap: str) -> Picture:
    """Return the 256 colors `(256, 3)` uint8 of a Matplotlib colormap."""
    if colormap not in matplotlib.colormaps:
        raise unknown("colormap", colormap, matplotlib.colormaps)
    return np.rint(matplotlib.colormaps[colormap](np.linspace(0, 1, 256))[:, :3] * 255).astype(np.uint8)


def robust_maximum(heatmaps: ArrayLike, percentile: float = 99.5) -> NDArray[np.float32]:
    """Return a percentile of the magnitudes of each map, for `maximum=` of `colorize` and `overlay`.

    Input gradients have a few pixels far above the rest; divided by their maximum, such a map is black.

    Args:
        heatmaps: `(H, W)` or `(N, H, W)`.
        percentile: Between 0 and 100.

    Returns:
        `()` or `(N,)` float32. Where the percentile is zero, the largest magnitude of the map.

    Example:
        >>> float(robust_maximum(np.arange(101.0)[None], 50))
        50.0
    """
    if not 0 <= percentile <= 100:
        raise KerasxaiError(f"percentile must be between 0 and 100, got {percentile}")
    magnitudes = np.abs(_maps(heatmaps))
    robust = np.percentile(magnitudes, percentile, axis=(-2, -1))
    return np.where(robust > 0, robust, magnitudes.max(axis=(-2, -1))).astype(np.float32)


def strengths(
    heatmaps: ArrayLike, signed: bool | None = None, maximum: ArrayLike | None = None
) -> tuple[NDArray[np.float32], bool]:
    """Scale each heatmap by its own maximum.

    Args:
        heatmaps: `(H, W)` or `(N, H, W)`, as returned by the explainer.
        signed: True keeps negative values; False sets them to 0; None keeps them if any of the maps has one.
        maximum: The value that is scaled to 1, a number or `(N,)`; None: the largest value of each map, or its largest
            magnitude if signed.

    Returns:
        The maps, float32 in [0, 1], or [-1, 1] if signed; and whether they are signed. A map without positive evidence
        is all zeros, and so is a constant map if `maximum` is None, because it prefers no position.

    Raises:
        KerasxaiError: The shape is wrong, a value is NaN or infinite, or `maximum` is not a positive number.

    Example:
        >>> strengths([[0.0, 1.0, 4.0]])[0].tolist()
        [[0.0, 0.25, 1.0]]
    """
    known = _maps(heatmaps)
    magnitude = np.abs(known).max(axis=(-2, -1), keepdims=True)
    if signed is None:
        signed = bool((known < -_ROUNDING * magnitude).any())
    if maximum is None:
        known = np.where(is_constant(known)[..., None, None], 0, known)
    if not signed:
        known = np.maximum(known, 0)
        magnitude = known.max(axis=(-2, -1), keepdims=True)
    if maximum is not None:
        given = np.asarray(maximum, np.float32)
        if given.shape not in ((), known.shape[:-2]) or not np.isfinite(given).all() or (given < 0).any():
            raise KerasxaiError(
                f"maximum must be a positive number, or one for each map {known.shape}, got {maximum!r}"
            )
        magnitude = np.broadcast_to(given[..., None, None], magnitude.shape)
    # Not `+ epsilon`, which would crush maps whose values are all small.
    scaled = np.divide(known, magnitude, out=np.zeros_like(known), where=magnitude > 0)
    return np.clip(scaled, -1, 1), signed


def is_constant(heatmaps: ArrayLike) -> NDArray[np.bool_]:
    """Return whether all values of a heatmap are equal up to rounding, for heatmaps `(H, W)` or `(N, H, W)`.

    Example:
        >>> bool(is_constant([[0.1, 0.1]]))
        True
    """
    maps = _maps(heatmaps).astype(np.float64)
    low, high = maps.min(axis=(-2, -1)), maps.max(axis=(-2, -1))
    return np.asarray(high - low <= _CONSTANT * np.maximum(np.abs(low), np.abs(high)))


def visible_maximum(heatmap: NDArray[np.float32], percentile: float = 99.5) -> NDArray[np.float32] | None:
    """Return `robust_maximum` of a heatmap for `maximum=`, or None for a constant heatmap."""
    return None if is_constant(heatmap) else robust_maximum(heatmap, percentile)


def colorize(
    heatmaps: ArrayLike,
    signed: bool | None = None,
    colormap: str | None = None,
    maximum: ArrayLike | None = None,
) -> Picture:
    """Color heatmaps; each is divided by its own maximum, not by its range, so that zero always has the same color.

    Args:
        heatmaps: `(H, W)` or `(N, H, W)`, as returned by the explainer.
        signed: True for a diverging colormap, symmetric about zero; False sets negative values to 0; None: True if any
            of the maps has a negative value.
        colormap: A Matplotlib name; None: "inferno", or "RdBu_r" (red for, blue against) if signed.
        maximum: The value that gets the last color, a number or `(N,)`; pass the same number for several maps to make
            them comparable. None: the largest value of each map.

    Returns:
        `(H, W, 3)` or `(N, H, W, 3)` uint8. A map without positive evidence has a single color.

    Raises:
        KerasxaiError: The shape is wrong, a value is NaN or infinite, `maximum` is not a positive number, or the
            colormap is unknown.

    Example:
        >>> colorize(np.eye(4)).shape
        (4, 4, 3)
    """
    scaled, is_signed, colors = _color_scale(heatmaps, signed, colormap, maximum)
    return _looked_up(scaled, is_signed, colors)


def overlay(
    image: ArrayLike,
    heatmap: ArrayLike,
    alpha: float = 0.6,
    signed: bool | None = None,
    boxes: ArrayLike | None = None,
    true_boxes: ArrayLike | None = None,
    *,
    follow: bool = True,
    **colors: Unpack[ColorOptions],
) -> Picture:
    """Draw a heatmap over its image, with predicted and true boxes.

    Args:
        image: `(H, W, 3)` uint8, or floats in [0, 255], [0, 1] or [-1, 1]; see `to_picture`. May be grayscale.
        heatmap: `(h, w)`; resized to the image (half-pixel bilinear) if the size differs.
        alpha: Opacity of the colors, 0 to 1.
        signed: As for `colorize`.
        boxes: Predicted boxes `(K, 4)`, pixels of `image`, xyxy, x1 and y1 exclusive; drawn dashed, in yellow.
        true_boxes: True boxes in the same form; drawn solid, in blue, below the predicted ones.
        follow: Whether opacity follows the strength of the evidence, so that the image stays readable where there is
            little, and colors of the image fade, so that color means evidence. False: the same opacity everywhere.
        **colors: `colormap` and `maximum`, as for `colorize`.

    Returns:
        `(H, W, 3)` uint8. A constant heatmap leaves the image without color.

    Raises:
        KerasxaiError: A shape is wrong, a value is NaN or infinite, or `alpha` is not within [0, 1].

    Example:
        >>> overlay(np.zeros((8, 8, 3)), np.eye(4), boxes=[[0, 0, 4, 4]]).shape
        (8, 8, 3)
    """
    if not 0 <= alpha <= 1:
        raise KerasxaiError(f"alpha must be within [0, 1], got {alpha}")
    picture = to_picture(image)
    array = numbers_of(heatmap, "a heatmap")
    if array.ndim != 2:
        raise KerasxaiError(f"expected one heatmap (height, width), got shape {array.shape}")
    scaled, is_signed, table = _color_scale(array, signed, **colors)
    scaled = resize_heatmap(scaled, (picture.shape[0], picture.shape[1]))
    result = np.empty_like(picture)
    # In bands: blending takes 40 bytes per pixel, which would be gigabytes for large photographs.
    rows = max(1, _BAND // picture.shape[1])
    for band in (slice(start, start + rows) for start in range(0, len(picture), rows)):
        result[band] = _blend(picture[band], scaled[band], is_signed, table, alpha, follow)
    if true_boxes is not None:
        result = draw_boxes(result, true_boxes, TRUE_COLOR)
    if boxes is not None:
        result = draw_boxes(result, boxes, PREDICTED_COLOR, dashed=True)
    return result


def draw_heatmap(
    image: ArrayLike,
    heatmap: ArrayLike,
    pixelwise: bool = False,
    relative: bool = False,
    signed: bool | None = None,
) -> Picture:
    """Draw the heatmap of an image, a series or a volume.

    Args:
        image: As for `overlay`, with any number of channels. For a heatmap `(T,)` a series `(T, C)`, drawn as lines
            over the colors of the steps; for `(D, H, W)` a volume `(D, H, W, C)`, drawn as slices side by side.
        heatmap: `(h, w)`, `(T,)` or `(D, H, W)`.
        pixelwise: Draw the map alone, up to its 99th percentile, instead of over the image: for maps of scattered
            single pixels such as input gradients, which are invisible over an image.
        relative: Subtract the lowest value, for maps in which only differences are meaningful.
        signed: As for `colorize`.

    Returns:
        `(H, W, 3)` uint8, of the size of the image, or of a size suited to the series or volume.

    Example:
        >>> draw_heatmap(np.zeros((8, 8, 3)), np.eye(8), pixelwise=True).shape
        (8, 8, 3)
    """
    array = numbers_of(heatmap, "a heatmap").astype(np.float32)
    if array.ndim not in (1, 2, 3) or 0 in array.shape:
        raise KerasxaiError(f"expected a heatmap (H, W), (T,) or (D, H, W), got shape {array.shape}")
    if array.ndim == 3 and np.ndim(image) != 4 and np.shape(image) != array.shape:
        raise KerasxaiError(
            f"expected a volume (D, H, W, C) for a heatmap of shape {array.shape}, got shape {np.shape(image)}; draw "
            "the heatmaps of a batch one by one"
        )
    check_finite(array, "a heatmap")
    if relative:
        array = array - array.min()
    picture, array, lines = flat_picture(image, array.ndim), flat_map(array), array.ndim == 1
    if not pixelwise or lines:
        return overlay(picture, array, signed=signed)
    resized = resize_heatmap(array, picture.shape[:2])
    return colorize(resized, signed=signed, maximum=visible_maximum(resized, 99))


def draw_boxes(
    image: ArrayLike, boxes: ArrayLike, color: Color = PREDICTED_COLOR, width: int | None = None, dashed: bool = False
) -> Picture:
    """Draw the outlines of boxes on a copy of the image, with a thin dark rim that is visible on any background.

    Lines are drawn inside the box: their outermost pixels are its first and last rows and columns.

    Args:
        image: As for `overlay`.
        boxes: `(K, 4)` pixels xyxy, x1 and y1 exclusive; K may be 0. Coordinates are rounded and clipped to the image.
        color: RGB.
        width: Line width in pixels; None: about 1 % of the shorter side of the image.
        dashed: Whether lines are dashed, to distinguish two kinds of boxes without color.

    Returns:
        `(H, W, 3)` uint8.

    Raises:
        KerasxaiError: The boxes are not `(K, 4)` finite numbers.

    Example:
        >>> draw_boxes(np.zeros((4, 4, 3)), [[0, 0, 4, 4]], (255, 255, 255), width=1)[0, :, 0].tolist()
        [255, 255, 255, 255]
    """
    picture = to_picture(image).copy()
    array = numbers_of(boxes, "boxes").astype(np.float32)
    if array.size == 0:
        return picture
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != 4 or not np.isfinite(array).all():
        raise KerasxaiError(f"expected boxes (K, 4) of finite numbers, got shape {np.shape(boxes)}")
    width = width or max(1, round(min(picture.shape[:2]) / 100))
    for x0, y0, x1, y1 in np.rint(array).astype(int).tolist():
        if x1 > x0 and y1 > y0:
            # All rims first: the rim of one dash would cover the ends of its neighbors.
            pieces = list(_outline(x0, y0, x1, y1, width, dashed))
            for left, top, right, bottom in pieces:
                _fill(picture, left - 1, top - 1, right + 1, bottom + 1, _RIM)
            for piece in pieces:
                _fill(picture, *piece, color)
    return picture


def _outline(x0: int, y0: int, x1: int, y1: int, width: int, dashed: bool) -> Iterator[tuple[int, int, int, int]]:
    thick_x, thick_y = min(width, x1 - x0), min(width, y1 - y0)
    for start, end in _dashes(x0, x1, width, dashed):
        yield start, y0, end, y0 + thick_y
        yield start, y1 - thick_y, end, y1
    for start, end in _dashes(y0, y1, width, dashed):
        yield x0, start, x0 + thick_x, end
        yield x1 - thick_x, start, x1, end


def _dashes(start: int, end: int, width: int, dashed: bool) -> list[tuple[int, int]]:
    """Return the (start, end) of each dash; the first and the last touch the corners."""
    length, dash = end - start, 4 * width
    count = round((length + 3 * width) / (7 * width))
    if not dashed or count < 2:
        return [(start, end)]
    return [(int(at), int(at) + dash) for at in np.rint(np.linspace(start, end - dash, count))]


def _fill(picture: Picture, x0: int, y0: int, x1: int, y1: int, color: Color) -> None:
    picture[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = color


def _blend(
    picture: Picture, scaled: NDArray[np.float32], signed: bool, table: Picture, alpha: float, follow: bool
) -> Picture:
    strength = np.abs(scaled)
    base = picture.astype(np.float32)
    if follow:
        grey = base @ np.array([0.299, 0.587, 0.114], np.float32)
        base += (grey[..., None] - base) * alpha
        # Concave, so that weak evidence is still visible.
        opacity = alpha * (1 - (1 - strength) ** 2)
        if signed:
            # The white center of a diverging colormap would brighten dark images on both sides of zero and leave a
            # dark line between; opacity already shows how close to zero a value is.
            scaled = np.sign(scaled) * (np.float32(0.4) + np.float32(0.6) * np.abs(scaled))
    else:
        opacity = np.full_like(strength, alpha)
    return np.rint(base + (_looked_up(scaled, signed, table) - base) * opacity[..., None]).astype(np.uint8)


def _color_scale(
    heatmaps: ArrayLike, signed: bool | None = None, colormap: str | None = None, maximum: ArrayLike | None = None
) -> tuple[NDArray[np.float32], bool, Picture]:
    """Return the scaled heatmaps, whether they are signed, and the colors that they are looked up in."""
    scaled, is_signed = strengths(heatmaps, signed, maximum)
    return scaled, is_signed, lookup_table(colormap or (SIGNED_COLORMAP if is_signed else EVIDENCE_COLORMAP))


def _looked_up(scaled: NDArray[np.float32], signed: bool, table: Picture) -> Picture:
    unit = (scaled + 1) / 2 if signed else scaled
    # 256 colors have none in the middle: zero, at 127.5, is rounded to even, the lighter neighbor.
    return table[np.rint(unit * 255).astype(np.uint8)]


def _maps(heatmaps: ArrayLike) -> NDArray[np.float32]:
    given = numbers_of(heatmaps, "heatmaps")
    if given.ndim not in (2, 3) or 0 in given.shape[-2:]:
        raise KerasxaiError(f"expected heatmaps (height, width) or (N, height, width), got shape {given.shape}")
    with np.errstate(over="ignore"):
        maps = given.astype(np.float32)
    check_finite(maps, "heatmaps")
    return maps
