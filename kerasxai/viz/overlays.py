"""Heatmaps as colors, over their image, with boxes."""

import functools
from collections.abc import Iterator
from typing import TypeAlias

import matplotlib
import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.viz.flat import flat_map, flat_picture
from kerasxai.viz.pixels import Picture, check_finite, numbers_of, resize_heatmap, to_picture

Color: TypeAlias = tuple[int, int, int]

EVIDENCE_COLORMAP = "inferno"
SIGNED_COLORMAP = "RdBu_r"
# Both from Okabe and Ito's palette, which stays apart for every kind of color blindness.
PREDICTED_COLOR: Color = (240, 228, 66)
TRUE_COLOR: Color = (86, 180, 233)
_RIM: Color = (20, 20, 20)
_BAND = 2**22
"""Pixels that are blended at once."""
# Below this share of the largest magnitude a negative value is rounding, not evidence against.
_ROUNDING = 1e-6
# A map whose values differ by less than this share of their size is constant up to rounding.
_CONSTANT = 1e-6


@functools.cache
def lookup_table(colormap: str) -> Picture:
    """Returns the 256 colors `(256, 3)` uint8 of a Matplotlib colormap."""
    if colormap not in matplotlib.colormaps:
        raise unknown("colormap", colormap, matplotlib.colormaps)
    return np.rint(matplotlib.colormaps[colormap](np.linspace(0, 1, 256))[:, :3] * 255).astype(np.uint8)


def robust_maximum(heatmaps: ArrayLike, percentile: float = 99.5) -> NDArray[np.float32]:
    """Returns what `percentile` % of each map's magnitudes stay below, for `maximum=` of the functions below.

    Input gradients have a few pixels far above the rest; divided by their maximum, such a map is black.

    Args:
        heatmaps: `(H, W)` or `(N, H, W)`.
        percentile: Between 0 and 100.

    Returns:
        `()` or `(N,)` float32. Where that share of a map is zero, the map's largest magnitude.

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
    """Scales each heatmap by its own maximum and says whether they are signed.

    Args:
        heatmaps: `(H, W)` or `(N, H, W)`, as the explainer gave them.
        signed: True keeps signs; False drops negative values; None keeps them where any map of the call has one.
        maximum: What becomes 1, one number or `(N,)`; None: each map's largest value (magnitude, if signed).

    Returns:
        The maps, float32 in [0, 1], or [-1, 1] if signed; and whether signed. A map without positive evidence is all
        zeros, and so is a constant map where `maximum` is None: it prefers no position.

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
            raise KerasxaiError(f"maximum must be a positive number, or one a map: got {maximum!r} for {known.shape}")
        magnitude = np.broadcast_to(given[..., None, None], magnitude.shape)
    # Not `+ epsilon`, which would crush maps whose values are all small.
    scaled = np.divide(known, magnitude, out=np.zeros_like(known), where=magnitude > 0)
    return np.clip(scaled, -1, 1), signed


def is_constant(heatmaps: ArrayLike) -> NDArray[np.bool_]:
    """Returns for each of the heatmaps `(H, W)` or `(N, H, W)` whether all its values are equal, up to rounding.

    Example:
        >>> bool(is_constant([[0.1, 0.1]]))
        True
    """
    maps = _maps(heatmaps).astype(np.float64)
    low, high = maps.min(axis=(-2, -1)), maps.max(axis=(-2, -1))
    return np.asarray(high - low <= _CONSTANT * np.maximum(np.abs(low), np.abs(high)))


def visible_maximum(heatmap: NDArray[np.float32], percentile: float = 99.5) -> NDArray[np.float32] | None:
    """Returns `robust_maximum` of a heatmap, or None, as `maximum=` takes it, if the heatmap is constant."""
    return None if is_constant(heatmap) else robust_maximum(heatmap, percentile)


def colorize(
    heatmaps: ArrayLike,
    signed: bool | None = None,
    colormap: str | None = None,
    maximum: ArrayLike | None = None,
) -> Picture:
    """Colors heatmaps; each is divided by its own maximum, never by its range, so that zero keeps one color.

    Args:
        heatmaps: `(H, W)` or `(N, H, W)`, as the explainer gave them.
        signed: As for `strengths`: signed maps get a diverging colormap, symmetric about zero.
        colormap: A Matplotlib name; None: "inferno", or "RdBu_r" (red for, blue against) if signed.
        maximum: What gets the last color, one number or `(N,)`: the same for several maps makes them comparable.

    Returns:
        `(H, W, 3)` or `(N, H, W, 3)` uint8. Of one color where there is no positive evidence.

    Raises:
        KerasxaiError: As for `strengths`; or the colormap is unknown.

    Example:
        >>> colorize(np.eye(4)).shape
        (4, 4, 3)
    """
    scaled, is_signed = strengths(heatmaps, signed, maximum)
    return _colors(scaled, is_signed, colormap)


