"""Occlusion that recomputes the early layers around the patch only; see `kerasxai.engine.fast.crop_recompute`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from kerasxai.engine.fast import best_crop, crop_of

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.score_model import ScoreModel


def can_recompute_crops(model: ScoreModel, images: tf.Tensor) -> bool:
    """Whether the passes of a model take images only, with channels last, and may be rewritten to be faster."""
    return images.shape.rank == 4 and model.accelerated and model.takes_images_only


def scores_and_map(
    forward: Forward, batch: Samples, *, patch: tuple[int, int] | None, explain: str
) -> dict[str, tf.Tensor]:
    """Query: the scores `(B,)`, and the early map `(B, h, w, K)` of which a patch can change only a crop.

    `path` is the path of the layer that returns the map; it is empty if no map is worth it, or `patch` is None.
    """
    fp = forward(batch)
    crop = best_crop(fp, patch) if patch else None
    found = {"path": crop.path, "early": crop.output} if crop else {"path": "", "early": batch.images[:, :0]}
    return {"scores": fp.explained(explain), **{name: tf.convert_to_tensor(value) for name, value in found.items()}}


def windowed_scores(
    forward: Forward,
    batch: Samples,
    corners: tf.Tensor,
    fill: tf.Tensor,
    early: tf.Tensor,
    *,
    path: str,
    patch: tuple[int, int],
    explain: str,
) -> dict[str, tf.Tensor]:
    """Query: the scores `(n,)` of one image with a patch at each corner, from crops of the early layers.

    Args:
        forward: Runs the model.
        batch: One image `(1, H, W, C)`.
        corners: `(n, 2)` int32.
        fill: `(1, 1, 1, C)` or `(1, H, W, C)`.
        early: `(1, h, w, K)`, the output of the layer at `path` for the image without a patch.
        path: See `early`.
        patch: Height and width.
        explain: `"logit"` or `"probability"`.
    """

    def changed(output: tf.Tensor) -> tf.Tensor:
        crop = crop_of(images, path, output, patch)
        return crop.recompute(lambda *lines: _occluded_crops(images, corners, patch, fill, *lines), corners, early)

    images = batch.images
    copies = batch.repeat(tf.shape(corners)[0], images)
    return {"scores_without": forward(copies, override=(path, changed)).explained(explain)}


def _occluded_crops(
    images: tf.Tensor,
    corners: tf.Tensor,
    patch: tuple[int, int],
    fill: tf.Tensor,
    rows: tf.Tensor,
    columns: tf.Tensor,
) -> tf.Tensor:
    """Returns crops `(n, r, s, C)` of one image `(1, H, W, C)`: rows `(n, r)`, columns `(n, s)`, with patches."""
    inside = [
        (lines >= corners[:, axis, None]) & (lines < corners[:, axis, None] + patch[axis])
        for axis, lines in enumerate((rows, columns))
    ]
    images, fill = (x if x.shape[1] == 1 else _crops(x[0], rows, columns) for x in (images, fill))
    return tf.where((inside[0][:, :, None] & inside[1][:, None, :])[..., None], fill, images)


def _crops(image: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Returns crops `(n, r, s, C)` of one image `(H, W, C)`: its rows `(n, r)` and columns `(n, s)`."""
    return tf.gather(tf.gather(image, rows), columns, axis=2, batch_dims=1)
