"""Complexity: how concentrated a heatmap is, whatever the model. A map may be simple and wrong."""

import re

import numpy as np
from numpy.typing import NDArray

from kerasxai.metrics.base import Metric, Result
from kerasxai.metrics.inputs import Heatmaps, checked_heatmaps
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import within


class ComplexityMetric(Metric):
    """A measure of heatmaps alone.

    `metric(heatmaps)` returns one value per heatmap; `update` with the same argument counts them for `result`.

    Attributes:
        higher_is_better: Whether a larger value means a simpler heatmap.
    """

    higher_is_better = False

    def __init__(self, **options: float) -> None:
        super().__init__(**options)
        self.totals = {"sum": np.zeros(1), "images": np.zeros(1, int)}

    def __call__(self, heatmaps: Heatmaps) -> NDArray[np.float64]:
        """Measure heatmaps.

        Args:
            heatmaps: `(B, h, w)` or a list of `(h, w)`, any finite numbers; measured at their own size.

        Returns:
            `(B,)` float64.

        Raises:
            KerasxaiError: Heatmaps of another shape, or with NaN or infinity.
        """
        values = [self._checked(index, one) for index, one in enumerate(checked_heatmaps(heatmaps))]
        return np.array(values, np.float64)

    def _checked(self, index: int, heatmap: NDArray[np.float64]) -> float:
        if not np.isfinite(heatmap).all():
            bad = "NaN" if np.isnan(heatmap).any() else "infinity"
            raise KerasxaiError(f"heatmaps must be finite numbers, got {bad} in heatmap {index}")
        return self.measure(np.abs(heatmap).ravel())

    def measure(self, sizes: NDArray[np.float64]) -> float:
        """Return the value for the absolute values `(n,)` of a heatmap."""
        raise NotImplementedError

    def update(self, heatmaps: Heatmaps) -> None:
        """Count a batch; arguments and errors as for a call."""
        values = self(heatmaps)
        self.add(sum=values.sum(), images=len(values))

    def result(self) -> Result:
        """Return the mean over heatmaps under the name of the measure."""
        images = self.counted(unit="heatmap")
        return Result({self.name(): float(self.totals["sum"][0] / images)}, images=images)

    @classmethod
    def name(cls) -> str:
        """Return the name of the measure in results, such as `"effective_complexity"`."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()


class Entropy(ComplexityMetric):
    """Entropy of the shares of the pixels in the absolute values, in nats. Lower is simpler.

    `-sum_i p_i log p_i` with `p_i = |a_i| / sum |a|`: 0 if one pixel has everything, `log n` if all n pixels are equal.
    A map of zeros counts as constant.

    Example:
        >>> Entropy()([[[0.0, 0.0], [3.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]]).round(3).tolist()
        [0.0, 1.386]

    Paper: Bhatt et al. 2020, "Evaluating and Aggregating Feature-based Model Explanations", arXiv:2005.00631.
    Departure: Quantus takes the logarithm of signed shares plus 1e-12, which is NaN for negative ones.
    """

    def measure(self, sizes: NDArray[np.float64]) -> float:
        """Return the value for the absolute values `(n,)` of a heatmap."""
        if not sizes.any():
            return float(np.log(len(sizes)))
        # Divided by the maximum first, so that a sum of huge values stays finite.
        sizes = sizes[sizes > 0] / sizes.max()
        shares = sizes / sizes.sum()
        shares = shares[shares > 0]
        return float(abs((shares * np.log(shares)).sum()))


class Gini(ComplexityMetric):
    """Gini index of the absolute values, their sparseness. Higher is simpler.

    `sum_i (2 i - n - 1) a_(i) / (n sum a)` with `a_(1) <= ... <= a_(n)`: 0 if all pixels are equal, `1 - 1/n` if one
    pixel has everything. A map of zeros counts as constant.

    Example:
        >>> Gini()([[[0.0, 0.0], [3.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]]).tolist()
        [0.75, 0.0]

    Paper: Chalasani et al. 2020, "Concise Explanations of Neural Networks using Adversarial Training",
    arXiv:1810.06583. Departure: Quantus adds 1e-7 to each value.
    """

    higher_is_better = True

    def measure(self, sizes: NDArray[np.float64]) -> float:
        """Return the value for the absolute values `(n,)` of a heatmap."""
        if not sizes.any():
            return 0.0
        rising = np.sort(sizes) / sizes.max()
        count = len(rising)
        return float(((2 * np.arange(1, count + 1) - count - 1) * rising).sum() / (count * rising.sum()))


class EffectiveComplexity(ComplexityMetric):
    """Effective complexity: number of pixels whose absolute value exceeds a share of the maximum. Lower is simpler.

    Args:
        threshold: Share of the largest absolute value, from 0 to 1; strictly exceeded. A map of zeros has none.

    Example:
        >>> EffectiveComplexity(threshold=0.5)([[[0.1, -0.9], [0.5, 1.0]]]).tolist()
        [2.0]

    Paper: Nguyen and Martinez 2020, "On quantitative aspects of model interpretability", arXiv:2007.07584. Departures:
    the paper looks for the fewest pixels that keep the score; as in Quantus, pixels above a threshold are counted,
    which is absolute there.
    """

    def __init__(self, threshold: float = 1e-5) -> None:
        super().__init__(threshold=within("threshold", threshold, 0, 1))

    def measure(self, sizes: NDArray[np.float64]) -> float:
        """Return the value for the absolute values `(n,)` of a heatmap."""
        return float((sizes > self.options["threshold"] * sizes.max()).sum())
