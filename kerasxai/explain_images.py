"""`explain` and `show_methods`: from image files to pictures in one line."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai import models, viz
from kerasxai.data.choosing import spread_over_positions
from kerasxai.data.examples import example_or_file
from kerasxai.data.finding import find_images, no_images
from kerasxai.data.images import SUFFIXES, read_image
from kerasxai.engine.images.builtin_preprocessing import IN_PYTHON, input_for_files, warn_of_range
from kerasxai.engine.images.image_input import ImageInput, Size, image_input
from kerasxai.engine.outputs.kinds import class_count, class_index
from kerasxai.explainer import Explainer
from kerasxai.explanation import Explanation
from kerasxai.methods import METHODS
from kerasxai.refinements.automatic import MOST, announce_choice
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import StrPath
from kerasxai.tools.input_range import Preprocess

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOG = logging.getLogger(__name__)

Images: TypeAlias = "StrPath | Sequence[StrPath] | NDArray[Any]"
"""Files, a folder, or arrays: one image `(H, W, C)`, or several `(N, H, W, C)`."""


def explain(
    model: keras.Model | StrPath,
    images: Images,
    method: str = "gradcam",
    target: int | str | None = None,
    *,
    labels: ArrayLike | None = None,
    image_size: Size | None = None,
    preprocess: str | Preprocess | None = None,
    **options: Any,
) -> Explanation:
    """Explain image files with a Keras model; notebooks show the result.

    Images are resized to the input of the model, as they were fitted in training where the model knows.

    Args:
        model: A Keras classifier, the path of one, or `"imagenet:EfficientNetLite0"` and the like.
        images: A file, a list of files, a folder, `"example:cat"` and the like of `kerasxai.data.EXAMPLES`, or arrays
            `(H, W, C)` or `(N, H, W, C)` as the model takes them, with `preprocess=` pixels in [0, 255].
        method: A name in `kerasxai.METHODS`.
        target: Number or name of the class to explain; None for the predicted class of each image.
        labels: `(N,)` true classes, by which captions say what is right and wrong.
        image_size: Side, or height and width, for a model that takes any.
        preprocess: Preprocessing of pixels in [0, 255], as for `kerasxai.Explainer`.
        **options: As for `kerasxai.Explainer`.

    Returns:
        An `Explanation` with the images as the model sees them, in [0, 255], and the names of the files.

    Raises:
        KerasxaiError: A file is missing or is not an image, the model cannot be loaded, or the method cannot explain
            it.

    Example:
        >>> kerasxai.explain("imagenet:EfficientNetLite0", "cat.jpg")
        <Explanation: gradcam at top_activation, 1x224x224 heatmaps: tabby, 82 %>
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    pixels, names = _read(images)
    model = model if isinstance(model, keras.Model) else models.load_classifier(model)
    taken = _model_input(model, names, image_size, preprocess)
    explainer, chosen = Explainer(model, method, **options), _target(model, target)
    _warn(model, taken, names, preprocess)
    return _explained(explainer, taken, pixels, names, chosen, labels)


def show_methods(
    model: keras.Model | StrPath,
    image: StrPath | NDArray[Any],
    target: int | str | None = None,
    methods: Sequence[str] | None = None,
    *,
    columns: int = 5,
    image_size: Size | None = None,
    preprocess: str | Preprocess | None = None,
) -> Figure:
    """Plot the heatmaps of several methods for one image side by side.

    Args:
        model: As for `explain`.
        image: A file, `"example:cat"` and the like, or an array `(H, W, C)`; see `explain`.
        target: As for `explain`.
        methods: Names in `kerasxai.METHODS`; None for all that can explain the model. Those that cannot are logged and
            left out.
        columns: Pictures in a row, at least 1.
        image_size: As for `explain`.
        preprocess: As for `explain`.

    Returns:
        A matplotlib figure: the image, and one picture for each method.

    Raises:
        KerasxaiError: None of the methods can explain the model, or as for `explain`.

    Example:
        >>> kerasxai.show_methods(model, "cat.jpg", methods=["cam", "gradcam", "saliency"]).savefig("methods.png")
    """
    if columns < 1:
        raise KerasxaiError(f"columns must be 1 or more, got {columns}")
    for name in methods or ():
        if name not in METHODS:
            raise unknown("method", name, METHODS)
    pixels, names = _read(image)
    if len(pixels) != 1:
        raise KerasxaiError(f"expected one image, got {len(pixels)}; call explain for several")
    model = model if isinstance(model, keras.Model) else models.load_classifier(model)
    taken, chosen = _model_input(model, names, image_size, preprocess), _target(model, target)
    _warn(model, taken, names, preprocess)
    found: list[Explanation] = []
    refusals: list[KerasxaiError] = []
    for name in methods or METHODS:
        try:
            found.append(_explained(Explainer(model, name), taken, pixels, names, chosen, None))
        except KerasxaiError as error:
            _LOG.warning("%s is left out: %s", name, error)
            refusals.append(error)
    if not found:
        raise refusals[0]
    return _side_by_side(found, columns)


