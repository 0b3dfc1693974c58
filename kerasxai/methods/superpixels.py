"""Superpixels: cutting an image into regions, and the scores of the image with some of them hidden."""

from typing import Any

import numpy as np
import tensorflow as tf
from skimage.segmentation import quickshift, slic

from kerasxai.methods.perturbation import seen_where
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import choice, whole


def visible_scores(
    run: Any, images: Any, targets: Any, superpixels: Any, hidden: Any, coalitions: Any, *, explain: str
) -> dict[str, Any]:
    """Asks for the scores `(n,)` of one image of which only some superpixels are seen.

    Args:
        run: Runs the model.
        images: `(1, H, W, C)`.
        targets: `(1,)`.
        superpixels: `(1, H, W)` int32, 0 to d - 1.
        hidden: `(1, 1, 1, C)` or `(1, H, W, C)`, what is seen where a superpixel is hidden.
        coalitions: `(n * d,)` float32, 1 where a superpixel is seen; flat, because d differs from image to image and
            only the length of a tensor may differ without another trace.
        explain: `"logit"` or `"probability"`.
    """
    seen = tf.reshape(coalitions, (-1, tf.reduce_max(superpixels) + 1))
    perturbed = seen_where(tf.gather(seen > 0, superpixels[0], axis=1), images, hidden)
    return {"partial": run(perturbed, tf.repeat(targets, tf.shape(seen)[0])).explained(explain)}


def partial_scores(
    view: Any,
    image: Any,
    target: Any,
    superpixels: np.ndarray,
    hidden: np.ndarray,
    coalitions: np.ndarray,
    explain: str,
) -> np.ndarray:
    """Returns the score of one image `(1, H, W, C)` for each row of coalitions `(n, d)`, batch by batch, float64."""
    batches = (
        (image, target, superpixels[None].astype(np.int32), hidden, coalitions[part].astype(np.float32).ravel())
        for part in view.chunks(len(coalitions))
    )
    scores = [answer.partial for answer in view.evaluate_each(visible_scores, batches, explain=explain)]
    return np.concatenate(scores).astype(np.float64)


def superpixels_of(view: Any, images: np.ndarray, segmentation: Any, segments: int) -> list[np.ndarray]:
    """Returns the superpixels of each image, `(H, W)` int from 0 to d - 1 without gaps.

    Args:
        view: Knows which of the call's images these are.
        images: `(B, H, W, C)`.
        segmentation: `"slic"`, `"quickshift"`, or labels `(H, W)` for all images or `(N, H, W)` for each of the call.
        segments: About how many superpixels SLIC makes.

    Raises:
        KerasxaiError: Another name, or labels of the wrong shape or kind.
    """
    if not isinstance(segmentation, str):
        return [_without_gaps(labels) for labels in _given_labels(view, images, segmentation)]
    choice("segmentation", segmentation, ("slic", "quickshift"))
    whole("segments", segments, 2)
    return [_without_gaps(_cut(_stretched(image), segmentation, segments)) for image in images]


def _given_labels(view: Any, images: np.ndarray, segmentation: Any) -> np.ndarray:
    labels = np.asarray(segmentation)
    count = len(images) if view.total is None else view.total
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape not in (
        images.shape[1:-1],
        (count, *images.shape[1:-1]),
    ):
        raise KerasxaiError(
            "segmentation must be slic, quickshift or whole-numbered labels of shape "
            f"{images.shape[1:-1]} or {(count, *images.shape[1:-1])}, not {labels.dtype} of shape {labels.shape}"
        )
    alike = labels.ndim == images.ndim - 2
    return np.broadcast_to(labels, images.shape[:-1]) if alike else labels[view.rows]


def _stretched(image: np.ndarray) -> np.ndarray:
    """Returns an image stretched to [0, 1], because segmentation knows nothing of the range that the model takes."""
    low, high = float(image.min()), float(image.max())
    return (image - low) / (high - low) if high > low else np.zeros_like(image)


def _cut(image: np.ndarray, segmentation: str, segments: int) -> np.ndarray:
    if segmentation == "slic":
        # A series is a picture of one row.
        plane = image[None] if image.ndim == 2 else image
        cut = slic(plane, n_segments=segments, compactness=10, sigma=1, start_label=0, channel_axis=-1)
        return cut.reshape(image.shape[:-1])
    if image.ndim != 3:
        raise KerasxaiError(f"quickshift cuts images alone, not shape {image.shape}: leave segmentation= at slic")
    # Without three colors there is no Lab, whose values go to 100: the weight of color against distance stays the same.
    colors = image.shape[-1] == 3
    image = image if colors else image * 100
    return quickshift(image, kernel_size=4, max_dist=200, ratio=0.2, convert2lab=colors, rng=0)


def _without_gaps(labels: np.ndarray) -> np.ndarray:
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def mean_colors(image: np.ndarray, superpixels: np.ndarray) -> np.ndarray:
    """Returns an image `(H, W, C)` in which every superpixel of another has its mean color."""
    flat = superpixels.ravel()
    sums = [np.bincount(flat, channel.ravel()) for channel in np.moveaxis(image, -1, 0)]
    return (np.stack(sums, -1) / np.bincount(flat)[:, None])[superpixels]


def top_superpixels(weights: np.ndarray, superpixels: np.ndarray, count: int) -> np.ndarray:
    """Returns the mask `(H, W)` bool of the superpixels of largest weight, of those that speak for the class."""
    best = np.argsort(-weights, kind="stable")[:count]
    return np.isin(superpixels, best[weights[best] > 0])
