"""The base class of measures that perturb images and watch the score of a class."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.metrics.base import Metric, Result
from kerasxai.metrics.faithfulness.scorer import Measured, ModelSettings, Scorer, Trial, checked_settings
from kerasxai.tools.errors import KerasxaiError

if TYPE_CHECKING:
    from kerasxai.engine.inputs import Inputs
    from kerasxai.explainer import Classifier
    from kerasxai.metrics.inputs import Heatmaps


class FaithfulnessMetric(Metric):
    """A measure of how the score of a class follows the values of a heatmap.

    `metric(images, targets, heatmaps)` returns one value per image; `update` with the same arguments counts them for
    `result`. The model is not part of `state()`.

    Args:
        model: A Keras model, a function from `(N, H, W, C)` to `(N, classes)`, or a `Scorer` that several measures
            share; None for a metric that is only merged and read.
        settings: See `ModelSettings`; none with a `Scorer`.
        **options: The options of the measure, part of its state.

    Attributes:
        curves: `(B, ...)` behind the values of the last call, for measures with several scores per image; else None.
        higher_is_better: Whether a larger value means a more faithful heatmap.
    """

    higher_is_better = True
    on_probabilities_only = False

    def __init__(self, model: Classifier | Scorer | None, settings: ModelSettings, **options: Any) -> None:
        checked_settings(settings)
        if isinstance(model, Scorer) and settings:
            raise KerasxaiError(f"expected no {', '.join(settings)} with a Scorer, got both; give them to the Scorer")
        scorer = model if isinstance(model, Scorer | None) else Scorer(model, settings)
        explain = scorer.explain if scorer else settings.get("explain", "probability")
        if self.on_probabilities_only and explain != "probability":
            raise KerasxaiError(f'explain must be "probability" for {type(self).__name__}, got {explain!r}')
        super().__init__(**options, explain=explain)
        self._scorer = scorer
        self.curves: NDArray[np.float64] | None = None
        self.totals = {"sum": np.zeros(1), "images": np.zeros(1, int)}

    def __call__(self, images: Inputs, targets: ArrayLike | None, heatmaps: Heatmaps) -> NDArray[np.float64]:
        """Measure heatmaps.

        Args:
            images: `(B, H, W, C)`, in the pixel range of the model or of `preprocess=`; for a model with several inputs
                the list, tuple or dict of inputs.
            targets: The explained classes: None for those that the model predicts for the unchanged images, one int
                for all, or `(B,)`.
            heatmaps: `(B, h, w)` or a list of `(h, w)`, any finite numbers; resized bilinearly to the image.

        Returns:
            `(B,)` float64.

        Raises:
            KerasxaiError: Shapes do not fit, heatmaps hold NaN or infinity, or there is no model.
        """
        if self._scorer is None:
            raise KerasxaiError(f"expected a model to measure with, got none; {type(self).__name__}(model, ...)")
        parts = list(map(self.measure, self._scorer.trials(images, targets, heatmaps, self.name())))
        curves = [part.curves for part in parts if part.curves is not None]
        self.curves = np.concatenate(curves) if curves else None
        return np.concatenate([part.values for part in parts])

    def measure(self, trial: Trial) -> Measured:
        """Measure one batch."""
        raise NotImplementedError

    def passes(self, images: int = 1) -> int:
        """Return how many images go through the model for so many images."""
        return images * (1 + self.copies())

    def copies(self) -> int:
        """Return how many changed copies of an image are scored."""
        raise NotImplementedError

    def update(self, images: Inputs, targets: ArrayLike | None, heatmaps: Heatmaps) -> None:
        """Count a batch; arguments and errors as for a call."""
        values = self(images, targets, heatmaps)
        self.add(sum=values.sum(), images=len(values))
        if self.curves is not None:
            self.add(curve=self.curves.sum(0))

    def result(self) -> Result:
        """Return the mean over images under the name of the measure, and the mean `curve` if it has one."""
        images = self.counted(unit="image")
        figures = Result({self.name(): float(self.totals["sum"][0] / images)}, images=images)
        if "curve" in self.totals:
            figures["curve"] = (self.totals["curve"] / images).tolist()
        return figures

    @classmethod
    def from_state(cls, state: dict[str, Any], model: Classifier | Scorer | None = None) -> Self:
        """Make a metric from its `state()`.

        Args:
            state: As `state()` returned it.
            model: The model for further calls; none is needed to merge and to read results.

        Raises:
            KerasxaiError: It is the state of another class.
        """
        if model is None:
            return super().from_state(state)
        plain = super().from_state(state)
        settings: ModelSettings = {} if isinstance(model, Scorer) else {"explain": plain.options["explain"]}
        scorer = model if isinstance(model, Scorer) else Scorer(model, settings)
        if scorer.explain != plain.options["explain"]:
            raise KerasxaiError(f"explain must be {plain.options['explain']!r}, got {scorer.explain!r}")
        plain._scorer = scorer
        return plain

    @classmethod
    def name(cls) -> str:
        """Return the name of the measure in results, such as `"average_drop"`."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()
