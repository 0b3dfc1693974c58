"""Superpixels: the segmentation of an image, and the scores of the image with some superpixels hidden."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from skimage.segmentation import quickshift

from kerasxai.methods.perturbation import visible_images
from kerasxai.methods.rounds import Precision, pieces, share_of_range
from kerasxai.methods.segmentation import segment_means, slic_superpixels, stretched, without_gaps
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import choice, whole

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.score_model import ScoreModel

Segmentation: TypeAlias = "str | NDArray[np.integer]"
"""`"slic"`, `"quickshift"`, or labels `(H, W)` for all images or `(N, H, W)` for each of the call."""


def visible_scores(
    forward: Forward, batch: Samples, superpixels: tf.Tensor, fill: tf.Tensor, coalitions: tf.Tensor, *, explain: str
) -> dict[str, tf.Tensor]:
    """Query: the scores `(n,)` of one image with only some superpixels visible.

    Args:
        forward: Runs the model.
        batch: One image `(1, H, W, C)`.
        superpixels: `(1, H, W)` int32, 0 to d - 1.
        fill: `(1, 1, 1, C)` or `(1, H, W, C)`, the pixels of hidden superpixels.
        coalitions: `(n * d,)` float32, 1 for a visible superpixel; flat, because d differs from image to image and
            only the length of a tensor may differ without another trace.
        explain: `"logit"` or `"probability"`.
    """
    visible = tf.reshape(coalitions, (-1, tf.reduce_max(superpixels) + 1)) > 0
    perturbed = visible_images(tf.gather(visible, superpixels[0], axis=1), batch.images, fill)
    return {"partial": forward(batch.repeat(tf.shape(visible)[0], perturbed)).explained(explain)}


@dataclass(frozen=True)
class HiddenSuperpixels:
    """One image, scored with some of its superpixels hidden.

    Attributes:
        model: The model.
        sample: The image, `(1, H, W, C)`.
        superpixels: `(H, W)`, 0 to d - 1.
        fill: `(1, 1, 1, C)` or `(1, H, W, C)`, the pixels of hidden superpixels.
        explain: `"logit"` or `"probability"`.
    """

    model: ScoreModel
    sample: Samples
    superpixels: NDArray[np.int64]
    fill: NDArray[np.float32]
    explain: str

    def scores(self, coalitions: NDArray[np.int8], parts: Iterable[slice] | None = None) -> NDArray[np.float64]:
        """Returns the score for each row of coalitions `(n, d)`, batch by batch, float64.

        Args:
            coalitions: 1 for a visible superpixel.
            parts: The rows of each batch; None for all rows, in batches of the size that suits the model.
        """
        superpixels = self.superpixels[None].astype(np.int32)
        batches = (
            (self.sample, superpixels, self.fill, coalitions[part].astype(np.float32).ravel())
            for part in (self.model.chunks(len(coalitions)) if parts is None else parts)
        )
        answers = self.model.evaluate_each(visible_scores, batches, explain=self.explain)
        return np.concatenate([answer.partial for answer in answers]).astype(np.float64)

    def scores_until(
        self, coalitions: NDArray[np.int8], precision: Precision, error: Callable[[NDArray[np.float64]], float]
    ) -> tuple[NDArray[np.float64], float]:
        """Scores rows of coalitions round by round until a fit to them is exact enough.

        Args:
            coalitions: `(n, d)`, the most that are scored.
            precision: When to stop.
            error: Returns the error of the fit to the scores of the first rows, as a share of the map's range.

        Returns:
            The scores of the first rows, and the error that is left.
        """
        scores, left = np.empty(0), math.inf
        for part in precision.rounds(self.model):
            scores = np.append(scores, self.scores(coalitions, pieces(part, self.model.effective_batch_size)))
            left = error(scores)
            if precision.reached(len(scores), left):
                break
        return scores, left

    def error_of(self, weights: NDArray[np.float64], covariance: NDArray[np.float64] | None) -> float:
        """Returns the root mean square over the pixels of the weights' standard error, as a share of their range.

        Args:
            weights: `(d,)`.
            covariance: `(d, d)`, or None where it is unknown.
        """
        if covariance is None:
            return math.inf
        areas = np.bincount(self.superpixels.ravel())
        return share_of_range(np.diag(covariance) * areas * len(areas) / areas.sum(), weights)


def superpixels_of(
    model: ScoreModel, batch: Samples, segmentation: Segmentation, segments: int
) -> list[NDArray[np.int64]]:
    """Returns the superpixels of each image, `(H, W)` int from 0 to d - 1 without gaps.

    Args:
        model: Its report has the number of images of the call.
        batch: The batch.
        segmentation: `"slic"`, `"quickshift"`, or labels `(H, W)` for all images or `(N, H, W)` for each of the call.
        segments: The approximate number of superpixels of SLIC.

    Raises:
        KerasxaiError: Another name, or labels of the wrong shape or kind.
    """
    images = np.asarray(batch.images)
    if not isinstance(segmentation, str):
        labels = _given_labels(model.report.count, batch, np.asarray(segmentation))
        return [without_gaps(one) for one in labels]
    choice("segmentation", segmentation, ("slic", "quickshift"))
    whole("segments", segments, 2)
    if segmentation == "slic":
        return [slic_superpixels(image, segments) for image in images]
    return [without_gaps(_quickshift(stretched(image))) for image in images]


def _given_labels(count: int | None, batch: Samples, labels: NDArray[Any]) -> NDArray[np.int64]:
    shape = tuple(batch.images.shape[1:-1])
    each = (len(batch) if count is None else count, *shape)
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape not in (shape, each):
        raise KerasxaiError(
            f"segmentation must be slic, quickshift or whole-numbered labels of shape {shape} or {each}, got "
            f"{labels.dtype} of shape {labels.shape}"
        )
    if labels.shape == shape:
        return np.broadcast_to(labels, (len(batch), *shape))
    return labels if batch.indices is None else labels[batch.indices]


def _quickshift(image: NDArray[Any]) -> NDArray[np.int64]:
    if image.ndim != 3:
        raise KerasxaiError(f"expected an image (H, W, C) for quickshift, got shape {image.shape}; use slic")
    # Without three colors Lab is impossible; its values go to 100, so this keeps the weight of color against distance.
    colors = image.shape[-1] == 3
    image = image if colors else image * 100
    return quickshift(image, kernel_size=4, max_dist=200, ratio=0.2, convert2lab=colors, rng=0)


def mean_colors(image: NDArray[Any], superpixels: NDArray[Any]) -> NDArray[np.float64]:
    """Returns an image `(H, W, C)` with each superpixel in its mean color."""
    return segment_means(image, superpixels)[superpixels]


def top_superpixels(weights: NDArray[Any], superpixels: NDArray[Any], count: int) -> NDArray[np.bool_]:
    """Returns the mask `(H, W)` bool of the superpixels with the largest positive weights."""
    best = np.argsort(-weights, kind="stable")[:count]
    return np.isin(superpixels, best[weights[best] > 0])
