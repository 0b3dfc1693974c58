"""Average drop, increase in confidence and average gain: the score of the image multiplied by the heatmap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.metrics.faithfulness.fills import FIXED_BASELINES, Fill, checked_baseline
from kerasxai.metrics.faithfulness.measure import FaithfulnessMetric
from kerasxai.metrics.faithfulness.scorer import Measured, ModelSettings, Trial

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward
    from kerasxai.engine.samples import Samples
    from kerasxai.explainer import Classifier
    from kerasxai.metrics.faithfulness.scorer import Scorer


def masked_scores(
    forward: Forward, batch: Samples, masks: tf.Tensor, fill: tf.Tensor, *, explain: str
) -> dict[str, tf.Tensor]:
    """Query: the scores `(B,)` of images `x M + fill (1 - M)`.

    Args:
        forward: Runs the model.
        batch: `(B, H, W, C)`.
        masks: M, `(B, H, W, 1)` float32 in [0, 1].
        fill: `(B, 1, 1, C)` or `(B, H, W, C)`.
        explain: `"logit"` or `"probability"`.
    """
    return {"masked": forward(batch.with_images(batch.images * masks + fill * (1 - masks))).explained(explain)}


class AverageDrop(FaithfulnessMetric):
    """Average drop: `max(0, Y - O) / Y`, Y of the image, O of the image times the heatmap. Lower is better.

    The image becomes `x M + baseline (1 - M)`, where M is the positive part of the heatmap over its maximum; a heatmap
    without positive values hides everything. 0 if Y is 0. In [0, 1]; the literature gives percent. Costs 2 forward
    passes per image.

    Args:
        model: A Keras model, a function of images, or a `Scorer`; probabilities are compared.
        baseline: `"black"`, `"mean"` or `"blur"`; see `BASELINES`.
        **settings: See `ModelSettings`.

    Example:
        >>> AverageDrop(model)(images, None, explanation.heatmaps)
        array([0.08, 0.41])

    Paper: Chattopadhyay et al. 2018, "Grad-CAM++", arXiv:1710.11063. Departure: xplique scales the absolute values from
    their minimum to their maximum; the figures agree for heatmaps whose lowest value is 0.
    """

    higher_is_better = False
    on_probabilities_only = True

    def __init__(
        self, model: Classifier | Scorer | None = None, baseline: str = "black", **settings: Unpack[ModelSettings]
    ) -> None:
        super().__init__(model, settings, baseline=checked_baseline(baseline, FIXED_BASELINES))

    def copies(self) -> int:
        """Return 1, the masked image."""
        return 1

    def measure(self, trial: Trial) -> Measured:
        """Measure one batch."""
        masks = positive_shares(trial.maps)[..., None].astype(np.float32)
        fill = Fill.of(self.options["baseline"], trial.images).values
        masked = trial.model.evaluate(masked_scores, trial.batch, masks, fill, explain=trial.explain).masked
        return Measured(self.compare(trial.scores, np.asarray(masked, np.float64)))

    def compare(self, clean: NDArray[np.float64], masked: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values `(B,)` for the scores of the image and of the masked image."""
        return np.divide(np.maximum(clean - masked, 0), clean, out=np.zeros_like(clean), where=clean > 0)


class IncreaseInConfidence(AverageDrop):
    """Increase in confidence: 1 where the image times the heatmap has a higher score than the image, else 0.

    The masked image as for `AverageDrop`; equal scores are no increase. Higher is better. Costs 2 forward passes per
    image.

    Args:
        model: A Keras model, a function of images, or a `Scorer`.
        baseline: `"black"`, `"mean"` or `"blur"`; see `BASELINES`.
        **settings: See `ModelSettings`.

    Example:
        >>> IncreaseInConfidence(model)(images, None, explanation.heatmaps)
        array([1., 0.])

    Paper: Chattopadhyay et al. 2018, arXiv:1710.11063.
    """

    higher_is_better = True
    on_probabilities_only = False

    def compare(self, clean: NDArray[np.float64], masked: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values `(B,)` for the scores of the image and of the masked image."""
        return (masked > clean).astype(np.float64)


class AverageGain(AverageDrop):
    """Average gain: `max(0, O - Y) / (1 - Y)`, Y of the image, O of the image times the heatmap. Higher is better.

    The masked image as for `AverageDrop`; 0 if Y is 1. Costs 2 forward passes per image.

    Args:
        model: A Keras model, a function of images, or a `Scorer`; probabilities are compared.
        baseline: `"black"`, `"mean"` or `"blur"`; see `BASELINES`.
        **settings: See `ModelSettings`.

    Example:
        >>> AverageGain(model)(images, None, explanation.heatmaps)
        array([0.3, 0. ])

    Paper: Zhang et al. 2024, "Opti-CAM: Optimizing saliency maps for interpretability", arXiv:2301.07002.
    """

    higher_is_better = True

    def compare(self, clean: NDArray[np.float64], masked: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values `(B,)` for the scores of the image and of the masked image."""
        return np.divide(np.maximum(masked - clean, 0), 1 - clean, out=np.zeros_like(clean), where=clean < 1)


def positive_shares(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the positive parts of heatmaps `(B, H, W)` over their maxima; zeros where nothing is positive."""
    positive = np.maximum(maps, 0)
    highest = positive.max((1, 2), keepdims=True)
    return np.divide(positive, highest, out=np.zeros_like(positive), where=highest > 0)
