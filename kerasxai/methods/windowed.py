"""Occlusion that recomputes the early layers around the patch only; see `kerasxai.engine.fast.crop_recompute`."""

from typing import Any

import tensorflow as tf

from kerasxai.engine.fast import best_crop, crop_of
from kerasxai.engine.function_model import FunctionModel


def may_be_windowed(view: Any, images: Any) -> bool:
    """Tells whether a view's passes are of one image alone, with channels last, and may be changed to be faster."""
    return (
        images.shape.rank == 4
        and view.fold
        and view.layout is None
        and not view.channels_first
        and not isinstance(view, FunctionModel)
    )


def scores_and_map(
    run: Any, images: Any, targets: Any, *, patch: tuple[int, int] | None, explain: str
) -> dict[str, Any]:
    """Asks for the scores `(B,)`, and the early map `(B, h, w, K)` of which a patch changes a part.

    The answer's `path` is that of the layer which gives the map; it is empty where no map is worth it, or `patch` is
    None.
    """
    seen = run(images, targets)
    crop = best_crop(seen, patch) if patch else None
    found = {"path": crop.path, "early": crop.output} if crop else {"path": "", "early": images[:, :0]}
    return {"scores": seen.explained(explain), **{name: tf.convert_to_tensor(value) for name, value in found.items()}}


def windowed_scores(
    run: Any,
    images: Any,
    targets: Any,
    corners: Any,
    fill: Any,
    early: Any,
    *,
    path: str,
    patch: tuple[int, int],
    explain: str,
) -> dict[str, Any]:
    """Asks for the scores `(n,)` of one image with a patch at each corner, from windows of the early layers.

    Args:
        run: Runs the model.
        images: `(1, H, W, C)`.
        targets: `(1,)`.
        corners: `(n, 2)` int32.
        fill: `(1, 1, 1, C)` or `(1, H, W, C)`.
        early: `(1, h, w, K)`, the map that the layer at `path` gives for the image without a patch.
        path: See `early`.
        patch: Height and width.
        explain: `"logit"` or `"probability"`.
    """

    def changed(output: Any) -> Any:
        crop = crop_of(images, path, output, patch)
        return crop.recompute(lambda *lines: _occluded_pieces(images, corners, patch, fill, *lines), corners, early)

    seen = run(images, tf.repeat(targets, tf.shape(corners)[0]), fed=(path, changed))
    return {"scores_without": seen.explained(explain)}


def _occluded_pieces(images: Any, corners: Any, patch: tuple[int, int], fill: Any, rows: Any, columns: Any) -> Any:
    """Returns pieces `(n, r, s, C)` of one image `(1, H, W, C)`: rows `(n, r)`, columns `(n, s)`, with patches."""
    inside = [
        (lines >= corners[:, axis, None]) & (lines < corners[:, axis, None] + patch[axis])
        for axis, lines in enumerate((rows, columns))
    ]
    images, fill = (x if x.shape[1] == 1 else _pieces(x[0], rows, columns) for x in (images, fill))
    return tf.where((inside[0][:, :, None] & inside[1][:, None, :])[..., None], fill, images)


def _pieces(image: Any, rows: Any, columns: Any) -> Any:
    """Returns pieces `(n, r, s, C)` of one image `(H, W, C)`: its rows `(n, r)` and columns `(n, s)`."""
    return tf.gather(tf.gather(image, rows), columns, axis=2, batch_dims=1)
