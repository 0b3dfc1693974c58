"""Deletion and insertion: the score while pixels are removed or brought back in the order of the heatmap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import numpy as np
from numpy.typing import NDArray

from kerasxai.metrics.faithfulness.fills import Fill, checked_baseline
from kerasxai.metrics.faithfulness.measure import FaithfulnessMetric
from kerasxai.metrics.faithfulness.scorer import Measured, ModelSettings, Trial
from kerasxai.tools.options import whole

if TYPE_CHECKING:
    from kerasxai.explainer import Classifier
    from kerasxai.metrics.faithfulness.scorer import Scorer


class Deletion(FaithfulnessMetric):
    """Deletion: area under the score while the most relevant pixels are removed first. Lower is better.

    After step k of `steps`, the `floor(k H W / steps)` pixels of highest value are replaced by the baseline; pixels of
    equal value go row by row, so a constant heatmap deletes from the top. The area is the mean of the trapezoids
    between `steps + 1` scores. Costs `steps + 1` forward passes per image.

    Args:
        model: A Keras model, a function of images, or a `Scorer`.
        steps: How many steps from the image to the baseline.
        baseline: `"black"`, `"mean"`, `"blur"` or `"inpainted"`; see `BASELINES`.
        **settings: See `ModelSettings`.

    Attributes:
        curves: `(B, steps + 1)` scores of the last call, from the unchanged image to the baseline.

    Example:
        >>> deletion = Deletion(model, steps=16)
        >>> deletion(images, None, explanation.heatmaps)
        array([0.21, 0.34])

    Paper: Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models", arXiv:1806.07421.
    Departures: the authors remove a fixed number of pixels per step, where `steps` parts are as equal as whole pixels
    allow; xplique returns the same areas as a mean over images, with another order of equal values.
    """

    higher_is_better = False

    def __init__(
        self,
        model: Classifier | Scorer | None = None,
        steps: int = 16,
        baseline: str = "black",
        **settings: Unpack[ModelSettings],
    ) -> None:
        super().__init__(model, settings, steps=whole("steps", steps, 1), baseline=checked_baseline(baseline))

    def copies(self) -> int:
        """Return `steps`: the unchanged image is scored anyway."""
        return self.options["steps"]

    def measure(self, trial: Trial) -> Measured:
        """Measure one batch."""
        curves = np.concatenate([trial.scores[:, None], self._scores(trial, deleted=True)], axis=1)
        return Measured(area(curves), curves)

    def _scores(self, trial: Trial, deleted: bool) -> NDArray[np.float64]:
        """Return the scores `(B, steps)` of copies with more and more regions invisible, or visible from none on."""
        steps = self.options["steps"]
        regions = [steps_of(heatmap, steps) for heatmap in trial.maps]

        def visible(_: int, part: slice) -> NDArray[np.bool_]:
            done = np.arange(part.start, part.stop)[:, None] + deleted
            return (np.arange(steps) >= done) == deleted

        return trial.visible(regions, steps, visible, Fill.of(self.options["baseline"], trial.images))


class Insertion(Deletion):
    """Insertion: area under the score while the most relevant pixels are brought back first. Higher is better.

    The curve begins at the baseline and ends at the unchanged image; order, steps, area and cost as for `Deletion`.

    Args:
        model: A Keras model, a function of images, or a `Scorer`.
        steps: How many steps from the baseline to the image.
        baseline: `"blur"`, `"black"`, `"mean"` or `"inpainted"`; see `BASELINES`.
        **settings: See `ModelSettings`.

    Attributes:
        curves: `(B, steps + 1)` scores of the last call, from the baseline to the unchanged image.

    Example:
        >>> Insertion(model)(images, None, explanation.heatmaps)
        array([0.61, 0.72])

    Paper: Petsiuk et al. 2018, arXiv:1806.07421. Departure: the authors blur with an 11 x 11 kernel of sigma 5, which
    leaves much of a large image visible; here the sigma grows with the image.
    """

    higher_is_better = True

    def __init__(
        self,
        model: Classifier | Scorer | None = None,
        steps: int = 16,
        baseline: str = "blur",
        **settings: Unpack[ModelSettings],
    ) -> None:
        super().__init__(model, steps, baseline, **settings)

    def measure(self, trial: Trial) -> Measured:
        """Measure one batch."""
        curves = np.concatenate([self._scores(trial, deleted=False), trial.scores[:, None]], axis=1)
        return Measured(area(curves), curves)


def ordered(heatmap: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the pixels of a heatmap from the highest to the lowest value, equal ones row by row."""
    return np.argsort(-heatmap.ravel(), kind="stable")


def steps_of(heatmap: NDArray[np.float64], steps: int) -> NDArray[np.int64]:
    """Return for each pixel `(H, W)` the step, 0 to steps - 1, in which it is removed."""
    bounds = np.arange(1, steps + 1) * heatmap.size // steps
    found = np.empty(heatmap.size, np.int64)
    found[ordered(heatmap)] = np.searchsorted(bounds, np.arange(heatmap.size), side="right")
    return found.reshape(heatmap.shape)


def area(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area under curves `(B, n + 1)` over [0, 1], by trapezoids."""
    return (curves[:, :-1] + curves[:, 1:]).mean(1) / 2