def _read(images: Images) -> tuple[list[NDArray[Any]], tuple[str, ...] | None]:
    """Return images `(H, W, C)` of any sizes in [0, 255], and the names of their files."""
    if isinstance(images, np.ndarray):
        pixels = images[None] if images.ndim == 3 else images
        if pixels.ndim != 4 or not len(pixels):
            raise KerasxaiError(f"expected images (H, W, C) or (N, H, W, C), got shape {images.shape}")
        return list(pixels), None
    given = [images] if isinstance(images, str | Path) or hasattr(images, "__fspath__") else list(images)
    paths: list[Path] = []
    for path in map(example_or_file, given):
        if path.is_dir():
            inside = list(find_images(path, SUFFIXES))
            if not inside:
                raise no_images(path, SUFFIXES)
            paths += inside
        else:
            paths.append(path)
    if not paths:
        raise KerasxaiError("expected at least one image, got none")
    return [read_image(path) for path in paths], tuple(path.stem for path in paths)


def _target(model: keras.Model, target: int | str | None) -> int | None:
    return target if not isinstance(target, str) else class_index(target, models.class_names(model), class_count(model))


def _model_input(
    model: keras.Model, names: tuple[str, ...] | None, size: Size | None, preprocess: str | Preprocess | None
) -> ImageInput:
    return (input_for_files if _converts(names, preprocess) else image_input)(model, size, preprocess)


def _converts(names: tuple[str, ...] | None, preprocess: str | Preprocess | None) -> bool:
    # The explainer warns of arrays by their values: without a range they are taken as the model takes them.
    return names is not None or preprocess is not None


def _warn(
    model: keras.Model, taken: ImageInput, names: tuple[str, ...] | None, preprocess: str | Preprocess | None
) -> None:
    if _converts(names, preprocess):
        warn_of_range(model, taken, preprocess, IN_PYTHON)


def _explained(
    explainer: Explainer,
    taken: ImageInput,
    pixels: list[NDArray[Any]],
    names: tuple[str, ...] | None,
    target: int | None,
    labels: ArrayLike | None,
) -> Explanation:
    resized = np.stack([taken.resized(image) for image in pixels])
    given = taken.taken(resized)
    if explainer.chooses_refinement:
        # The first images of a folder are of its first classes.
        some = given[spread_over_positions(len(given), MOST)]
        announce_choice(len(some))
        explainer.choose_refinement(some)
    explanation = explainer(given, target)
    known = None if labels is None else np.asarray(labels, np.int64)
    if known is not None and known.shape != (len(pixels),):
        raise KerasxaiError(f"expected one label for each of {len(pixels)} images, got shape {known.shape}")
    return replace(explanation, images=resized, names=names, labels=known)


def _side_by_side(explanations: list[Explanation], columns: int) -> Figure:
    import matplotlib.pyplot as plt  # pyplot chooses the backend, which only plots should do.

    image = explanations[0].images
    assert image is not None
    pictures = [(explanations[0].caption(0), viz.to_picture(image[0]))]
    pictures += [(one.method, one.pictures()[0]) for one in explanations]
    width = min(columns, len(pictures))
    height = -(-len(pictures) // width)
    figure, grid = plt.subplots(height, width, figsize=(2.6 * width, 2.9 * height), squeeze=False, layout="constrained")
    for axes in grid.ravel():
        axes.set_axis_off()
    for axes, (title, picture) in zip(grid.ravel(), pictures, strict=False):
        axes.imshow(picture)
        axes.set_title(title, fontsize="medium")
    keys = sorted({one.color_key for one in explanations})
    figure.supxlabel("\n".join(keys), fontsize="small")
    return figure