def overlay(
    image: ArrayLike,
    heatmap: ArrayLike,
    alpha: float = 0.6,
    signed: bool | None = None,
    boxes: ArrayLike | None = None,
    true_boxes: ArrayLike | None = None,
    colormap: str | None = None,
    maximum: ArrayLike | None = None,
    follow: bool = True,
) -> Picture:
    """Draws a heatmap over its image, with predicted and true boxes.

    Args:
        image: `(H, W, 3)` uint8, or floats in [0, 255], [0, 1] or [-1, 1]; see `to_picture`. Grayscale is fine.
        heatmap: `(h, w)`; resized to the image (half-pixel bilinear) where the size differs.
        alpha: Opacity of the colors, 0 to 1.
        signed: As for `colorize`.
        boxes: Predicted boxes `(K, 4)`, pixels of `image`, xyxy, x1 and y1 exclusive; drawn dashed, yellow.
        true_boxes: True boxes alike; drawn solid, blue, below the predicted ones.
        colormap: As for `colorize`.
        maximum: As for `colorize`.
        follow: The opacity grows with the strength of the evidence, so that the image stays readable where there is
            little, and the image is paled, so that color means evidence; False lays all colors on alike.

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
    scaled, is_signed = strengths(array, signed, maximum)
    scaled = resize_heatmap(scaled, (picture.shape[0], picture.shape[1]))
    result = np.empty_like(picture)
    # Band by band: blending takes 40 bytes a pixel, which large photographs would turn into gigabytes.
    rows = max(1, _BAND // picture.shape[1])
    for band in (slice(start, start + rows) for start in range(0, len(picture), rows)):
        result[band] = _blend(picture[band], scaled[band], is_signed, colormap, alpha, follow)
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
    """Draws a heatmap the way that suits its kind, of images, series and volumes.

    Args:
        image: As for `overlay`, with any number of channels; for a heatmap `(T,)` a series `(T, C)`, drawn as lines on
            the colors of their steps; for `(D, H, W)` a volume `(D, H, W, C)`, drawn as slices side by side.
        heatmap: `(h, w)`, `(T,)` or `(D, H, W)`.
        pixelwise: Maps that are scattered over single pixels, as gradients at the input are, cannot be seen over an
            image: they are drawn alone, up to their 99th percentile. All others are laid over the image.
        relative: Only the differences within the map mean anything: it is drawn from its lowest value on.
        signed: As for `colorize`.

    Returns:
        A picture of the image's size, `(H, W, 3)` uint8, or of a size that suits the series or volume.

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
    """Draws the outlines of boxes on a copy of the image, with a thin dark rim that shows on any ground.

    The line lies inside the box: its outermost pixels are the box's own first and last rows and columns.

    Args:
        image: As for `overlay`.
        boxes: `(K, 4)` pixels xyxy, x1 and y1 exclusive; K may be 0. Rounded; what lies outside the image is cut off.
        color: RGB.
        width: Of the line in pixels; None: about 1 % of the image's shorter side.
        dashed: A broken line, for telling two kinds of boxes apart without color.

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
    """Returns where dashes begin and end; the first and the last touch the corners."""
    length, dash = end - start, 4 * width
    count = round((length + 3 * width) / (7 * width))
    if not dashed or count < 2:
        return [(start, end)]
    return [(int(at), int(at) + dash) for at in np.rint(np.linspace(start, end - dash, count))]


def _fill(picture: Picture, x0: int, y0: int, x1: int, y1: int, color: Color) -> None:
    picture[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = color


def _blend(
    picture: Picture, scaled: NDArray[np.float32], signed: bool, colormap: str | None, alpha: float, follow: bool
) -> Picture:
    strength = np.abs(scaled)
    base = picture.astype(np.float32)
    if follow:
        grey = base @ np.array([0.299, 0.587, 0.114], np.float32)
        base += (grey[..., None] - base) * alpha
        opacity = alpha * (1 - (1 - strength) ** 2)
        if signed:
            # The white middle of a diverging colormap would light up dark images on both sides of zero and leave a
            # dark line between; opacity already says how near to zero a value is.
            scaled = np.sign(scaled) * (np.float32(0.4) + np.float32(0.6) * np.abs(scaled))
    else:
        opacity = np.full_like(strength, alpha)
    return np.rint(base + (_colors(scaled, signed, colormap) - base) * opacity[..., None]).astype(np.uint8)


def _colors(scaled: NDArray[np.float32], signed: bool, colormap: str | None) -> Picture:
    table = lookup_table(colormap or (SIGNED_COLORMAP if signed else EVIDENCE_COLORMAP))
    unit = (scaled + 1) / 2 if signed else scaled
    # An even number of colors has none in the middle: zero, 127.5, goes to the lighter neighbor by rounding to even.
    return table[np.rint(unit * 255).astype(np.uint8)]


def _maps(heatmaps: ArrayLike) -> NDArray[np.float32]:
    given = numbers_of(heatmaps, "heatmaps")
    if given.ndim not in (2, 3) or 0 in given.shape[-2:]:
        raise KerasxaiError(f"expected heatmaps (height, width) or (N, height, width), got shape {given.shape}")
    with np.errstate(over="ignore"):
        maps = given.astype(np.float32)
    check_finite(maps, "heatmaps")
    return maps
