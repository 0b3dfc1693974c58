"""Points in the plane by class, with thumbnails: as a picture, and as a page that shows an image under the pointer."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import jinja2
import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.colors import to_hex
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import json_text
from kerasxai.viz.pixels import Picture, resize_picture, to_pictures
from kerasxai.viz.plots import _COLORS, _LONGEST_TITLE, _RC, _figure, _pixels, add_legend
from kerasxai.viz.text import drawable

Pictures: TypeAlias = Sequence[ArrayLike] | NDArray[Any]
_LEGEND = 24
_NO_CLASS = "no class"


def class_colors(count: int) -> list[str]:
    """Returns a color for each class: of few classes those that color-blind people tell apart, of many a circle."""
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
    most_thumbnails: int = 60,
    size: tuple[float, float] = (8.0, 6.4),
    limits: tuple[float, float, float, float] | None = None,
) -> Picture:
    """Draws points by class, and on some of them the images they stand for.

    Args:
        points: `(N, 2)`.
        labels: `(N,)` whole numbers from 0; None: all of one color.
        class_names: For the legend; None: numbers.
        thumbnails: One picture a point; drawn are as many as find room, framed in the color of the class.
        title: Above.
        note: Below the title: the method and how far it can be trusted, say.
        most_thumbnails: How many are drawn at the most.
        size: Inches (width, height), at 160 pixels an inch.
        limits: x from and to, y from and to; None: fits the points.

    Returns:
        `(H, W, 3)` uint8.

    Raises:
        KerasxaiError: The points are not `(N, 2)`, or there is not one label or thumbnail for each.

    Example:
        >>> plot_scatter(np.eye(2), [0, 1], ["cat", "dog"]).shape
        (1024, 1280, 3)
    """
    places, classes, names = _checked(points, labels, class_names, thumbnails)
    colors = class_colors(len(names))
    with matplotlib.rc_context(_RC):
        figure = _figure(size)
        axes = figure.subplots()
        # One class after the other would hide the first ones where they overlap.
        order = np.random.default_rng(0).permutation(len(places))
        shades = np.array(colors)[classes]
        x, y = places[order].T
        axes.scatter(x, y, c=shades[order], s=14, linewidths=0.3, edgecolors="white", zorder=2)
        for number in range(min(len(names), _LEGEND)):
            axes.scatter([], [], c=colors[number], s=28, label="class")
        if len(names) > 1:
            place = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
            add_legend(axes, names[:_LEGEND], _more(names), fontsize=8.5, **place)
        axes.set_xticks([])
        axes.set_yticks([])
        if limits is not None:
            axes.set_xlim(limits[0], limits[1])
            axes.set_ylim(limits[2], limits[3])
        axes.margins(0.06)
        if title or note:
            lines = [drawable(text, _LONGEST_TITLE) for text in (title, note) if text]
            axes.set_title("\n".join(lines), fontsize=9.5)
        if thumbnails is not None:
            chosen = _apart(places, most_thumbnails)
            for i, small in zip(chosen, to_pictures(_rows(thumbnails, chosen)), strict=True):
                _put(axes, small, places[i], shades[i])
        return _pixels(figure)


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
    """Makes an HTML page of points that shows the image, name and class of the point under the pointer.

    One file without anything from outside: pictures and a few lines of JavaScript are inside. The wheel zooms, dragging
    moves, a click on a class hides or shows it.

    Args:
        points: `(N, 2)`.
        thumbnails: One picture a point.
        names: One a point.
        labels: `(N,)` whole numbers from 0.
        class_names: For the legend.
        title: Of the page.
        note: Below the title.
        thumbnail_size: Side of the pictures in pixels.

    Returns:
        The page.

    Raises:
        KerasxaiError: As for `plot_scatter`.

    Example:
        >>> page = scatter_page(np.eye(2), np.zeros((2, 8, 8, 3), np.uint8), ["a.jpg", "b.jpg"])
        >>> page.startswith("<!DOCTYPE html>")
        True
    """
    places, classes, listed = _checked(points, labels, class_names, thumbnails)
    called = [str(i) for i in range(len(places))] if names is None else [str(name) for name in names]
    if len(called) != len(places):
        raise KerasxaiError(f"expected one name for each of {len(places)} points, got {len(called)}")
    sheet, columns = sprite(thumbnails, thumbnail_size)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "JPEG", quality=88)
    data: dict[str, Any] = {
        "points": np.round(_unit(places), 5).tolist(),
        "classes": classes.tolist(),
        "names": called,
        "labels": listed,
        "colors": class_colors(len(listed)),
        "columns": columns,
        "size": thumbnail_size,
    }
    # Within a script nothing may look like its end.
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
    """Lays small pictures out in one square sheet, row by row, as TensorBoard's projector wants them.

    Returns:
        The sheet, and how many stand in a row.

    Example:
        >>> sheet, columns = sprite(np.zeros((5, 8, 8, 3), np.uint8), 16)
        >>> sheet.shape, columns
        ((48, 48, 3), 3)
    """
    columns = math.ceil(math.sqrt(len(thumbnails)))
    sheet = np.full((columns * size, columns * size, 3), 255, np.uint8)
    for number, thumbnail in enumerate(to_pictures(thumbnails)):
        row, column = divmod(number, columns)
        small = resize_picture(thumbnail, (size, size))
        sheet[row * size : (row + 1) * size, column * size : (column + 1) * size] = small
    return sheet, columns


def _checked(
    points: ArrayLike, labels: ArrayLike | None, class_names: Sequence[str] | None, thumbnails: Any
) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
    places = np.asarray(points, np.float64)
    if places.ndim != 2 or places.shape[1] != 2 or not len(places) or not np.isfinite(places).all():
        raise KerasxaiError(f"expected finite points (N, 2), got shape {places.shape}")
    classes = np.zeros(len(places), np.int64) if labels is None else np.asarray(labels, np.int64)
    if classes.shape != (len(places),) or classes.min() < 0:
        raise KerasxaiError(f"expected one label from 0 for each of {len(places)} points, got shape {classes.shape}")
    if thumbnails is not None and len(thumbnails) != len(places):
        raise KerasxaiError(f"expected one thumbnail for each of {len(places)} points, got {len(thumbnails)}")
    if labels is None:
        return places, classes, [_NO_CLASS]
    known = [str(name) for name in ([] if class_names is None else class_names)]
    if classes.max() < len(known):
        return places, classes, known
    return places, classes, [*known, *map(str, range(len(known), int(classes.max()) + 1))]


def _rows(pictures: Pictures, chosen: list[int]) -> Pictures:
    return pictures[chosen] if isinstance(pictures, np.ndarray) else [pictures[i] for i in chosen]


def _more(names: list[str]) -> str | None:
    return f"{_LEGEND} of {len(names)} classes" if len(names) > _LEGEND else None


def _unit(places: NDArray) -> NDArray:
    """Returns points within [0, 1], the aspect kept, with y downward as on a screen."""
    low, high = places.min(0), places.max(0)
    extent = (high - low).max() or 1.0
    unit = (places - (low + high) / 2) / extent + 0.5
    unit[:, 1] = 1 - unit[:, 1]
    return unit


def _apart(places: NDArray, most: int) -> list[int]:
    """Chooses points whose thumbnails do not cover one another, in a fixed random order."""
    extent = np.ptp(places, axis=0)
    unit = (places - places.min(0)) / np.where(extent > 0, extent, 1)
    chosen: list[int] = []
    for i in np.random.default_rng(1).permutation(len(places)):
        if len(chosen) == most:
            break
        if not chosen or (np.abs(unit[chosen] - unit[i]) / (0.075, 0.09)).max(1).min() > 1:
            chosen.append(int(i))
    return chosen


def _put(axes: Any, picture: Picture, place: NDArray, color: str) -> None:
    small = resize_picture(picture, (64, 64))
    image = OffsetImage(small, zoom=0.42)
    frame = {"edgecolor": color, "linewidth": 1.6, "boxstyle": "square,pad=0.02"}
    axes.add_artist(AnnotationBbox(image, (place[0], place[1]), frameon=True, bboxprops=frame, pad=0.1, zorder=3))
