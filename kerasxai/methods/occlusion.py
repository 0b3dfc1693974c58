"""Occlusion: hide one patch after the other and measure how far the score falls."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.engine.map_layout import spatial_shape
from kerasxai.methods.coarse_to_fine import CoarseToFine
from kerasxai.methods.perturbation import Fill, explained_quantity, fill_values, visible_images
from kerasxai.methods.rounds import pieces
from kerasxai.methods.windowed import can_recompute_crops, scores_and_map, windowed_scores
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import SHAPES, per_axis, real, whole

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.score_model import Answer, Query, ScoreModel


def occluded_scores(
    forward: Forward, batch: Samples, corners: tf.Tensor, fill: tf.Tensor, *, patch: tuple[int, ...], explain: str
) -> dict[str, tf.Tensor]:
    """Query: the scores `(n,)` of one image with a patch at each of the corners `(n, 2)` (top, left).

    Args:
        forward: Runs the model.
        batch: One image `(1, H, W, C)`, or with one or three axes, or tokens `(1, T)`.
        corners: `(n, 2)` int32, as many numbers as there are axes.
        fill: `(1, 1, 1, C)` or `(1, H, W, C)`.
        patch: Height and width, as many as there are axes.
        explain: `"logit"` or `"probability"`.
    """
    images, axes = batch.images, corners.shape[1]
    occluded = tf.constant(True)
    for axis in range(axes):
        along, first = tf.range(tf.shape(images)[axis + 1]), corners[:, axis, None]
        within = (along >= first) & (along < first + patch[axis])
        occluded &= tf.reshape(within, [-1, *[1] * axis, tf.shape(along)[0], *[1] * (axes - 1 - axis)])
    tokens = images.shape.rank == axes + 1
    changed = tf.where(occluded, fill, images) if tokens else visible_images(~occluded, images, fill)
    copies = batch.repeat(tf.shape(corners)[0], changed)
    return {"scores_without": forward(copies).explained(explain)}


def occlusion(
    model: ScoreModel,
    batch: Samples,
    *,
    patch: int | tuple[int, ...] | None = None,
    stride: int | tuple[int, ...] | None = None,
    fill: Fill = "black",
    explain: str | None = None,
    coarse: int = 1,
    refine_from: float | None = None,
) -> tf.Tensor:
    """Occlusion: `mean over the patches P that cover a pixel of S(x) - S(x with P hidden)`, signed.

    Args:
        patch: Side of the patch in pixels, or (height, width); None takes a seventh of the image's shorter side (32 at
            224), a seventh of each side of a volume, and one token; the notes name it.
        stride: Step from patch to patch, at most the patch; None takes half of it.
        fill: The fill of hidden pixels: `"black"` (0), `"mean"` (the image's mean color), `"gray"` (the middle of
            the image's range), a number, a color `(C,)` or a picture `(H, W, C)`; for tokens a number, 0 by default.
        explain: `"logit"`, the default: the score, see `Explainer`; or `"probability"` of the class.
        coarse: 1 hides every patch. With 4, each fourth patch along each axis is hidden, and the changes of the score
            between them are interpolated linearly.
        refine_from: With `coarse`, the share of the largest change from which the patches around one are all hidden;
            None interpolates everywhere, 0 hides every patch.

    Returns:
        Maps `(B, H, W)` at image size, float32, signed. The notes keep `patch` and `stride`, and with `coarse` above 1
        also `passes` `(B,)`, how many patches were hidden.

    Raises:
        KerasxaiError: A patch larger than the image, or a stride that would leave pixels uncovered.

    Example:
        >>> kerasxai.Explainer(model, "occlusion", patch=32, stride=16, fill="mean")(images).heatmaps

        >>> kerasxai.Explainer(model, "occlusion", stride=8, coarse=4)(images).notes["passes"]
        array([49])

    Paper: Zeiler and Fergus 2013, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901, who draw the
    probability itself with a gray square at each position; here it is the drop, and the last row and column of
    patches are moved inwards so that every pixel is covered and every patch has the same size. Where a network begins
    with operations that depend only on a crop of the image around the patch, these are run on the crop
    (Nakandala et al. 2019, SIGMOD); the scores are the same.
    """
    explain = explained_quantity(model, explain)
    images = batch.images
    shape = tuple(spatial_shape(images.shape))
    seventh = tuple(max(1, round(side / 7)) for side in shape)
    default = {2: 1, 4: min(seventh)}.get(images.shape.rank, seventh)
    patch = per_axis("patch", default if patch is None else patch, len(shape))
    stride = per_axis("stride", tuple((side + 1) // 2 for side in patch) if stride is None else stride, len(shape))
    _check_cover(patch, stride, shape)
    coarse, refine_from = whole("coarse", coarse, 1), _least(refine_from)
    fills = fill_values(fill, images.numpy())
    crops = {"patch": patch if can_recompute_crops(model, images) else None}
    clean = model.evaluate(scores_and_map, batch, explain=explain, **crops)
    occluder = Occluder(model, batch.with_targets(clean.targets), fills, clean, patch, explain)
    starts = patch_starts(shape, patch, stride)
    corners = np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, len(shape)).astype(np.int32)
    patches = [tuple(slice(a, a + n) for a, n in zip(corner, patch, strict=True)) for corner in corners]
    grid = CoarseToFine(tuple(map(len, starts)), coarse, refine_from)
    maps, passes = np.zeros((len(batch), *shape)), np.zeros(len(batch), np.int64)
    covered = np.zeros(shape)
    for pixels in patches:
        covered[pixels] += 1
    for b in range(len(batch)):
        if coarse == 1:
            drops, passes[b] = occluder.drops(b, corners, model.chunks(len(corners))), len(corners)
        else:
            drops, passes[b] = grid.values(functools.partial(occluder.drops_at, b, corners))
            model.report.progress.advance(1)
        for pixels, drop in zip(patches, drops, strict=True):
            maps[b][pixels] += drop
    model.record(patch=patch, stride=stride, **({"passes": passes} if coarse > 1 else {}))
    return tf.convert_to_tensor(maps / covered, tf.float32)


@dataclass(frozen=True)
class Occluder:
    """The images of a batch with patches hidden.

    Attributes:
        model: The model.
        batch: The images, with their targets.
        fills: See `fill_values`.
        clean: The answer of `scores_and_map`.
        patch: Height and width.
        explain: `"logit"` or `"probability"`.
    """

    model: ScoreModel
    batch: Samples
    fills: NDArray[np.float32]
    clean: Answer
    patch: tuple[int, ...]
    explain: str

    def drops(self, b: int, corners: NDArray[np.int32], parts: Iterable[slice]) -> NDArray[np.floating]:
        """Returns how far the score of image b falls with a patch at each of the corners `(n, axes)`, `(n,)`."""
        one, path = slice(b, b + 1), self.clean.path.numpy().decode()
        query: Query = windowed_scores if path else occluded_scores
        options, early = ({"path": path}, (self.clean.early[one],)) if path else ({}, ())
        batches = ((self.batch.take(one), corners[part], self.fills[one], *early) for part in parts)
        answers = self.model.evaluate_each(query, batches, patch=self.patch, explain=self.explain, **options)
        scores = [answer.scores_without for answer in answers]
        return (self.clean.scores[b] - tf.concat(scores, 0)).numpy()

    def drops_at(self, b: int, corners: NDArray[np.int32], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the same for some of the corners, float64."""
        parts = pieces(slice(0, len(numbers)), self.model.effective_batch_size)
        return self.drops(b, corners[numbers], parts).astype(np.float64)


def patch_starts(shape: tuple[int, ...], patch: tuple[int, ...], stride: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """Returns along each axis the first pixels of patches that cover every pixel."""
    lasts = [side - length for side, length in zip(shape, patch, strict=True)]
    return [np.unique([*range(0, last + 1, step), last]) for last, step in zip(lasts, stride, strict=True)]


def _least(refine_from: object) -> float:
    if refine_from is None:
        return math.inf
    share = real("refine_from", refine_from)
    if share < 0:
        raise KerasxaiError(f"refine_from must be 0 or more, got {share:g}")
    return share


def _check_cover(patch: tuple[int, ...], stride: tuple[int, ...], shape: tuple[int, ...]) -> None:
    if any(length > side for length, side in zip(patch, shape, strict=True)):
        raise KerasxaiError(f"patch must be at most the image, {shape} {SHAPES[len(shape)]}, got {patch}")
    if any(step > length for step, length in zip(stride, patch, strict=True)):
        raise KerasxaiError(f"stride must be at most the patch, {patch}, to cover all pixels, got {stride}")
