"""A control variate for RISE: a linear model of the scores, whose map is known, so that only its errors are sampled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

from kerasxai.methods.perturbation import scores_under
from kerasxai.methods.random_masks import MaskSource, interpolation, upsampled_masks

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.score_model import ScoreModel

CONTROL_VARIATES = ("none", "linear")
LEAST = 10
"""The fewest masks: two for each fold."""
_FOLDS = 5
_PENALTIES = np.logspace(-2, 3, 11)
_AT_ONCE = 50


def masked_scores(
    forward: Forward, batch: Samples, cells: tf.Tensor, shifts: tf.Tensor, *, explain: str
) -> dict[str, tf.Tensor]:
    """Query: the scores `(n,)` of one image under each of the masks; the arguments are those of `masked_evidence`."""
    masks = upsampled_masks(cells, shifts, tf.shape(batch.images)[1:-1])
    return {"under_mask": scores_under(forward, batch, masks, explain)}


def controlled_maps(model: ScoreModel, batch: Samples, source: MaskSource, count: int, explain: str) -> NDArray[Any]:
    """Returns the maps `(B, H, W)` of RISE from a number of masks, with a linear control variate.

    The scores are predicted from the visible share of each block of the image. Of the prediction, the expectation of
    score times mask is known exactly; that of the error is the mean over the drawn masks. The errors of a fifth of
    the masks are those of a model fitted to the other masks, so that the map is unbiased whatever the model is.

    Args:
        model: The model.
        batch: The images.
        source: The masks.
        count: How many of them.
        explain: `"logit"` or `"probability"`.
    """
    shape = tuple(batch.images.shape[1:-1])
    blocks = MaskBlocks(shape, source)
    scores = np.zeros((len(batch), count))
    parts = list(model.chunks(count, len(batch)))
    batches = ((batch.take(slice(b, b + 1)), *grids) for grids in map(source.draw, parts) for b in range(len(batch)))
    answers = model.evaluate_each(masked_scores, batches, explain=explain)
    for part in parts:
        for b in range(len(batch)):
            scores[b, part] = next(answers).under_mask
    shares = np.concatenate([blocks.shares(masks) for masks in _masks(source, count, shape)])
    maps = np.zeros((len(batch), *shape))
    errors = np.zeros_like(scores)
    for b, own in enumerate(scores):
        for fold in _folds(count, source.paired):
            fit = RidgeCV(_PENALTIES).fit(shares[~fold], own[~fold])
            errors[b, fold] = own[fold] - fit.predict(shares[fold])
            maps[b] += fold.mean() * blocks.expectation(fit.coef_, fit.intercept_)
    start = 0
    for masks in _masks(source, count, shape):
        stop = start + len(masks)
        maps += np.tensordot(errors[:, start:stop], masks, 1) / count
        start = stop
    return maps / source.probability


def _masks(source: MaskSource, count: int, shape: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
    """Yields the masks some at a time, `(n, H, W)`; drawing them twice is cheaper than keeping them."""
    for start in range(0, count, _AT_ONCE):
        cells, shifts = source.draw(slice(start, min(start + _AT_ONCE, count)))
        yield upsampled_masks(cells, shifts, np.array(shape, np.int32)).numpy()


def _folds(count: int, paired: bool) -> Iterator[NDArray[np.bool_]]:
    """Yields which of the masks are in each fold, `(count,)` bool; pairs stay together."""
    numbers = np.arange(count) // (2 if paired else 1) % _FOLDS
    for fold in range(_FOLDS):
        yield numbers == fold


@dataclass(frozen=True)
class MaskBlocks:
    """The image in blocks of about the size of a cell, and what is known of the random masks over them.

    Attributes:
        shape: Of the image, `(H, W)`.
        source: The masks.
    """

    shape: tuple[int, ...]
    source: MaskSource

    def shares(self, masks: NDArray[np.float32]) -> NDArray[np.float64]:
        """Returns the mean of each mask `(n, H, W)` over each block, `(n, blocks)`."""
        means = masks.astype(np.float64)
        for axis, weights in enumerate(self._averages(), 1):
            means = np.moveaxis(np.tensordot(means, weights, (axis, 1)), -1, axis)
        return means.reshape(len(masks), -1)

    def expectation(self, weights: NDArray[np.float64], intercept: float) -> NDArray[np.float64]:
        """Returns `E[(intercept + sum_j weights_j share_j) mask]` at each position, `(H, W)`.

        The cells of a grid are independent, so that the covariance of a mask at two positions is `p (1 - p)` times,
        for each axis, the mean over the shifts of the product of their interpolation weights.
        """
        p = self.source.probability
        averages = self._averages()
        covariance = weights.reshape([len(one) for one in averages])
        for axis, (one, cells, side) in enumerate(zip(averages, self.source.grid, self.shape, strict=True)):
            with_positions = one @ _overlap(cells + 1, side)
            covariance = np.moveaxis(np.tensordot(covariance, with_positions, (axis, 0)), -1, axis)
        return (intercept + p * weights.sum()) * p + p * (1 - p) * covariance

    def _averages(self) -> list[NDArray[np.float64]]:
        """Returns for each axis the matrix `(blocks, side)` that averages over each block."""
        return [_block_means(min(cells, side), side) for cells, side in zip(self.source.grid, self.shape, strict=True)]


def _block_means(blocks: int, side: int) -> NDArray[np.float64]:
    members = np.arange(side) * blocks // side == np.arange(blocks)[:, None]
    return members / members.sum(1, keepdims=True)


def _overlap(count: int, side: int) -> NDArray[np.float64]:
    """Returns `(side, side)`: the mean over all shifts of the product of the interpolation weights of two positions."""
    length = -(-side // (count - 1))
    # A shift is rounded down to a whole number of pixels, so that these are all there are.
    shifts = (np.arange(length, dtype=np.float32) + 0.5) / length
    weights = interpolation(tf.constant(count), tf.constant(shifts), tf.constant(side)).numpy().astype(np.float64)
    return np.einsum("nic,njc->ij", weights, weights, optimize=True) / length
