"""Comprehensiveness and sufficiency: the score without, and with only, the most relevant superpixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np
from numpy.typing import NDArray

from kerasxai.methods.segmentation import segment_means
from kerasxai.methods.superpixels import superpixels_of
from kerasxai.metrics.faithfulness.fills import Fill, checked_baseline
from kerasxai.metrics.faithfulness.measure import FaithfulnessMetric
from kerasxai.metrics.faithfulness.scorer import Measured, ModelSettings, Trial
from kerasxai.metrics.faithfulness.subsets import checked_shares
from kerasxai.tools.options import choice, whole

if TYPE_CHECKING:
    from kerasxai.explainer import Classifier
    from kerasxai.metrics.faithfulness.scorer import Scorer


class Comprehensiveness(FaithfulnessMetric):
    """Comprehensiveness: drop of the score without the most relevant superpixels. Higher is better.

    `f(x) - f(x without the best superpixels)`, a mean over several shares of them. Superpixels are ranked by the
    mean of the heatmap, equal ones by their number. Costs `len(shares) + 1` forward passes per image.

    Args:
        model: A Keras model, a function of images, or a `Scorer`.
        shares: Shares of the superpixels, each above 0 and below 1; at least one superpixel is removed.
        segments: The approximate number of superpixels of SLIC.
        segmentation: `"slic"` or `"quickshift"`.
        baseline: `"mean"`, `"black"`, `"blur"` or `"inpainted"`; see `BASELINES`.
        **settings: See `ModelSettings`.

    Attributes:
        curves: `(B, len(shares))` drops of the last call.

    Example:
        >>> Comprehensiveness(model)(images, None, explanation.heatmaps)
        array([0.52, 0.38])

    Paper: DeYoung et al. 2020, "ERASER: A Benchmark to Evaluate Rationalized NLP Models", arXiv:1911.03429, for tokens,
    with shares 1, 5, 10, 20 and 50 percent; a superpixel takes the place of a token.
    """

    keeps_best = False

    def __init__(
        self,
        model: Classifier | Scorer | None = None,
        shares: Sequence[float] = (0.05, 0.1, 0.2, 0.5),
        segments: int = 50,
        segmentation: str = "slic",
        baseline: str = "mean",
        **settings: Unpack[ModelSettings],
    ) -> None:
        super().__init__(
            model,
            settings,
            shares=checked_shares(shares),
            segments=whole("segments", segments, 2),
            segmentation=choice("segmentation", segmentation, ("slic", "quickshift")),
            baseline=checked_baseline(baseline),
        )

    def copies(self) -> int:
        """Return the number of shares."""
        return len(self.options["shares"])

    def measure(self, trial: Trial) -> Measured:
        """Measure one batch."""
        options = self.options
        regions = superpixels_of(trial.model, trial.batch, options["segmentation"], options["segments"])
        ranks = [ranks_of(one, heatmap) for one, heatmap in zip(regions, trial.maps, strict=True)]

        def visible(b: int, part: slice) -> NDArray[np.bool_]:
            best = np.array([max(1, round(share * len(ranks[b]))) for share in options["shares"][part]])
            return (ranks[b] < best[:, None]) == self.keeps_best

        fill = Fill.of(options["baseline"], trial.images)
        curves = trial.scores[:, None] - trial.visible(regions, self.copies(), visible, fill)
        return Measured(curves.mean(1), curves)


class Sufficiency(Comprehensiveness):
    """Sufficiency: drop of the score with only the most relevant superpixels. Lower is better.

    `f(x) - f(only the best superpixels of x)`; ranks, shares, cost and arguments as for `Comprehensiveness`.

    Example:
        >>> Sufficiency(model)(images, None, explanation.heatmaps)
        array([0.12, 0.3 ])

    Paper: DeYoung et al. 2020, arXiv:1911.03429.
    """

    higher_is_better = False
    keeps_best = True


def ranks_of(regions: NDArray[np.int64], heatmap: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the rank `(d,)` of each region by the mean of a heatmap, 0 for the highest."""
    means = segment_means(heatmap[..., None], regions)[:, 0]
    ranks = np.empty(len(means), np.int64)
    ranks[np.argsort(-means, kind="stable")] = np.arange(len(means))
    return ranks
