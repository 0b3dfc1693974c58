"""Scatter plots of images in the plane, as a picture or as an interactive HTML page."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any, TypeAlias, TypedDict, Unpack

import jinja2
import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from skimage.util import montage

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import json_text
from kerasxai.viz.pixels import Picture, resize_picture, to_pictures
from kerasxai.viz.plots import _COLORS, _LONGEST_TITLE, _RC, _figure, _pixels, add_legend
from kerasxai.viz.text import drawable

Pictures: TypeAlias = Sequence[ArrayLike] | NDArray[Any]
_LEGEND = 24
_NO_CLASS = "no class"


class ScatterLayout(TypedDict, total=False):
    """Layout of a scatter plot.

    Attributes:
        most_thumbnails: Maximum number of thumbnails drawn. 60 by default.
        size: Inches (width, height), at 160 pixels per inch. (8.0, 6.4) by default.
        limits: (x min, x max, y min, y max) of the axes; None: fits the points.
    """

    most_thumbnails: int
    size: tuple[float, float]
    limits: tuple[float, float, float, float] | None


def class_colors(count: int) -> list[str]:
    """Return a color for each class: for a few classes, colors that are distinct under color blindness."""
    if count <= len(_COLORS):
        return list(_COLORS[:count])
    circle = matplotlib.colormaps["turbo"]
    return [to_hex(circle(i / count)) for i in range(count)]


def plot_scatter(
    points: ArrayLike,
    labels: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    thumbnails: Pictures | None = None,
    title: str = "",
    note: str = "",
    **layout: Unpack[ScatterLayout],
) -> Picture:
    """Plot points colored by class, some of them with thumbnails of their images.

    Args:
        points: `(N, 2)`.
        labels: `(N,)` whole numbers from 0; None: all points have one color.
        class_names: For the legend; None: numbers.
        thumbnails: One picture per point; as many are drawn as fit without overlap, framed in the color of the class.
        title: Above the plot.
        note: Below the title, such as the method and its trustworthiness.
        **layout: `most_thumbnails`, `size` and `limits`, see `ScatterLayout`.

    Returns:
        `(H, W, 3)` uint8.

    Raises:
        KerasxaiError: The points are not `(N, 2)`, or there is not one label or thumbnail for each.

    Example:
        >>> plot_scatter(np.eye(2), [0, 1], ["cat", "dog"]).shape
        (1024, 1280, 3)
    """
    positions, classes, names = _checked(points, labels, class_names, thumbnails)
    heading = "\n".join(drawable(text, _LONGEST_TITLE) for text in (title, note) if text)
    with matplotlib.rc_context(_RC):
        return _pixels(_scatter_figure(positions, classes, names, thumbnails, heading, **layout))


def _scatter_figure(
    positions: NDArray[np.float64],
    classes: NDArray[np.int64],
    names: list[str],
    thumbnails: Pictures | None,
    heading: str,
    most_thumbnails: int = 60,
    size: tuple[float, float] = (8.0, 6.4),
    limits: tuple[float, float, float, float] | None = None,
) -> Figure:
    figure = _figure(size)
    axes = figure.subplots()
    colors = class_colors(len(names))
    point_colors = np.array(colors)[classes]
    # In random order: drawn class by class, the first classes would be hidden where they overlap with others.
    order = np.random.default_rng(0).permutation(len(positions))
    x, y = positions[order].T
    axes.scatter(x, y, c=point_colors[order], s=14, linewidths=0.3, edgecolors="white", zorder=2)
    # Empty plots, because the legend has one entry for each class and not for each point.
    for color in colors[:_LEGEND]:
        axes.scatter([], [], c=color, s=28, label="class")
    if len(names) > 1:
        add_legend(
            axes, names[:_LEGEND], _legend_title(names), fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5)
        )
    axes.set_xticks([])
    axes.set_yticks([])
    if limits is not None:
        axes.set_xlim(limits[0], limits[1])
        axes.set_ylim(limits[2], limits[3])
    axes.margins(0.06)
    axes.set_title(heading, fontsize=9.5)
    if thumbnails is not None:
        chosen = _without_overlap(positions, most_thumbnails)
        for i, small in zip(chosen, to_pictures(_rows(thumbnails, chosen)), strict=True):
            _add_thumbnail(axes, small, positions[i], point_colors[i])
    return figure


def scatter_page(
    points: ArrayLike,
    thumbnails: Pictures,
    names: Sequence[str] | None = None,
    labels: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    title: str = "Embedding",
    note: str = "",
    thumbnail_size: int = 64,
) -> str:
    """Make an interactive HTML scatter plot that shows the image, name and class of the point under the pointer.

    The page is one self-contained file. The wheel zooms, dragging pans, and a click on a class hides or shows it.

    Args:
        points: `(N, 2)`.
        thumbnails: One picture per point.
        names: One per point; None: numbers.
        labels: `(N,)` whole numbers from 0.
        class_names: For the legend.
        title: Title of the page.
        note: Below the title.
        thumbnail_size: Side of the thumbnails in pixels.

    Returns:
        The HTML text.

    Raises:
        KerasxaiError: As for `plot_scatter`.

    Example:
        >>> page = scatter_page(np.eye(2), np.zeros((2, 8, 8, 3), np.uint8), ["a.jpg", "b.jpg"])
        >>> page.startswith("<!DOCTYPE html>")
        True
    """
    positions, classes, listed = _checked(points, labels, class_names, thumbnails)
    called = [str(i) for i in range(len(positions))] if names is None else [str(name) for name in names]
    if len(called) != len(positions):
        raise KerasxaiError(f"expected one name for each of {len(positions)} points, got {len(called)}")
    sheet, columns = sprite(thumbnails, thumbnail_size)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "JPEG", quality=88)
    data: dict[str, Any] = {
        "points": np.round(_unit(positions), 5).tolist(),
        "classes": classes.tolist(),
        "names": called,
        "labels": listed,
        "colors": class_colors(len(listed)),
        "columns": columns,
        "size": thumbnail_size,
    }
    # A name with "</script>" would end the script.
    text = json_text(data, "the projection").replace("<", "\\u003c")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kerasxai.viz"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("scatter.html.j2").render(
        title=title,
        note=note,
        data=Markup(text),
        sheet=Markup(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"),
    )


def sprite(thumbnails: Pictures, size: int = 64) -> tuple[Picture, int]:
    """Arrange thumbnails row by row on one square sheet, the layout that TensorBoard's projector reads.

    Returns:
        The sheet, and the number of thumbnails in a row.

    Example:
        >>> sheet, columns = sprite(np.zeros((5, 8, 8, 3), np.uint8), 16)
        >>> sheet.shape, columns
        ((48, 48, 3), 3)
    """
    small = [resize_picture(thumbnail, (size, size)) for thumbnail in to_pictures(thumbnails)]
    return montage(small, fill=(255, 255, 255), channel_axis=-1), math.ceil(math.sqrt(len(small)))


def _checked(
    points: ArrayLike, labels: ArrayLike | None, class_names: Sequence[str] | None, thumbnails: Pictures | None
) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
    positions = np.asarray(points, np.float64)
    if positions.ndim != 2 or positions.shape[1] != 2 or not len(positions) or not np.isfinite(positions).all():
        raise KerasxaiError(f"expected finite points (N, 2), got shape {positions.shape}")
    classes = np.zeros(len(positions), np.int64) if labels is None else np.asarray(labels, np.int64)
    if classes.shape != (len(positions),) or classes.min() < 0:
        raise KerasxaiError(f"expected one label from 0 for each of {len(positions)} points, got shape {classes.shape}")
    if thumbnails is not None and len(thumbnails) != len(positions):
        raise KerasxaiError(f"expected one thumbnail for each of {len(positions)} points, got {len(thumbnails)}")
    if labels is None:
        return positions, classes, [_NO_CLASS]
    known = [str(name) for name in ([] if class_names is None else class_names)]
    if classes.max() < len(known):
        return positions, classes, known
    return positions, classes, [*known, *map(str, range(len(known), int(classes.max()) + 1))]


def _rows(pictures: Pictures, chosen: list[int]) -> Pictures:
    return pictures[chosen] if isinstance(pictures, np.ndarray) else [pictures[i] for i in chosen]


def _legend_title(names: list[str]) -> str | None:
    return f"{_LEGEND} of {len(names)} classes" if len(names) > _LEGEND else None


def _unit(positions: NDArray) -> NDArray:
    """Scale points to [0, 1], keeping the aspect ratio, with y downward as on a screen."""
    low, high = positions.min(0), positions.max(0)
    extent = (high - low).max() or 1.0
    unit = (positions - (low + high) / 2) / extent + 0.5
    unit[:, 1] = 1 - unit[:, 1]
    return unit


def _without_overlap(positions: NDArray, most: int) -> list[int]:
    """Choose points whose thumbnails do not overlap, in a fixed random order."""
    extent = np.ptp(positions, axis=0)
    unit = (positions - positions.min(0)) / np.where(extent > 0, extent, 1)
    chosen: list[int] = []
    for i in np.random.default_rng(1).permutation(len(positions)):
        if len(chosen) == most:
            break
        # Width and height of a thumbnail relative to the axes of a figure of the default size.
        if not chosen or (np.abs(unit[chosen] - unit[i]) / (0.075, 0.09)).max(1).min() > 1:
            chosen.append(int(i))
    return chosen


def _add_thumbnail(axes: Axes, picture: Picture, position: NDArray, color: str) -> None:
    small = resize_picture(picture, (64, 64))
    image = OffsetImage(small, zoom=0.42)
    frame = {"edgecolor": color, "linewidth": 1.6, "boxstyle": "square,pad=0.02"}
    axes.add_artist(AnnotationBbox(image, (position[0], position[1]), frameon=True, bboxprops=frame, pad=0.1, zorder=3))
