"""RISE: random masks, averaged with the scores of the masked image."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from kerasxai.methods.control_variates import CONTROL_VARIATES, LEAST, controlled_maps
from kerasxai.methods.perturbation import SAMPLINGS, explained_quantity, scores_under
from kerasxai.methods.random_masks import MaskSource, upsampled_masks
from kerasxai.methods.random_masks import random_grids as random_grids  # It was here before it moved there.
from kerasxai.methods.rounds import AUTO, BatchMeans, Drawn, Precision, pieces, precision_of
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import choice, per_axis, real, whole

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.score_model import ScoreModel

_ROUND = 100


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
    return {"evidence": tf.tensordot(scores_under(forward, batch, masks, explain), masks, 1)}


def rise(
    model: ScoreModel,
    batch: Samples,
    *,
    masks: int | str = 1000,
    grid: int | tuple[int, ...] = 7,
    probability: float = 0.5,
    sampling: str = "random",
    seed: int = 0,
    explain: str | None = None,
    until: float = 0.05,
    max_masks: int = 8000,
    control_variate: str = "none",
) -> tf.Tensor:
    """RISE: `1 / (N p) sum_i S(x * m_i) m_i` over N random masks.

    A mask is a grid of (s + 1) x (s + 1) cells, each visible with probability p, enlarged bilinearly to one cell more
    than the image and shifted at random by up to one cell. Masked pixels become 0 in the range of the model.

    Args:
        masks: N. The paper uses 4000 and 8000; 1000 costs a quarter of 4000 and is twice as noisy. `"auto"` draws
            rounds of 100, for each image by itself, until the map is as exact as `until` says.
        grid: s, or (rows, columns) of cells over the image.
        probability: p, above 0 and below 1.
        sampling: `"random"`, or `"paired"`: each second mask is the complement of the one before, so that the mean
            score adds no noise; for a probability of 0.5 only.
        seed: Mask i is the same for the same seed, in every batch and for every image.
        explain: `"logit"` for the score, see `Explainer`; None takes the probability of the class, or a custom score.
        until: For `"auto"`: the standard error at which drawing stops, as a share of the range of the map. It is the
            root mean square over the pixels, estimated from the spread of the maps of the rounds, of 5 or more.
        max_masks: For `"auto"`: the most masks, in whole rounds. A warning is logged if they do not suffice.
        control_variate: `"none"`, or `"linear"`: a linear model predicts the scores from the visible share of each of
            s x t blocks. Its map is known exactly, and masks only estimate that of its errors. What is estimated stays
            the same; for a number of masks, 10 or more.

    Returns:
        Maps `(B, H, W)` at image size, float32, signed where the score is. With `"auto"` the notes keep `samples_used`
        `(B,)` and `standard_error` `(B,)`, a share of the range. The map is that of so many masks otherwise.

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
    grid, probability = per_axis("grid", grid, batch.images.shape.rank - 2), real("probability", probability, 0, 1)
    paired = choice("sampling", sampling, SAMPLINGS) == "paired"
    if paired and probability != 0.5:
        raise KerasxaiError(f"probability must be 0.5 for paired masks, got {probability:g}")
    source = MaskSource(whole("seed", seed, 0), grid, probability, paired)
    precision = precision_of("max_masks", until, max_masks, _ROUND, 5 * _ROUND)
    count = None if masks == AUTO else whole("masks", masks, 1)
    controlled = choice("control_variate", control_variate, CONTROL_VARIATES) != "none"
    if controlled and (count is None or count < LEAST):
        raise KerasxaiError(f"masks must be a number of {LEAST} or more with a control variate, got {masks!r}")
    batch = batch.with_targets(model.resolve(batch, explain).targets)
    if controlled and count is not None:
        return tf.convert_to_tensor(controlled_maps(model, batch, source, count, explain), tf.float32)
    if count is None:
        return _until_precise(model, batch, source, precision, explain)

    def batches() -> Iterator[tuple[Any, ...]]:
        for part in model.chunks(count, len(batch)):
            grids = source.draw(part)
            for b in range(len(batch)):
                yield batch.take(slice(b, b + 1)), *grids

    maps = np.zeros(batch.images.shape[:-1])
    answers = model.evaluate_each(masked_evidence, batches(), explain=explain)
    for b, answer in zip(itertools.cycle(range(len(maps))), answers):
        maps[b] += answer.evidence
    return tf.convert_to_tensor(maps / (count * probability), tf.float32)


def _until_precise(
    model: ScoreModel, batch: Samples, source: MaskSource, precision: Precision, explain: str
) -> tf.Tensor:
    """Returns the maps of a batch; masks are drawn in rounds for each image until its map is exact enough."""
    maps, drawn = [], Drawn()
    for b in range(len(batch)):
        one, means, stop = batch.take(slice(b, b + 1)), BatchMeans(), 0
        for part in precision.rounds(model):
            batches = ((one, *source.draw(piece)) for piece in pieces(part, model.effective_batch_size))
            evidence = np.zeros(batch.images.shape[1:-1])
            for answer in model.evaluate_each(masked_evidence, batches, explain=explain):
                evidence += answer.evidence
            means.add(evidence / (precision.size * source.probability))
            stop = part.stop
            if precision.reached(stop, means.error()):
                break
        maps.append(means.mean)
        drawn.add(stop, means.error())
    drawn.record(model, precision, batch.first_index)
    return tf.convert_to_tensor(np.stack(maps), tf.float32)
