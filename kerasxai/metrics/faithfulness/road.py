"""ROAD: the score while pixels are removed and linearly imputed, so that what is left does not betray their shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.metrics.faithfulness.curves import ordered
from kerasxai.metrics.faithfulness.imputation import imputed
from kerasxai.metrics.faithfulness.measure import FaithfulnessMetric
from kerasxai.metrics.faithfulness.scorer import Measured, ModelSettings, Trial
from kerasxai.metrics.faithfulness.subsets import checked_shares
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import real, whole

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Forward
    from kerasxai.engine.samples import Samples
    from kerasxai.explainer import Classifier
    from kerasxai.metrics.faithfulness.scorer import Scorer


def given_scores(forward: Forward, batch: Samples, images: tf.Tensor, *, explain: str) -> dict[str, tf.Tensor]:
    """Query: the scores `(n,)` of copies `(n, H, W, C)` that replace one image."""
    return {"copies": forward(batch.repeat(tf.shape(images)[0], images)).explained(explain)}


class ROAD(FaithfulnessMetric):
    """Remove and debias: `(LeRF - MoRF) / 2`, a mean over several shares of removed pixels. Higher is better.

    MoRF is the score without the most relevant pixels, LeRF without the least relevant. A removed pixel becomes the
    weighted mean of its neighbors, solved for all removed pixels at once, plus a little noise; then the shape of what
    was removed betrays no class. Of equal values the first row by row is removed first. Costs `2 len(shares) + 1`
    forward passes per image, and as many sparse linear systems (0.02 s for a tenth of the pixels at 224, 0.4 s for
    nine tenths).

    Args:
        model: A Keras model, a function of images, or a `Scorer`.
        shares: Shares of removed pixels, each above 0 and below 1.
        noise: Standard deviation of the noise as a share of the range of the image, from its lowest to its highest
            value; 0 for none.
        seed: The noise of one share and order is the same in every batch.
        **settings: See `ModelSettings`.

    Attributes:
        curves: `(B, 2, len(shares))` scores of the last call, MoRF first.

    Example:
        >>> ROAD(model, shares=[0.2, 0.5, 0.8])(images, None, explanation.heatmaps)
        array([0.24, 0.11])

    Paper: Rong et al. 2022, "A Consistent and Efficient Evaluation Strategy for Attribution Methods", arXiv:2202.00449.
    Departures: the paper counts how often the class is still predicted, here its score is compared, as in
    pytorch-grad-cam; the noise is relative, because the range of images is not always [0, 1].
    """

    def __init__(
        self,
        model: Classifier | Scorer | None = None,
        shares: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        noise: float = 0.01,
        seed: int = 0,
        **settings: Unpack[ModelSettings],
    ) -> None:
        if real("noise", noise) < 0:
            raise KerasxaiError(f"noise must be 0 or more, got {noise}")
        super().__init__(
            model, settings, shares=checked_shares(shares), noise=float(noise), seed=whole("seed", seed, 0)
        )

    def copies(self) -> int:
        """Return the number of copies, two for each share."""
        return 2 * len(self.options["shares"])

    def measure(self, trial: Trial) -> Measured:
        """Measure one batch."""
        count = len(self.options["shares"])

        def tensors(b: int, part: slice) -> tuple[NDArray[np.float32]]:
            return (np.stack([self._removed(trial, b, index) for index in range(part.start, part.stop)]),)

        curves = trial.copies(given_scores, 2 * count, tensors).reshape(-1, 2, count)
        return Measured((curves[:, 1] - curves[:, 0]).mean(1) / 2, curves)

    def _removed(self, trial: Trial, b: int, index: int) -> NDArray[np.float32]:
        """Return copy `index` of image `b`: the shares with the most relevant pixels removed, then the least."""
        least, share = divmod(index, len(self.options["shares"]))
        heatmap, image = trial.maps[b], trial.images[b]
        # 0.7 * 100 is 69.99...: a share of whole pixels must not lose one.
        size = int(self.options["shares"][share] * heatmap.size + 1e-9)
        missing = np.zeros(heatmap.size, bool)
        missing[ordered(-heatmap if least else heatmap)[:size]] = True
        filled = imputed(image, missing.reshape(heatmap.shape))
        noise = np.random.default_rng((self.options["seed"], index)).standard_normal((size, image.shape[-1]))
        filled.reshape(-1, image.shape[-1])[missing] += self.options["noise"] * np.ptp(image) * noise
        return filled.astype(np.float32)
