"""RISE: random masks, averaged with the scores of the masked image."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.methods.perturbation import explained_quantity, masked_images
from kerasxai.tools.options import per_axis, real, whole

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.score_model import ScoreModel


def masked_evidence(
    forward: Forward, batch: Samples, cells: tf.Tensor, shifts: tf.Tensor, *, explain: str
) -> dict[str, tf.Tensor]:
    """Query: `sum_i S(x * m_i) m_i`, `(H, W)`, over the masks of one batch.

    Args:
        forward: Runs the model.
        batch: One image `(1, H, W, C)`.
        cells: `(n, s + 1, t + 1)` float32, the masks' grids of 0 and 1.
        shifts: `(n, 2)` float32 in [0, 1), by how much of a cell each mask is shifted up and to the left.
        explain: `"logit"` or `"probability"`.
    """
    masks = upsampled_masks(cells, shifts, tf.shape(batch.images)[1:-1])
    copies = batch.repeat(tf.shape(cells)[0], masked_images(masks, batch.images))
    scores = forward(copies).explained(explain)
    return {"evidence": tf.tensordot(scores, masks, 1)}


def upsampled_masks(cells: tf.Tensor, shifts: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Returns masks `(n, H, W)` in [0, 1]: grids enlarged bilinearly, one cell larger than the image, and shifted.

    Bilinear enlargement is a product with one matrix per axis, so only the part inside the image is computed.
    """
    masks = cells
    for axis in reversed(range(1, len(cells.shape))):
        dims = tf.shape(masks)
        before, count, after = dims[1:axis], dims[axis], dims[axis + 1 :]
        weights = _interpolation(count, shifts[:, axis - 1], shape[axis - 1])
        flat = tf.reshape(masks, (dims[0], tf.reduce_prod(before), count, tf.reduce_prod(after)))
        masks = weights[:, None] @ flat
        masks = tf.reshape(masks, tf.concat((dims[:axis], shape[axis - 1 : axis], after), 0))
    return masks


def _interpolation(count: tf.Tensor, shifts: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
    length = tf.cast(-(-side // (count - 1)), tf.float32)
    at = (tf.cast(tf.range(side), tf.float32) + tf.floor(shifts * length)[:, None] + 0.5) / length - 0.5
    at = tf.clip_by_value(at, 0.0, tf.cast(count - 1, tf.float32))
    return tf.nn.relu(1 - tf.abs(at[..., None] - tf.cast(tf.range(count), tf.float32)))


def random_grids(
    indices: Iterable[int], seed: int, grid: tuple[int, ...], probability: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns the grids `(n, s + 1, t + 1)` and shifts `(n, 2)` of the masks with these indices, float32.

    Each mask has its own generator, so mask 7 is the same in every batch.
    """
    generators = [np.random.default_rng([seed, index]) for index in indices]
    draws = [(g.random([cells + 1 for cells in grid]) < probability, g.random(len(grid))) for g in generators]
    cells, shifts = zip(*draws, strict=True)
    return np.stack(cells).astype(np.float32), np.stack(shifts).astype(np.float32)


def rise(
    model: ScoreModel,
    batch: Samples,
    *,
    masks: int = 1000,
    grid: int | tuple[int, ...] = 7,
    probability: float = 0.5,
    seed: int = 0,
    explain: str | None = None,
) -> tf.Tensor:
    """RISE: `1 / (N p) sum_i S(x * m_i) m_i` over N random masks.

    A mask is a grid of (s + 1) x (s + 1) cells, each visible with probability p, enlarged bilinearly to one cell more
    than the image and shifted at random by up to one cell. Masked pixels become 0 in the range of the model.

    Args:
        masks: N. The paper uses 4000 and 8000; 1000 costs a quarter of 4000 and is twice as noisy.
        grid: s, or (rows, columns) of cells over the image.
        probability: p, above 0 and below 1.
        seed: Mask i is the same for the same seed, in every batch and for every image.
        explain: `"logit"` for the score, see `Explainer`; None takes the probability of the class, or a custom score.

    Returns:
        Maps `(B, H, W)` at image size, float32, signed where the score is.

    Raises:
        KerasxaiError: An option out of range.

    Example:
        >>> kerasxai.Explainer(model, "rise", masks=4000, seed=1)(images).heatmaps

    Paper: Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models", arXiv:1806.07421.
    Departure: the paper and the authors' code enlarge a grid of s x s cells to (s + 1) cell sizes, so that a cell is
    (s + 1) / s times as large; here (s + 1) x (s + 1) cells of exactly one cell size cover the same area (32 pixels for
    s = 7 at 224, where theirs have 36.6). The score is a probability, as there, and not the logit of the other methods:
    the mean of the logits, which may be far from 0, adds its own noise to the map. With 400 masks two seeds correlated
    at 0.29 and 0.33 on two photos, with the probability at 0.34 and 0.63.
    """
    explain = explained_quantity(model, explain, "probability")
    masks, seed = whole("masks", masks, 1), whole("seed", seed, 0)
    grid, probability = per_axis("grid", grid, batch.images.shape.rank - 2), real("probability", probability, 0, 1)
    batch = batch.with_targets(model.resolve(batch, explain).targets)

    def batches() -> Iterator[tuple[Any, ...]]:
        for part in model.chunks(masks, len(batch)):
            grids = random_grids(range(part.start, part.stop), seed, grid, probability)
            for b in range(len(batch)):
                yield batch.take(slice(b, b + 1)), *grids

    maps = np.zeros(batch.images.shape[:-1])
    answers = model.evaluate_each(masked_evidence, batches(), explain=explain)
    for b, answer in zip(itertools.cycle(range(len(maps))), answers):
        maps[b] += answer.evidence
    return tf.convert_to_tensor(maps / (masks * probability), tf.float32)
