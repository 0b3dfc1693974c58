"""ROAD: the score while pixels are removed and linearly imputed, so that what is left does not betray their shape."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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


def replaced_scores(forward: Forward, batch: Samples, images: tf.Tensor, *, explain: str) -> dict[str, tf.Tensor]:
    """Query: the scores `(n * B,)` of `(n * B, H, W, C)`, which replace n times a batch of images."""
    times = tf.shape(images)[0] // tf.shape(batch.images)[0]
    return {"copies": forward(batch.tile(times, images)).explained(explain)}


class ROAD(FaithfulnessMetric):
    """Remove and debias: `(LeRF - MoRF) / 2`, a mean over several shares of removed pixels. Higher is better.

    MoRF is the score without the most relevant pixels, LeRF without the least relevant. A removed pixel becomes the
    weighted mean of its neighbors, solved for all removed pixels at once, plus a little noise; then the shape of what
    was removed betrays no class. Of equal values the first row by row is removed first. Costs `2 len(shares) + 1`
    forward passes per image, and as many sparse linear systems (0.01 s for a tenth of the pixels at 224, 0.2 s for
    nine tenths); images of a batch with the same removed pixels share one.

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
        count, images = self.copies(), len(trial.batch)
        size = max(1, trial.model.effective_batch_size // images)

        def batches() -> Iterator[tuple[Samples, NDArray[np.float32]]]:
            with ThreadPoolExecutor(os.cpu_count()) as threads:
                for part in trial.model.chunks(count, images, size):
                    yield trial.batch, self._copies(trial, range(part.start, part.stop), threads)

        answers = trial.model.evaluate_each(replaced_scores, batches(), explain=trial.explain)
        scores = np.concatenate([np.asarray(answer.copies, np.float64).reshape(-1, images) for answer in answers])
        curves = scores.T.reshape(images, 2, -1)
        return Measured((curves[:, 1] - curves[:, 0]).mean(1) / 2, curves)

    def _copies(self, trial: Trial, indices: range, threads: ThreadPoolExecutor) -> NDArray[np.float32]:
        """Return some copies of all images, `(len(indices) * B, H, W, C)`, copy by copy."""
        images = trial.images
        copies = np.empty((len(indices), *images.shape), np.float32)
        jobs: list[tuple[int, NDArray[np.bool_], list[int]]] = []
        for number, index in enumerate(indices):
            alike: dict[bytes, tuple[int, NDArray[np.bool_], list[int]]] = {}
            for b, heatmap in enumerate(trial.maps):
                missing = self._missing(heatmap, index)
                alike.setdefault(missing.tobytes(), (number, missing, []))[2].append(b)
            jobs += alike.values()

        def fill(job: tuple[int, NDArray[np.bool_], list[int]]) -> None:
            number, missing, rows = job
            filled = imputed(images[rows], missing)
            generator = np.random.default_rng((self.options["seed"], indices[number]))
            noise = generator.standard_normal((int(missing.sum()), images.shape[-1]))
            for row, one in zip(rows, filled, strict=True):
                one[missing] += self.options["noise"] * np.ptp(images[row]) * noise
                copies[number, row] = one

        # Each job is one sparse system, whose factorization runs outside of Python.
        list(threads.map(fill, jobs))
        return copies.reshape(-1, *images.shape[1:])

    def _missing(self, heatmap: NDArray[np.float64], index: int) -> NDArray[np.bool_]:
        """Return the removed pixels of copy `index`: the shares with the most relevant ones, then with the least."""
        least, share = divmod(index, len(self.options["shares"]))
        # 0.7 * 100 is 69.99...: a share of whole pixels must not lose one.
        size = int(self.options["shares"][share] * heatmap.size + 1e-9)
        missing = np.zeros(heatmap.size, bool)
        missing[ordered(-heatmap if least else heatmap)[:size]] = True
        return missing.reshape(heatmap.shape)
