"""Stability: how much a heatmap changes under noise that no eye sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from kerasxai.metrics.base import Metric, Result
from kerasxai.metrics.inputs import Heatmaps, checked_count, checked_heatmaps
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import real, whole

if TYPE_CHECKING:
    from kerasxai.explainer import Explainer


class MaxSensitivity(Metric):
    """Maximum sensitivity: largest relative change of a heatmap under small noise. Lower is better.

    `max over d of |phi(x + d) - phi(x)| / |phi(x)|`, Euclidean norms over the pixels, d uniform within `radius` times
    the range of the image. The class stays that of the unchanged image. Costs `samples` explanations per image, and one
    more if no heatmaps are given.

    Args:
        explainer: A `kerasxai.Explainer`; None for a metric that is only merged and read.
        samples: How many noisy copies of each image, one after the other.
        radius: Largest noise as a share of the range of the image, from its lowest to its highest value.
        seed: The noise of sample i is the same for images of one shape, in every batch.

    Example:
        >>> stability = MaxSensitivity(kerasxai.Explainer(model, "gradcam"), samples=10)
        >>> stability(images)
        array([0.05, 0.11])

    An image whose heatmap is zero everywhere has no relative change: its value is 0 if the noisy heatmaps are zero as
    well, and else NaN, which `result` skips.

    Paper: Yeh et al. 2019, "On the (In)fidelity and Sensitivity of Explanations", arXiv:1901.09392. Departures: the
    paper does not divide by the norm, as Captum and Quantus do; the radius is relative, because the range of images is
    not always [0, 1]; values pushed out of the range of the image are not clipped.
    """

    higher_is_better = False

    def __init__(
        self, explainer: Explainer | None = None, samples: int = 10, radius: float = 0.02, seed: int = 0
    ) -> None:
        super().__init__(
            samples=whole("samples", samples, 1), radius=real("radius", radius, 0), seed=whole("seed", seed, 0)
        )
        self._explainer = explainer
        self.totals = {"sum": np.zeros(1), "images": np.zeros(1, int), "skipped": np.zeros(1, int)}

    def __call__(
        self, images: ArrayLike | tf.Tensor, targets: ArrayLike | None = None, heatmaps: Heatmaps | None = None
    ) -> NDArray[np.float64]:
        """Measure the explainer on images.

        Args:
            images: `(B, H, W, C)`, as the explainer takes them.
            targets: The explained classes; None for those that the model predicts for the unchanged images.
            heatmaps: `(B, h, w)`, those of the explainer for the unchanged images if they are there already.

        Returns:
            `(B,)` float64.

        Raises:
            KerasxaiError: There is no explainer, shapes do not fit, or heatmaps hold NaN or infinity.
        """
        if self._explainer is None:
            raise KerasxaiError("expected an explainer to measure, got none; MaxSensitivity(explainer, ...)")
        pixels = np.asarray(images)
        if pixels.ndim != 4 or pixels.dtype.kind not in "fiub":
            raise KerasxaiError(f"expected images (N, H, W, C), got {pixels.dtype} of shape {pixels.shape}")
        if heatmaps is None:
            explanation = self._explainer(pixels, targets)
            heatmaps, targets = explanation.heatmaps, explanation.targets
        elif targets is None:
            targets = self._explainer.predict(pixels).classes
        clean = checked_heatmaps(heatmaps)
        checked_count("images", pixels, len(clean))
        changes = np.zeros((self.options["samples"], len(clean)))
        for index in range(len(changes)):
            noisy = self._explainer(self._noisy(pixels, index), targets).heatmaps
            changes[index] = [_change(one, two) for one, two in zip(clean, noisy, strict=True)]
        # NaN wins: one noisy map that is not zero where the clean one is has no relative change.
        return changes.max(0)

    def _noisy(self, pixels: NDArray, index: int) -> NDArray[np.float32]:
        noise = np.random.default_rng((self.options["seed"], index)).uniform(-1, 1, pixels.shape[1:])
        values = pixels.astype(np.float32)
        spread = np.ptp(values, axis=(1, 2, 3), keepdims=True)
        return (values + self.options["radius"] * spread * noise.astype(np.float32)).astype(np.float32)

    def update(
        self, images: ArrayLike | tf.Tensor, targets: ArrayLike | None = None, heatmaps: Heatmaps | None = None
    ) -> None:
        """Count a batch; arguments and errors as for a call."""
        values = self(images, targets, heatmaps)
        known = np.isfinite(values)
        self.add(sum=values[known].sum(), images=known.sum(), skipped=(~known).sum())

    def passes(self, images: int = 1) -> int:
        """Return how many explanations so many images cost, with heatmaps given."""
        return images * self.options["samples"]

    def result(self) -> Result:
        """Return `max_sensitivity`, the mean over images, with `images` and `skipped`."""
        images = self.counted(unit="image with a heatmap that is not zero")
        mean = float(self.totals["sum"][0] / images)
        return Result(max_sensitivity=mean, images=images, skipped=int(self.totals["skipped"][0]))


def _change(clean: NDArray[np.float64], noisy: NDArray[np.float32]) -> float:
    """Return the relative change of a heatmap; NaN if a map of zeros becomes another."""
    if clean.shape != noisy.shape:
        raise KerasxaiError(f"expected heatmaps of the explainer, of shape {noisy.shape}, got {clean.shape}")
    if not np.isfinite(clean).all():
        raise KerasxaiError("heatmaps must be finite numbers, got NaN or infinity")
    distance, norm = np.linalg.norm(noisy - clean), np.linalg.norm(clean)
    return float(distance / norm) if norm > 0 else (0.0 if distance == 0 else np.nan)
