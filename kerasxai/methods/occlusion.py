"""Occlusion: hide one place after the other and see how far the score falls."""

from typing import Any

import numpy as np
import tensorflow as tf

from kerasxai.engine.map_layout import sides_of
from kerasxai.methods.perturbation import explained_quantity, fill_values, seen_where
from kerasxai.methods.windowed import may_be_windowed, scores_and_map, windowed_scores
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import SIDES, per_side


def occluded_scores(
    run: Any, images: Any, targets: Any, corners: Any, fill: Any, *, patch: tuple[int, ...], explain: str
) -> dict[str, Any]:
    """Asks for the scores `(n,)` of one image with a patch at each of the corners `(n, 2)` (top, left).

    Args:
        run: Runs the model.
        images: `(1, H, W, C)`, or with one or three sides, or tokens `(1, T)`.
        targets: `(1,)`.
        corners: `(n, 2)` int32, as many numbers as there are sides.
        fill: `(1, 1, 1, C)` or `(1, H, W, C)`, what is seen instead.
        patch: Height and width, as many as there are sides.
        explain: `"logit"` or `"probability"`.
    """
    sides = corners.shape[1]
    hidden = tf.constant(True)
    for axis in range(sides):
        along, first = tf.range(tf.shape(images)[axis + 1]), corners[:, axis, None]
        within = (along >= first) & (along < first + patch[axis])
        hidden &= tf.reshape(within, [-1, *[1] * axis, tf.shape(along)[0], *[1] * (sides - 1 - axis)])
    tokens = images.shape.rank == sides + 1
    changed = tf.where(hidden, fill, images) if tokens else seen_where(~hidden, images, fill)
    seen = run(changed, tf.repeat(targets, tf.shape(corners)[0]))
    return {"scores_without": seen.explained(explain)}


def occlusion(
    view: Any,
    images: Any,
    targets: Any,
    *,
    patch: int | tuple[int, ...] | None = None,
    stride: int | tuple[int, ...] | None = None,
    fill: Any = "black",
    explain: str | None = None,
) -> Any:
    """Occlusion: `mean over the patches P that cover a pixel of S(x) - S(x with P hidden)`, signed.

    Args:
        view: The model or function, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32; of series `(B, T, C)` and tokens `(B, T)` stretches are hidden, of volumes
            `(B, D, H, W, C)` blocks.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.
        patch: Side of the patch in pixels, or (height, width); None takes a seventh of the image's shorter side (32 at
            224), a seventh of each side of a volume, and one token; the notes name it.
        stride: Step from patch to patch, at most the patch; None takes half of it.
        fill: What stands in a hidden place: `"black"` (0), `"mean"` (the image's mean color), `"gray"` (the middle of
            the image's own range), a number, a color `(C,)` or a picture `(H, W, C)`. Of tokens a number, 0 by default.
        explain: `"logit"` or `"probability"` of the class; None takes the logit, or the score that the user gave.

    Returns:
        Maps `(B, H, W)` at image size, float32, signed. The notes keep `patch` and `stride`.

    Raises:
        KerasxaiError: A patch larger than the image, or a stride that would leave pixels uncovered.

    Example:
        >>> kerasxai.Explainer(model, "occlusion", patch=32, stride=16, fill="mean")(images).heatmaps

    Paper: Zeiler and Fergus 2013, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901, who draw the
    probability itself with a gray square at each place; here it is the drop, and the last row and column of
    patches are moved inwards so that every pixel is covered and every patch has the same size. Where a network begins
    with operations that see no further than a piece of the image around the patch, these are run on the piece alone
    (Nakandala et al. 2019, SIGMOD); the scores are the same.
    """
    explain = explained_quantity(view, explain)
    sides = tuple(sides_of(images.shape))
    seventh = tuple(max(1, round(side / 7)) for side in sides)
    default = {2: 1, 4: min(seventh)}.get(images.shape.rank, seventh)
    patch = per_side("patch", default if patch is None else patch, len(sides))
    stride = per_side("stride", tuple((side + 1) // 2 for side in patch) if stride is None else stride, len(sides))
    _check_cover(patch, stride, sides)
    fills = fill_values(fill, images.numpy())
    windows = {"patch": patch if may_be_windowed(view, images) else None}
    clean = view.evaluate(scores_and_map, images, targets, explain=explain, **windows)
    path = clean.path.numpy().decode()
    question, options = (windowed_scores, {"path": path}) if path else (occluded_scores, {})
    options |= {"patch": patch, "explain": explain}
    corners = patch_corners(sides, patch, stride)
    patches = [tuple(slice(a, a + n) for a, n in zip(corner, patch, strict=True)) for corner in corners]
    maps = np.zeros((len(images), *sides))
    covered = np.zeros(sides)
    for places in patches:
        covered[places] += 1
    for b in range(len(images)):
        one = slice(b, b + 1)
        early = (clean.early[one],) if path else ()
        batches = (
            (images[one], clean.targets[one], corners[part], fills[one], *early) for part in view.chunks(len(corners))
        )
        scores = [seen.scores_without for seen in view.evaluate_each(question, batches, **options)]
        for places, drop in zip(patches, (clean.scores[b] - tf.concat(scores, 0)).numpy(), strict=True):
            maps[b][places] += drop
    view.note(patch=patch, stride=stride)
    return tf.convert_to_tensor(maps / covered, tf.float32)


def patch_corners(sides: tuple[int, ...], patch: tuple[int, ...], stride: tuple[int, ...]) -> np.ndarray:
    """Returns the top left corners `(n, 2)` int32 of patches that cover every pixel, row by row, of any sides."""
    starts = []
    for side, length, step in zip(sides, patch, stride, strict=True):
        last = side - length
        starts.append(np.unique([*range(0, last + 1, step), last]))
    return np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, len(sides)).astype(np.int32)


def _check_cover(patch: tuple[int, ...], stride: tuple[int, ...], sides: tuple[int, ...]) -> None:
    if any(length > side for length, side in zip(patch, sides, strict=True)):
        raise KerasxaiError(f"patch {patch} is larger than the image, which is {sides} {SIDES[len(sides)]}")
    if any(step > length for step, length in zip(stride, patch, strict=True)):
        raise KerasxaiError(f"stride {stride} is longer than the patch {patch}: pixels between patches stay uncovered")
