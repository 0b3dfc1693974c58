"""RISE: which places are seen when the score is high, over many random masks."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from kerasxai.methods.perturbation import explained_quantity, seen_through
from kerasxai.tools.options import per_side, real, whole


def masked_evidence(run: Any, images: Any, targets: Any, cells: Any, shifts: Any, *, explain: str) -> dict[str, Any]:
    """Asks for `sum_i S(x * m_i) m_i`, `(H, W)` or of other sides, over the masks of one batch.

    Args:
        run: Runs the model.
        images: `(1, H, W, C)`.
        targets: `(1,)`.
        cells: `(n, s + 1, t + 1)` float32, the masks' grids of 0 and 1.
        shifts: `(n, 2)` float32 in [0, 1), by how much of a cell each mask is shifted up and to the left.
        explain: `"logit"` or `"probability"`.
    """
    masks = upsampled_masks(cells, shifts, tf.shape(images)[1:-1])
    scores = run(seen_through(masks, images), tf.repeat(targets, tf.shape(cells)[0])).explained(explain)
    return {"evidence": tf.tensordot(scores, masks, 1)}


def upsampled_masks(cells: Any, shifts: Any, sides: Any) -> Any:
    """Returns masks `(n, H, W)` in [0, 1]: grids enlarged bilinearly, one cell larger than the image, and shifted.

    Bilinear enlargement is a product with one matrix for each side, so that only the wanted part is ever computed.
    """
    masks = cells
    for axis in reversed(range(1, len(cells.shape))):
        shape = tf.shape(masks)
        before, count, after = shape[1:axis], shape[axis], shape[axis + 1 :]
        weights = _interpolation(count, shifts[:, axis - 1], sides[axis - 1])
        flat = tf.reshape(masks, (shape[0], tf.reduce_prod(before), count, tf.reduce_prod(after)))
        masks = weights[:, None] @ flat
        masks = tf.reshape(masks, tf.concat((shape[:axis], sides[axis - 1 : axis], after), 0))
    return masks


def _interpolation(count: Any, shifts: Any, side: Any) -> Any:
    length = tf.cast(-(-side // (count - 1)), tf.float32)
    at = (tf.cast(tf.range(side), tf.float32) + tf.floor(shifts * length)[:, None] + 0.5) / length - 0.5
    at = tf.clip_by_value(at, 0.0, tf.cast(count - 1, tf.float32))
    return tf.nn.relu(1 - tf.abs(at[..., None] - tf.cast(tf.range(count), tf.float32)))


def random_grids(indices: Any, seed: int, grid: tuple[int, ...], probability: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the grids `(n, s + 1, t + 1)` and shifts `(n, 2)` of the masks of these numbers, float32.

    Each mask has a generator of its own, so that mask 7 is the same whatever the batch it comes in.
    """
    generators = [np.random.default_rng([seed, index]) for index in indices]
    draws = [(g.random([cells + 1 for cells in grid]) < probability, g.random(len(grid))) for g in generators]
    cells, shifts = zip(*draws, strict=True)
    return np.stack(cells).astype(np.float32), np.stack(shifts).astype(np.float32)


def rise(
    view: Any,
    images: Any,
    targets: Any,
    *,
    masks: int = 1000,
    grid: int | tuple[int, ...] = 7,
    probability: float = 0.5,
    seed: int = 0,
    explain: str | None = None,
) -> Any:
    """RISE: `1 / (N p) sum_i S(x * m_i) m_i` over N random masks.

    A mask is a grid of (s + 1) x (s + 1) cells, each seen with probability p, enlarged bilinearly to one cell more than
    the image and shifted at random by up to one cell. What a mask hides turns to 0 in the range that the model takes.

    Args:
        view: The model or function, as `kerasxai.engine.traced_model.TracedModel` shows it.
        images: `(B, H, W, C)` float32.
        targets: `(B,)` int64 classes; -1 stands for the predicted one.
        masks: N. The paper takes 4000 and 8000; 1000 costs a quarter and is twice as noisy as 4000.
        grid: s, or (rows, columns) of cells over the image.
        probability: p, above 0 and below 1.
        seed: Mask i is the same for the same seed, in every batch and for every image.
        explain: `"logit"` or `"probability"` of the class; None takes the probability, or the score that the user gave.

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
    explain = explained_quantity(view, explain, "probability")
    masks, seed = whole("masks", masks, 1), whole("seed", seed, 0)
    grid, probability = per_side("grid", grid, images.shape.rank - 2), real("probability", probability, 0, 1)
    clean = view.resolve(images, targets, explain)

    def batches() -> Iterator[tuple[Any, ...]]:
        for part in view.chunks(masks, len(images)):
            grids = random_grids(range(part.start, part.stop), seed, grid, probability)
            for b in range(len(images)):
                yield images[b : b + 1], clean.targets[b : b + 1], *grids

    maps = np.zeros(images.shape[:-1])
    answers = view.evaluate_each(masked_evidence, batches(), explain=explain)
    for b, answer in zip(itertools.cycle(range(len(maps))), answers):
        maps[b] += answer.evidence
    return tf.convert_to_tensor(maps / (masks * probability), tf.float32)
